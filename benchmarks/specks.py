"""How small a mitochondrion may be before it counts as a speck, on the labelled sections of several labs.

    python benchmarks/specks.py DATA --models general self-w16 left-out/snemi_ac4.safetensors

DATA is a folder of sets, see labelled_sets.py. Each model segments sections that are spread evenly over
each set, of ssTEM those for validation. What it takes for mitochondria, and is smaller than an area, gets
the next likely class. The table has the IoU of mitochondria without that, and by how many points it changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from labelled_sets import NAMES, class_counts, labelled_set

from napari_feedback_seg import load_model
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.specks import remove_specks

SETS = ("sstem", "snemi_ac4", "cdeep3m_mito", "epfl")
"""Those with labels of mitochondria."""

AREAS = (0.01, 0.015, 0.02, 0.03, 0.04)
MITOCHONDRIA = NAMES.index("mitochondria")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the labelled sets")
    parser.add_argument("--models", nargs="+", default=["general", "self-w16"], help="names or files")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--sections", type=int, default=4, help="of each set")
    parser.add_argument("--flips", action="store_true", help="average over flips and turns")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| model | set | IoU | " + " | ".join(f"{each:g} µm²" for each in AREAS) + " |")
    print("|---" * (len(AREAS) + 3) + "|")
    for model in options.models:
        for name in options.sets:
            scores = ious(options.data / name, model, options.sections, options.flips)
            cells = [f"{scores[0]:.1f}", *(f"{each - scores[0]:+.1f}" for each in scores[1:])]
            print(f"| {Path(model).stem} | {name} | {' | '.join(cells)} |", flush=True)


def ious(folder: Path, model: str, count: int, flips: bool) -> list[float]:
    """Return the IoU of mitochondria in % with all of them, and without those below each area."""
    network, chosen = load_model(model), labelled_set(folder)
    names = chosen.names[:3] if folder.name == "sstem" else chosen.names  # 15-19 are for tests
    if folder.name == "snemi_ac4":
        names = [each for each in names if (chosen.read(each).truth == MITOCHONDRIA + 1).any()]
    picked = [names[round(each)] for each in np.linspace(0, len(names) - 1, min(count, len(names)))]
    size = chosen.pixel_size_nm
    totals = np.zeros((len(AREAS) + 1, 3))
    for section in map(chosen.read, picked):
        settings = {"pixel_size_nm": size, "flips": flips, "probabilities": True, "remove_specks": False}
        found = segment(section.image, network, device="cpu", overlap=0.1, **settings)
        others = np.delete(found.probabilities, MITOCHONDRIA, axis=0).argmax(axis=0)
        instead = np.delete(np.arange(1, 5, dtype=np.uint8), MITOCHONDRIA)[others]
        for number, area in enumerate((0, *AREAS)):
            labels = found.labels.copy()
            remove_specks(labels, instead, MITOCHONDRIA + 1, (size, size), smallest_um2=area)
            totals[number] += class_counts(section, labels)[MITOCHONDRIA]
    return [100 * each[0] / each.sum() for each in totals]


if __name__ == "__main__":
    main()
