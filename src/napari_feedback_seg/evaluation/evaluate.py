"""Score a model on labelled sections, as a user would segment them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.metrics import Scores
from napari_feedback_seg.models.library import BUNDLED
from napari_feedback_seg.models.model_file import replace_card
from napari_feedback_seg.segmentation.events import SectionDone
from napari_feedback_seg.segmentation.predict import segment_stack
from napari_feedback_seg.segmentation.prediction import SegmentOptions, merge_messages

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.segmentation.events import TileDone

PARTS = ("train", "validation", "test")
"""The parts of a data set that a card names."""


def score(
    model: Model, dataset: Dataset, sections: Sequence[int], options: SegmentOptions | None = None
) -> Generator[TileDone | SectionDone, None, dict[str, Any]]:
    """Segment labelled sections; return the scores over all of them.

    Parameters
    ----------
    model : Model
        The model to score.
    dataset : Dataset
        Labelled sections.
    sections : sequence of int
        Those to score on.
    options : SegmentOptions, optional
        How to segment; tiles blended at the default overlap if not given.

    Returns
    -------
    dict
        ``sections``, ``overlap``, ``flips``, ``remove_specks``, all that
        :meth:`~napari_feedback_seg.metrics.Scores.table` gives, for a network of two rounds
        ``first_round`` with the same of its first output, and ``messages`` where the segmentation
        has something to say about a section.

    Raises
    ------
    InputError
        If the data set has classes that the model lacks, or no such section.
    """
    missing = [z for z in sections if not 0 <= z < len(dataset.images)]
    if missing or not sections:
        last = len(dataset.images) - 1
        raise InputError(
            f"{dataset.name} has sections 0 to {last}; asked for: {', '.join(map(str, sections))}."
        )
    known, labelled = (
        [f"{each.value} {each.name}" for each in classes] for classes in (model.card.classes, dataset.classes)
    )
    if known != labelled:
        raise InputError(f"The model knows {', '.join(known)}; the labels are {', '.join(labelled)}.")
    options = options or SegmentOptions(first_round=model.card.spec.rounds > 1)
    if options.pixel_size_nm is None:
        options = replace(options, pixel_size_nm=dataset.pixel_size_nm)
    possible = dataset.possible if dataset.codes else None
    answer, first_round = (Scores(dataset.classes, possible) for _ in range(2))
    messages: list[tuple[str, ...]] = [() for _ in dataset.images]
    for event in _segmented(dataset, sections, model, options):
        yield event
        if isinstance(event, SectionDone):
            truth = dataset.labels[sections[event.section]]
            cells = dataset.cells[sections[event.section]] if dataset.cells else None
            messages[sections[event.section]] = event.prediction.messages
            answer.add(truth, event.prediction.labels, cells)
            if event.prediction.first_round is not None:
                first_round.add(truth, event.prediction.first_round, cells)
    scores = {"sections": list(sections), "overlap": options.overlap, "flips": options.flips}
    scores["remove_specks"] = options.remove_specks
    scores |= answer.table()
    if model.card.spec.rounds > 1 and options.first_round:
        scores["first_round"] = first_round.table()
    if said := merge_messages(messages):
        scores["messages"] = list(said)
    return scores


def _segmented(
    dataset: Dataset, sections: Sequence[int], model: Model, options: SegmentOptions
) -> Generator[TileDone | SectionDone, None, None]:
    """Segment sections, each run of one shape as a stack; number them as they are in ``sections``."""
    begun = 0
    for _, together in groupby(sections, key=lambda z: dataset.images[z].shape):
        images = [dataset.images[z] for z in together]
        for event in segment_stack(images, model, options):
            yield replace(event, section=begun + event.section)
        begun += len(images)


def choose_sections(text: str, card: ModelCard, dataset: Dataset) -> list[int]:
    """Return the section numbers that ``text`` names.

    Parameters
    ----------
    text : str
        Numbers and spans such as ``15-19`` or ``0,3,7``; or ``train``, ``validation`` or
        ``test``: the sections that the card gives under that name.
    card : ModelCard
        Card of the model.
    dataset : Dataset
        The data set, whose own test sections count where the card names none.

    Raises
    ------
    ValueError
        If the text names no sections, or the data set is no longer what the card is about.
    """
    if text in PARTS:
        data = card.trained_on(dataset.name)
        if data is not None and data.digest not in ("", dataset.digest()):
            raise ValueError(
                f"{dataset.name} has changed since {card.name} was trained on it, and its sections may "
                "have other numbers; give numbers such as 0-4."
            )
        numbers = data.sections.get(text, []) if data is not None else []
        numbers = numbers or (list(dataset.test) if text == "test" else [])
        if not numbers:
            raise ValueError(
                f"The model's card names no {text} sections of {dataset.name}; give numbers such as 0-4."
            )
        return list(numbers)
    return choose_numbers(text, "sections", len(dataset.images))


def caveats(card: ModelCard, dataset: Dataset, sections: Sequence[int]) -> list[str]:
    """Return sentences that say in what scores on these sections flatter the model."""
    said = []
    known = {
        z
        for data in card.data
        if data.name == dataset.name
        for part in ("train", "validation")
        for z in data.sections.get(part, [])
    }
    if learnt := sorted(known & set(sections)):
        said.append(
            f"{card.name} was trained or chosen on section{'s' if len(learnt) > 1 else ''} "
            f"{', '.join(map(str, learnt))}: on new ones it will score lower."
        )
    if any("corrected" in each.sections for each in card.data):
        said.append(
            f"{card.name} was fine-tuned on corrections. If they are of sections scored here, "
            "it will score lower on new ones."
        )
    return said


def choose_numbers(text: str, what: str, count: int) -> list[int]:
    """Return the numbers that a text such as ``15-19`` or ``0,3,7`` names, each once.

    Raises
    ------
    ValueError
        If it names none, or one that is not below ``count``; ``what`` is what the sentence speaks of.
    """
    chosen: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"{what.capitalize()} read like 15-19 or 0,3,7, not {text!r}.")
        span = range(int(first), int(last or first) + 1)
        if span.stop > count:
            raise ValueError(f"There are {what} 0 to {count - 1}, not {part.strip()}.")
        if not span:
            raise ValueError(f"{what.capitalize()} are named from low to high, not {part.strip()}.")
        chosen += span
    return list(dict.fromkeys(chosen))


def write_to_card(model: Model, name: str, scores: dict[str, Any]) -> None:
    """Write scores into the model's file, under ``train``, ``validation`` or ``test``.

    Raises
    ------
    ValueError
        If the name is unknown.
    ModelError
        If the model has no file.
    OutputError
        If the file cannot be written.
    """
    if name not in PARTS:
        raise ValueError(f"Scores go into the card under {', '.join(PARTS)}, not {name!r}.")
    if model.path is None:
        raise ModelError("The model has no file yet; save it first.")
    if model.path.parent == BUNDLED:
        raise ModelError(f"{model.card.name} came with the package and stays as it is; copy its file first.")
    card = replace(model.card, scores={**model.card.scores, name: scores})
    replace_card(model.path, card)
