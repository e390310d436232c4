"""Objects and their measures in one call, for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.make import find_objects
from napari_feedback_seg.objects.measures import measure_objects
from napari_feedback_seg.objects.options import ObjectOptions, voxel_of

if TYPE_CHECKING:
    import numpy as np

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
        (Y, X) or (Z, Y, X): where the class is, bool; or its probability, 0 to 1.
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
        uint32 numbers of the shape of ``evidence``, and the table of measures.
    """
    sides = (pixel_size_nm, pixel_size_nm) if isinstance(pixel_size_nm, int | float) else pixel_size_nm
    voxel = voxel_of(sides, spacing_nm)
    known = sides is not None and (evidence.ndim == 2 or spacing_nm is not None)
    numbers, count = finish(find_objects(evidence, options or ObjectOptions(), voxel))
    return numbers, finish(measure_objects(numbers, voxel if known else None, count=count, **measured))
