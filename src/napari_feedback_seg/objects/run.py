"""Objects and their measures in one call, for Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.make import find_objects
from napari_feedback_seg.objects.measures import measure_objects
from napari_feedback_seg.objects.options import ObjectOptions, voxel_of

if TYPE_CHECKING:
    from napari_feedback_seg.objects.table import Table


def objects(
    evidence: Any,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_nm: float | None = None,
    options: ObjectOptions | None = None,
    **measured: Any,
) -> tuple[np.ndarray, Table]:
    """Find the objects of a class, number and measure them.

    >>> numbers, table = objects(labels == 2, pixel_size_nm=5, spacing_nm=5)

    Parameters
    ----------
    evidence : array-like
        (Y, X) or (Z, Y, X): where the class is, bool, or whole numbers with one value beside 0, 1 or 255;
        or its probability, 0 to 1.
    pixel_size_nm : float or (float, float), optional
        Side of a pixel in nm, or its height and width. Measures are in pixels if not given.
    spacing_nm : float, optional
        Distance of the sections in nm.
    options : ObjectOptions, optional
        How.
    **measured
        As :func:`~napari_feedback_seg.objects.measures.measure_objects` takes them: ``grey``, ``cells``,
        ``near``.

    Returns
    -------
    tuple
        uint32 numbers of the shape of ``evidence``, and the
        :class:`~napari_feedback_seg.objects.table.Table` of measures.

    Raises
    ------
    InputError
        If that is no mask and no probability, as labels of several classes, or no size of a pixel.
    """
    evidence, sides = _checked(evidence), _sides(pixel_size_nm)
    voxel = voxel_of(sides, spacing_nm)
    known = sides is not None and (evidence.ndim == 2 or spacing_nm is not None)
    numbers, count = finish(find_objects(evidence, options or ObjectOptions(), voxel))
    return numbers, finish(measure_objects(numbers, voxel if known else None, count=count, **measured))


def _checked(evidence: Any) -> Any:
    """Return where the class is; a mask of whole numbers as bool."""
    if isinstance(evidence, (str, bytes, os.PathLike)):
        raise InputError(
            f"'{os.fsdecode(evidence)}' is a name and not an array. Read the file first, for example with "
            "tifffile.imread, or use the command line: feedback-seg objects."
        )
    evidence = evidence if hasattr(evidence, "dtype") else np.asarray(evidence)
    if evidence.dtype.kind not in "iu":
        return evidence
    values = np.asarray(evidence)
    top = int(values.max(initial=0))
    mask: np.ndarray = values == top
    if top not in (0, 1, 255) or (values[~mask] != 0).any():
        raise InputError(
            "These are labels of several classes or numbers, and objects are made of one class. Say which: "
            "objects(labels == 2, ...)."
        )
    return mask & (top > 0)


def _sides(pixel_size_nm: Any) -> tuple[float, float] | None:
    """Return the height and width of a pixel, whose size may be one number."""
    if pixel_size_nm is None:
        return None
    sides = np.asarray(pixel_size_nm, float)
    if sides.shape not in ((), (2,)) or not (np.isfinite(sides) & (sides > 0)).all():
        raise InputError(
            "A pixel size is one number of nm above 0, or height and width as in (8, 4), not "
            f"{pixel_size_nm}. The distance of the sections is spacing_nm."
        )
    height, width = np.broadcast_to(sides, 2).tolist()
    return height, width
