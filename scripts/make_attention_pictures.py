"""Make the pictures of docs/how-to/attention-maps.md, from the built-in sample.

    python scripts/make_attention_pictures.py                 # needs a screen, or xvfb-run
    python scripts/make_attention_pictures.py --figure-only   # needs none

A second model beside the default one (``--model self-w16 --model st.safetensors``) adds a row
to the figure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from napari_feedback_seg import load_model
from napari_feedback_seg.attention_maps.figure import FigureRow, attention_figure
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.datasets.builtin import builtin_section

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES = Path(__file__).parents[1] / "docs" / "images"
MEMBRANE, CYTOPLASM = (222, 326), (150, 300)


def main() -> None:
    """Write docs/images/attention-*.png."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="models of the figure (default: the default model)")
    parser.add_argument("--figure-only", action="store_true", help="leave the pictures of the viewer out")
    options = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    sample = builtin_section(512)
    rows = []
    for name in options.model or ["default"]:
        model = load_model(name)
        tile = SectionAttention(sample.image, model).at(*MEMBRANE)
        pixels = [tile.pixel(*at) for at in (MEMBRANE, CYTOPLASM)]
        rows.append(FigureRow(model.card.name, model.card.spec.mode, tile, pixels))
    figure = attention_figure(sample.image, rows, sample.labels)
    figure.save(PICTURES / "attention-figure.png", optimize=True)
    if not options.figure_only:
        picture_the_viewer(sample)


def picture_the_viewer(sample: Any) -> None:
    """Write what a person sees in the tab Attention."""
    from window import finish, open_dock, open_window, wait

    from napari_feedback_seg.plugin.session.attention.view import View

    with open_window() as viewer:
        scale = {"scale": (sample.pixel_size_nm,) * 2, "units": ("nm", "nm")}
        image = viewer.add_image(sample.image, name="section", **scale)
        viewer.add_labels(sample.labels, name="ground truth", visible=False, **scale)
        viewer.layers.selection.active = image
        dock = open_dock(viewer)
        dock.show_tab("attention")
        attention = dock.session.attention

        def picture(name: str, change: Callable[[], None]) -> None:
            finish(dock, change)
            wait(5000)
            shown = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
            shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                PICTURES / f"attention-{name}.png", optimize=True
            )

        finish(dock, lambda: attention.set_picking(True))
        picture("pixel", lambda: attention.pick(image.data_to_world(MEMBRANE)))
        mitochondria = next(each.value for each in dock.session.card.classes if each.name == "mitochondria")
        picture("class", lambda: attention.set(view=View.CLASS, label=mitochondria))
        attention.choose_truth(viewer.layers["ground truth"])
        picture("change", lambda: attention.set(view=View.CHANGED))


if __name__ == "__main__":
    main()
