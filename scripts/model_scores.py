"""Write the scores of the bundled models, as their cards have them, into docs/models.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.models.library import BUNDLED
from napari_feedback_seg.models.model_file import read_card

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import ModelCard

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
CLASSES = ("membrane", "mitochondria", "synapse", "cytoplasm")
PAPER = {
    "U-Net, width 64": (74.24, 71.01, 43.08, 92.03, 70.09),
    "Feedback Attention (Self)": (76.94, 79.52, 45.29, 92.80, 73.64),
    "Feedback Attention (Self), first output": (75.49, 74.29, 41.57, 92.03, 70.84),
}


def tables(cards: list[ModelCard]) -> str:
    """Return the Markdown of all tables."""
    lines = ["", *_head("IoU in %")]
    for card in cards:
        for part in ("validation", "test"):
            scores = card.scores.get(part)
            if not scores or "sets" in scores:
                continue
            sections = f"{part} ({min(scores['sections'])}-{max(scores['sections'])})"
            lines.append(_row(f"`{card.name}`, {sections}", _percent(scores)))
            if "first_round" in scores:
                lines.append(
                    _row(f"`{card.name}`, {sections}, first output", _percent(scores["first_round"]))
                )
    lines += [_row(f"*paper, {name}*", values) for name, values in PAPER.items()]
    lines += [
        "",
        "| | trained on | seed | epochs (best) | duration | machine | size |",
        "|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        epochs = f"{card.recipe['epochs']} ({card.recipe['best_epoch']})"
        size = (BUNDLED / f"{card.name}.safetensors").stat().st_size / 1e6
        train = ", ".join(f"{each.name}: {len(each.sections['train'])} sections" for each in card.data)
        lines.append(
            f"| `{card.name}` | {train} | {card.seed} "
            f"| {epochs} | {(card.duration_s or 0) / 3600:.1f} h "
            f"| {card.machine} | {size:.1f} MB |"
        )
    for card in cards:
        if sets := card.scores["validation"].get("sets"):
            lines += [
                "",
                f"`{card.name}`, validation sections of each lab:",
                "",
                *_head("IoU in %", "Rand error"),
            ]
            for name, scores in sets.items():
                lines.append(_lab(name, scores))
                if "first_round" in scores:
                    lines.append(_lab(f"{name}, first output", scores["first_round"]))
    return "\n".join([*lines, ""])


def _lab(name: str, scores: dict[str, Any]) -> str:
    """Return the row of a lab, of which not all classes are labelled."""
    values = [scores["iou"].get(each) for each in CLASSES]
    cells = [f"{100 * value:.1f}" if value is not None else "" for value in (*values, scores["mean_iou"])]
    error = scores.get("cells", {}).get("are")
    return f"| {name} | {' | '.join(cells)} | {'' if error is None else f'{error:.2f}'} |"


def _head(title: str, *more: str) -> list[str]:
    names = [title, *CLASSES, "mean", *more]
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _row(name: str, values: tuple[float, ...]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def _percent(scores: dict[str, Any]) -> tuple[float, ...]:
    return tuple(100 * value for value in (*(scores["iou"][name] for name in CLASSES), scores["mean_iou"]))


def page(text: str) -> str:
    """Return the page with its tables replaced by those of the bundled models."""
    cards = [read_card(path) for path in sorted(BUNDLED.glob("*.safetensors"))]
    start = text.index("\n", text.index("<!-- scores:")) + 1
    return text[:start] + tables(cards) + text[text.index("<!-- end of scores -->") :]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
