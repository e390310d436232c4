"""Make the pictures of the documentation, from the built-in sample and the default model."""

from __future__ import annotations

from pathlib import Path

from napari_feedback_seg import load_model, segment
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.segmentation.overlay import overlay

PICTURES = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    """Write docs/images/overlay.png."""
    sample = builtin_section(512)
    model = load_model()
    prediction = segment(sample.image, model)
    PICTURES.mkdir(parents=True, exist_ok=True)
    overlay(sample.image, prediction.labels, model.card.classes).save(PICTURES / "overlay.png", optimize=True)


if __name__ == "__main__":
    main()
