"""What is asked for, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_feedback_seg.models.model import ModelCard

PRECISIONS = ("auto", "bf16", "fp16", "fp32")

MAX_RATIO = 16
"""A section whose pixels differ by more than this factor from the model's is refused."""


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment; what a type is annotated with is how a form shows it.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    overlap : float
        Fraction of a tile that it shares with the next, 0 to below 1; more is smoother and slower.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel of the image in nm, or its height and width; the model's own if not
        given. Another size is resampled to the model's, and the result back.
    region : tuple of slice, optional
        Rows and columns to segment; the whole section if not given.
    flips : bool
        Average over the eight flips and quarter turns: eight times slower, steadier.
    remove_specks : bool
        Whether mitochondria below 0.01 µm², which are too small to be any, get the next likely
        class. Probabilities stay as they are.
    probabilities : bool
        Also return how probable each class is.
    first_round : bool
        Also return the labels of the network's first round.
    batch : int, optional
        Tiles at once; chosen by the device if not given.
    precision : str
        What to compute in: ``auto`` is what the device is good at; or ``bf16``, ``fp16``,
        ``fp32``.

    Raises
    ------
    ValueError
        If a value makes no sense.
    """

    device: str = "auto"
    overlap: Annotated[float, {"label": "&Overlap", "min": 0.0, "max": 0.9, "step": 0.05}] = 0.25
    pixel_size_nm: float | tuple[float, float] | None = None
    region: tuple[slice, slice] | None = None
    flips: Annotated[bool, {"label": "Average &flips (8 x slower)"}] = False
    remove_specks: Annotated[bool, {"label": "Remove spec&ks"}] = True
    probabilities: Annotated[bool, {"label": "Layers of &probabilities"}] = False
    first_round: bool = False
    batch: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"The overlap is a fraction from 0 to below 1, like 0.25, not {self.overlap}.")
        if self.pixel_size_nm is not None and not all(
            0 < side < math.inf for side in pixel_sides(self.pixel_size_nm)
        ):
            raise ValueError(f"A pixel size is a number of nanometres above 0, not {self.pixel_size_nm}.")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"A batch has at least one tile, not {self.batch}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"The precision is auto, bf16, fp16 or fp32, not {self.precision!r}.")


@dataclass(frozen=True)
class Prediction:
    """What the network says about a section, or about a stack.

    Attributes
    ----------
    labels : ndarray
        (Y, X) uint8, the value of the likeliest class, 0 where there is no tissue; (Z, Y, X)
        for a stack.
    probabilities : ndarray or None
        (C, Y, X) float16 in the order of the model's classes; (Z, C, Y, X) for a stack.
    first_round : ndarray or None
        As ``labels``, after the first of two rounds.
    region : tuple of slice
        The rows and columns of the section that this is about.
    device : str
        What it was computed on.
    messages : tuple of str
        Sentences that the user should read.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None
    first_round: np.ndarray | None
    region: tuple[slice, slice]
    device: str
    messages: tuple[str, ...] = ()


def empty_prediction(
    region: tuple[slice, slice], card: ModelCard, options: SegmentOptions, device: str = ""
) -> Prediction:
    """Return a prediction of this region that is 0 everywhere, to be filled or left blank."""
    shape = tuple(each.stop - each.start for each in region)
    return Prediction(
        labels=np.zeros(shape, np.uint8),
        probabilities=np.zeros((len(card.classes), *shape), np.float16) if options.probabilities else None,
        first_round=np.zeros(shape, np.uint8) if options.first_round and card.spec.rounds > 1 else None,
        region=region,
        device=device,
    )


def cut_prediction(prediction: Prediction, region: tuple[slice, slice]) -> Prediction:
    """Return the part of a prediction that is about a region within its own; it shares the arrays."""
    at = tuple(
        slice(each.start - own.start, each.stop - own.start)
        for each, own in zip(region, prediction.region, strict=True)
    )
    arrays: dict[str, Any] = {
        name: None if array is None else array[..., *at]
        for name in ("labels", "probabilities", "first_round")
        for array in [getattr(prediction, name)]
    }
    return replace(prediction, region=region, **arrays)


def fill_rows(
    prediction: Prediction,
    top: int,
    rows: np.ndarray,
    values: np.ndarray,
    outside: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write blended probabilities into a prediction.

    Parameters
    ----------
    prediction : Prediction
        Its arrays are written to.
    top : int
        First row of the prediction to be filled.
    rows : ndarray
        (C or 2 C, n, X): the answer's probabilities, then the first round's if asked for.
    values : ndarray
        (C,) uint8, the label of each class.
    outside : ndarray, optional
        (n, X), where there is no tissue: everything is 0 there.
    """
    to = slice(top, top + rows.shape[1])
    answer, first = rows[: len(values)], rows[len(values) :]
    values.take(answer.argmax(axis=0), out=prediction.labels[to], mode="clip")
    if prediction.probabilities is not None:
        prediction.probabilities[:, to] = answer
    if prediction.first_round is not None:
        prediction.first_round[to] = values[first.argmax(axis=0)]
    if outside is not None:
        for each in (prediction.labels, prediction.first_round, prediction.probabilities):
            if each is not None:
                each[..., to, :][..., outside] = 0


def painted_over(
    prediction: Prediction, labels: npt.NDArray[np.uint8], values: Sequence[int] = ()
) -> Prediction:
    """Return a prediction that says what was painted, where something was.

    Parameters
    ----------
    prediction : Prediction
        Of a section; its arrays are written to.
    labels : ndarray
        (Y, X) of the whole section, 0 where nothing was painted.
    values : sequence of int
        The class value of each channel, if there are probabilities.
    """
    part = labels[prediction.region]
    painted = part > 0
    prediction.labels[painted] = part[painted]
    if prediction.probabilities is not None:
        for channel, value in enumerate(values):
            prediction.probabilities[channel][painted] = part[painted] == value
    return prediction


class StackBuilder:
    """Puts the predictions of sections, in their order, into one of the stack."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stack: Prediction | None = None
        self._messages: list[tuple[str, ...]] = []

    def add(self, section: int, prediction: Prediction) -> None:
        """Copy the prediction of a section.

        Raises
        ------
        InputError
            If the section has another shape than the ones before.
        """
        names = ("labels", "probabilities", "first_round")
        if self._stack is None:
            arrays: dict[str, Any] = {name: self._zeros(getattr(prediction, name)) for name in names}
            self._stack = replace(prediction, **arrays)
        if prediction.labels.shape != self._stack.labels.shape[1:]:
            raise InputError(
                f"Section {section} has the shape {prediction.labels.shape} and section 0 has "
                f"{self._stack.labels.shape[1:]}: the sections of a stack have one shape."
            )
        for name in names:
            if getattr(prediction, name) is not None:
                getattr(self._stack, name)[section] = getattr(prediction, name)
        self._messages.append(prediction.messages)
        self._stack = replace(self._stack, device=prediction.device)

    def result(self) -> Prediction:
        """Return the prediction of the stack."""
        assert self._stack is not None
        return replace(self._stack, messages=merge_messages(self._messages))

    def _zeros(self, like: np.ndarray | None) -> np.ndarray | None:
        return None if like is None else np.zeros((self._count, *like.shape), like.dtype)


def merge_messages(messages: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the messages of all sections, each once, with the sections that it is about.

    Sections are counted from 0, as napari's slider does. A message about all of them, as
    any about a single image, names none.
    """
    sections: dict[str, list[int]] = {}
    for z, said in enumerate(messages):
        for message in said:
            sections.setdefault(message, []).append(z)
    return tuple(
        message if len(found) == len(messages) else f"{name_sections(found)}: {message}"
        for message, found in sections.items()
    )


def absolute_region(shape: tuple[int, int], region: tuple[slice, slice] | None) -> tuple[slice, slice]:
    """Return the rows and columns that ``region`` means in a section (Y, X).

    Raises
    ------
    InputError
        If the region leaves pixels out, or holds none.
    """
    if region is None:
        return slice(0, shape[0]), slice(0, shape[1])
    bounds = [each.indices(length) for each, length in zip(region, shape, strict=True)]
    if any(step != 1 for _, _, step in bounds):
        raise InputError("A region takes every pixel: its slices have a step of 1.")
    rows, columns = (slice(start, stop) for start, stop, _ in bounds)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise InputError(f"The region holds no pixel of the section, which has the shape {shape}.")
    return rows, columns


def pixel_sides(pixel_size_nm: float | tuple[float, float]) -> tuple[float, float]:
    """Return the height and width of a pixel, whose size is one number if it is square.

    Raises
    ------
    ValueError
        If there are more or fewer sides than two.
    """
    if isinstance(pixel_size_nm, tuple):
        if len(pixel_size_nm) != 2:
            raise ValueError(f"A pixel size is one number or (height, width) in nm, not {pixel_size_nm}.")
        height, width = pixel_size_nm
        return height, width
    return pixel_size_nm, pixel_size_nm


def model_shape(
    shape: tuple[int, int], card: ModelCard, pixel_size_nm: float | tuple[float, float] | None
) -> tuple[int, int]:
    """Return the shape (Y, X) that a section has at the model's pixel size.

    Raises
    ------
    InputError
        If the two pixel sizes are too far apart.
    """
    if pixel_size_nm is None:
        return shape
    height, width = (
        _model_length(length, side, card)
        for length, side in zip(shape, pixel_sides(pixel_size_nm), strict=True)
    )
    return height, width


def _model_length(length: int, side_nm: float, card: ModelCard) -> int:
    ratio = side_nm / card.pixel_size_nm
    if not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        raise InputError(
            f"The pixel size of {side_nm:g} nm is more than {MAX_RATIO} times away from the "
            f"{card.pixel_size_nm:g} nm of the model {card.name}. If it is wrong, give the right one "
            "(--pixel-size, or pixel_size_nm); if it is right, take another model."
        )
    return length if abs(ratio - 1) <= 0.01 else max(1, round(length * ratio))


def name_sections(found: Sequence[int]) -> str:
    """Return sections in words: "Section 3", "Sections 0 to 2", "Sections 0, 1 and 4"."""
    if len(found) == 1:
        return f"Section {found[0]}"
    if list(found) == list(range(found[0], found[-1] + 1)):
        return f"Sections {found[0]} to {found[-1]}"
    return f"Sections {', '.join(map(str, found[:-1]))} and {found[-1]}"
