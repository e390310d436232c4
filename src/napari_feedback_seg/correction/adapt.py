"""Strokes in, segmentation out: the same for Python and the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.correction.adaptation import Adaptation
from napari_feedback_seg.correction.corrections import corrected_sections
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation import predict
from napari_feedback_seg.segmentation.prediction import painted_over

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence
    from pathlib import Path

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.instant import FitProgress
    from napari_feedback_seg.segmentation.prediction import Prediction


def segment(
    image: Any,
    model: str | Path | Model = "default",
    *,
    strokes: Adaptation | Sequence[tuple[Any, Any]] = (),
    new_classes: Sequence[LabelClass] = (),
    **options: Any,
) -> Prediction:
    """Segment a section or a stack of sections, with strokes on mistakes if there are any.

    Parameters
    ----------
    image : array-like
        Grey values (Y, X) or (Z, Y, X), numpy, dask, zarr, torch or a list of sections. A
        lazy stack is read section by section.
    model : str, Path or Model
        ``default``, a name that :func:`list_models` gives, the path of a model file, or a
        model.
    strokes : sequence of tuple, or Adaptation
        Pairs of an image and corrections of its shape: class values, 0 where nothing is said.
        The images are of the pixel size of ``image``. What was painted on ``image`` itself is
        always right in the result. Or what :func:`adapt` has learnt of them.
    new_classes : sequence of LabelClass
        Classes of the corrections that the model lacks.
    **options
        As :class:`SegmentOptions` takes them: ``device``, ``overlap``, ``pixel_size_nm``,
        ``region``, ``flips``, ``remove_specks``, ``probabilities``, ``first_round``, ``batch``.

    Returns
    -------
    Prediction
        The labels have the image's shape, or the region's.

    Raises
    ------
    ValueError
        If an option makes no sense.
    InputError
        If the image or the corrections cannot be used as they are.
    ModelError
        If the model cannot be used, or the strokes were learnt for another.
    DeviceError
        If the device is not there or fails.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    if isinstance(strokes, Adaptation):
        return predict.segment(image, strokes.apply(loaded), **options)
    chosen = {name: options[name] for name in ("device", "pixel_size_nm") if name in options}
    adaptation = adapt(loaded, strokes, new_classes=new_classes, **chosen) if strokes else None
    adapted = adaptation.apply(loaded) if adaptation else loaded
    prediction = predict.segment(image, adapted, **options)
    values = [each.value for each in adapted.card.classes]
    for other, corrections in strokes:
        if _same(image, other):
            _paint(prediction, corrections, values)
    return prediction


def adapt(
    model: Model,
    strokes: Sequence[tuple[Any, Any]],
    *,
    new_classes: Sequence[LabelClass] = (),
    pixel_size_nm: float | tuple[float, float] | None = None,
    device: str = "auto",
) -> Adaptation:
    """Learn from strokes on mistakes of a model, in seconds; the model stays as it is.

    Parameters
    ----------
    model : Model
        The model.
    strokes : sequence of tuple
        Pairs of an image, (Y, X) or (Z, Y, X), and corrections of its shape: class values, 0
        where nothing is said. Sections without corrections are not read.
    new_classes : sequence of LabelClass
        Classes of the corrections that the model lacks.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel of the images in nm, or its height and width; the model's own if not given.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Returns
    -------
    Adaptation
        What was learnt: nothing, if nothing is painted or leaving out strokes in turn tells
        that it would not help.

    Raises
    ------
    InputError
        If an image or its corrections cannot be used as they are.
    ModelError, DeviceError
        If the model or the device cannot be used.
    """
    classes = (*model.card.classes, *new_classes)
    sections: list[CorrectedSection] = []
    for number, (image, corrections) in enumerate(strokes):
        sections += corrected_sections(
            image, corrections, classes, pixel_size_nm=pixel_size_nm, source=f"image {number}"
        )
    return finish(learn(model, sections, new_classes=new_classes, device=device))


def learn(
    model: Model,
    sections: Sequence[CorrectedSection],
    *,
    new_classes: Sequence[LabelClass] = (),
    device: str = "auto",
    muted: Collection[tuple[int, int, int]] = (),
    muted_classes: Collection[int] = (),
) -> Generator[FitProgress, None, Adaptation]:
    """Learn from the strokes of sections; yield after each step; return what was learnt."""
    answers = InstantAnswers(model, new_classes=new_classes, device=device, memory_mb=0)
    try:
        answers.set_strokes(sections, muted=muted, muted_classes=muted_classes)
        return (yield from answers.fit())
    finally:
        answers.close()


def _same(image: Any, other: Any) -> bool:
    """Whether two images are one, or equal."""
    if image is other:
        return True
    if not isinstance(image, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    return image.shape == other.shape and np.array_equal(image, other)


def _paint(prediction: Prediction, corrections: Any, values: Sequence[int]) -> None:
    """Write corrections over the prediction of their image."""
    if prediction.labels.ndim == 2:
        painted_over(prediction, np.asarray(corrections), values)
        return
    for z, labels in enumerate(prediction.labels):
        of_section = None if prediction.probabilities is None else prediction.probabilities[z]
        part = replace(prediction, labels=labels, probabilities=of_section)
        painted_over(part, np.asarray(corrections[z]), values)
