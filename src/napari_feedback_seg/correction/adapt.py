"""Strokes in, segmentation out: the same for Python and the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.correction.adaptation import Adaptation
from napari_feedback_seg.correction.card import has_learnt
from napari_feedback_seg.correction.classes import add_classes
from napari_feedback_seg.correction.corrections import corrected_sections
from napari_feedback_seg.correction.image_statistics import with_statistics
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.correction.mistakes import put_right
from napari_feedback_seg.correction.seen import Readers, Seen
from napari_feedback_seg.correction.strokes import Settled, classes_of, find_strokes, not_muted
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model, weights_digest
from napari_feedback_seg.segmentation import predict
from napari_feedback_seg.segmentation.device import choose_device
from napari_feedback_seg.segmentation.prediction import painted_over
from napari_feedback_seg.segmentation.sections import BlankSection

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.answer import FitProgress
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.strokes import Stroke
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
    own = [(other, corrections) for other, corrections in strokes if _same(image, other)]
    if adaptation and own:
        planes = [prediction] if prediction.labels.ndim == 2 else _planes(prediction)
        values = [each.value for each in adapted.card.classes]
        sections = _sections(adapted.card.classes, own, chosen.get("pixel_size_nm"))
        for section in sections:
            right = corrected(
                loaded, adaptation, section, device=chosen.get("device", "auto"), region=prediction.region
            )
            painted_over(planes[section.index], finish(right), values)
        for section in sections:
            painted_over(planes[section.index], section.labels, values)
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
        What was learnt: nothing, if nothing is painted, or the model has learnt it already.

    Raises
    ------
    InputError
        If an image or its corrections cannot be used as they are.
    ModelError, DeviceError
        If the model or the device cannot be used.
    """
    sections = _sections((*model.card.classes, *new_classes), strokes, pixel_size_nm)
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
    """Learn from the strokes of sections; yield after each step; return what was learnt.

    That is nothing if the model has learnt them already.
    """
    if has_learnt(model.card, sections, muted, muted_classes):
        return Adaptation(None, model.card.name, weights_digest(model), tuple(new_classes))
    answers = InstantAnswers(model, new_classes=new_classes, device=device, memory_mb=0)
    try:
        answers.set_strokes(sections, muted=muted, muted_classes=muted_classes)
        return (yield from answers.fit())
    finally:
        answers.close()


def corrected(
    model: Model,
    adaptation: Adaptation,
    section: CorrectedSection,
    *,
    device: str = "auto",
    region: tuple[slice, slice] | None = None,
) -> Generator[None, None, npt.NDArray[np.uint8]]:
    """Return what is right on a section by its strokes; yield after each stroke.

    That is what is painted, and what is put right around the strokes that were learnt from.

    Parameters
    ----------
    model : Model
        The one that the strokes were painted for.
    adaptation : Adaptation
        What was learnt of them.
    section : CorrectedSection
        The section.
    device : str
        As for :func:`adapt`.
    region : tuple of slice, optional
        Where to look for mistakes; the whole section if not given.

    Returns
    -------
    ndarray
        (Y, X) class values, 0 where the strokes say nothing.
    """
    strokes = _learnt_from(section, adaptation)
    owners = yield from _owners(model, adaptation, section, strokes, device, region)
    result = section.labels.copy()
    part = result[region] if region is not None else result
    part[part == 0] = classes_of(owners, strokes)[part == 0]
    if section.settled is not None:
        result[result == 0] = section.settled[result == 0]
    return result


def settled_by(
    model: Model, adaptation: Adaptation, section: CorrectedSection, *, device: str = "auto"
) -> Generator[None, None, Settled]:
    """Return what is right around the strokes of a section, to be kept; see :func:`corrected`."""
    from scipy import sparse

    strokes = _learnt_from(section, adaptation)
    owners = yield from _owners(model, adaptation, section, strokes, device)
    for number, stroke in enumerate(strokes, 1):
        owners[tuple(stroke.pixels.T)] = number
    return Settled(sparse.csr_array(owners), np.array([each.value for each in strokes], np.uint8))


def _learnt_from(section: CorrectedSection, adaptation: Adaptation) -> list[Stroke]:
    """Return the strokes of a section that were learnt from."""
    strokes = find_strokes(section.labels, (section.source, section.index))
    return not_muted(strokes, adaptation.muted, adaptation.muted_classes)


def _owners(
    model: Model,
    adaptation: Adaptation,
    section: CorrectedSection,
    strokes: Sequence[Stroke],
    device: str,
    region: tuple[slice, slice] | None = None,
) -> Generator[None, None, npt.NDArray[np.int32]]:
    """Return which strokes put what right, see :func:`put_right`; nothing on a blank section."""
    grown = with_statistics(add_classes(model, adaptation.new_classes), adaptation.statistics)
    seen = Seen(grown, Readers(grown.card), choose_device(device), 0)
    try:
        return (yield from put_right(seen, section, strokes, adaptation, region))
    except BlankSection:
        return np.zeros(section.labels[region or ...].shape, np.int32)
    finally:
        seen.cache.close()


def _same(image: Any, other: Any) -> bool:
    """Whether two images are one, or equal."""
    if image is other:
        return True
    if not isinstance(image, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    return image.shape == other.shape and np.array_equal(image, other)


def _planes(prediction: Prediction) -> list[Prediction]:
    """Return the predictions of the sections of a stack; they share its arrays."""
    probabilities = prediction.probabilities
    return [
        replace(prediction, labels=labels, probabilities=None if probabilities is None else probabilities[z])
        for z, labels in enumerate(prediction.labels)
    ]


def _sections(
    classes: Sequence[LabelClass],
    strokes: Sequence[tuple[Any, Any]],
    pixel_size_nm: float | tuple[float, float] | None,
) -> list[CorrectedSection]:
    """Return the sections with corrections of pairs of an image and corrections."""
    sections: list[CorrectedSection] = []
    for number, (image, corrections) in enumerate(strokes):
        sections += corrected_sections(
            image, corrections, classes, pixel_size_nm=pixel_size_nm, source=f"image {number}"
        )
    return sections
