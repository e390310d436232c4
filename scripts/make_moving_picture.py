"""Make the moving picture of the first page: a real napari, the built-in sample in another stain.

Segment, ten strokes on mitochondria, and other mitochondria are found, too. On a machine without a screen:
xvfb-run -s "-screen 0 1366x768x24" python scripts/make_moving_picture.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from window import PICTURES, finish, foreign, open_dock, open_sample, open_window, settle, wait

from napari_feedback_seg.datasets.builtin import builtin_section

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from annotator import Stroke, worst_first

if TYPE_CHECKING:
    import napari

    from napari_feedback_seg.plugin.session.session import Session

MODEL, SIDE, MITOCHONDRIA = "self-w16", 640, 2
WIDTH, CAPTION = 1000, 44
PARTS = 2
"""In how many pictures a stroke grows."""


class Film:
    """The pictures, and how long each is shown in ms."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.pictures: list[Image.Image] = []
        self.durations: list[int] = []

    def take(self, caption: str, milliseconds: int) -> None:
        """Take a picture of the window, with a line of text below."""
        window = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
        height = round(WIDTH * window.height / window.width)
        picture = Image.new("RGB", (WIDTH, height + CAPTION), "white")
        picture.paste(window.resize((WIDTH, height), Image.Resampling.LANCZOS), (0, 0))
        font = ImageFont.load_default(22)
        ImageDraw.Draw(picture).text((12, height + 8), caption, "black", font)
        self.pictures.append(picture)
        self.durations.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write an animated WebP that begins anew at its end."""
        first, *others = self.pictures
        timed = {"duration": self.durations, "loop": 0}
        first.save(path, save_all=True, append_images=others, quality=60, method=6, **timed)


def main() -> None:
    """Write docs/images/strokes.webp."""
    with open_window() as viewer:
        image, sample = open_sample(viewer), builtin_section(SIDE)
        image.data = foreign(sample.image, gamma=0.25, noise=0.02)
        image.contrast_limits = np.percentile(image.data, (1, 99))
        viewer.reset_view()
        dock = open_dock(viewer)
        session = dock.session
        session.model_name = MODEL
        film = Film(viewer)
        wait(800)
        film.take("1. Open an image, and press Segment.", 2000)
        finish(dock, dock.segment_tab.segment)
        dock.show_tab("correct")
        wait(500)
        film.take("2. Mitochondria are orange. In an unusual stain, many are missed.", 3000)
        for number, stroke in enumerate(
            worst_first([sample.labels], [session.result.data], [MITOCHONDRIA], 10), 1
        ):
            paint(session, film, stroke, f"3. Paint over a mistake ({number} of 10).")
        wait(2500)  # the outline goes
        film.take("4. Mitochondria that nobody painted are found, too.", 4000)
        film.save(PICTURES / "strokes.webp")


def paint(session: Session, film: Film, stroke: Stroke, caption: str) -> None:
    """Paint a stroke bit by bit, and wait for the answer."""
    session.correcting.paint_with(stroke.value)
    layer = session.correcting.corrections.layer
    along = np.ptp(stroke.pixels, axis=0).argmax()
    parts = np.array_split(stroke.pixels[stroke.pixels[:, along].argsort(kind="stable")], PARTS)
    for part in parts:
        layer.data_setitem(tuple(part.T), stroke.value)
        wait(50)
        film.take(caption, 150)
    settle(session, 50)  # before the outline goes
    wait(300)
    film.take(caption, 900)


if __name__ == "__main__":
    main()
