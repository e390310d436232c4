"""What a methods section says of a model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_feedback_seg import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import ModelCard

METHOD = "Tsuda, Shibuya, Hotta (2020): Feedback Attention for Cell Image Segmentation"
_KINDS = {
    "unet": "a U-Net of width {width}",
    "recurrent_unet": "a recurrent U-Net of width {width}",
    "feedback_unet": "a Feedback U-Net of width {width}",
    "feedback_attention": "a U-Net of width {width} that looks twice (feedback: {mode})",
    "onnx": "a network from another program, run by onnxruntime",
}


def methods_text(card: ModelCard, path: Path) -> str:
    """Return sentences to paste into a methods section, and below them what to cite."""
    spec = card.spec
    network = _KINDS[spec.kind].format(width=spec.width, mode=spec.mode.replace("_", " "))
    sentences = [
        f"Images were segmented with napari-feedback-seg {__version__} and the model '{card.name}', "
        f"{network}.",
        f"It tells {', '.join(each.name for each in card.classes)} apart at {card.pixel_size_nm:g} nm per "
        f"pixel, in tiles of {card.tile} x {card.tile} pixels.",
    ]
    if card.data:
        sentences.append(f"It was trained on {'; '.join(each.name for each in card.data)}.")
    for part in ("test", "validation"):
        mean = card.scores.get(part, {}).get("mean_iou")
        if mean is not None:
            sentences.append(f"Its mean IoU on {part} sections is {mean:.1%}.")
    if card.parent:
        name = card.recipe.get("parent")
        which = f"the model '{name}', whose file" if name else "a model whose file"
        sentences.append(f"It went on from {which} has the SHA-256 {card.parent}.")
    sentences.append(f"SHA-256 of the model file: {hashlib.sha256(path.read_bytes()).hexdigest()}.")
    texts = [card.citation, *(each.citation for each in card.data)]
    cited = dict.fromkeys(
        part.strip().rstrip(".") for text in texts for part in text.split("; ") if part.strip()
    )
    method = (
        [] if any(METHOD in each for each in cited) or not spec.learns else [f"{METHOD}. arXiv 2008.06474"]
    )
    licence = [f"Licence of the weights: {card.licence}"] if card.licence else []
    return "\n".join([" ".join(sentences), "", *method, *cited, *licence])
