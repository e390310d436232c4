"""Metadata of OME-Zarr 0.4 and 0.5 for labels and probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.io.level import Grid
    from napari_feedback_seg.volumes.pyramid import Halvings


def with_version(attributes: dict[str, Any], version: str) -> dict[str, Any]:
    """Return attributes of a group as a version of OME-Zarr has them: 0.5 under ``ome``."""
    return attributes if version == "0.4" else {"ome": {"version": version, **attributes}}


def multiscales(
    name: str, grid: Grid, axes: Sequence[str], halvings: Halvings, version: str
) -> dict[str, Any]:
    """Return the metadata of an image whose levels ``0``, ``1``, ... are half as high and wide each.

    Parameters
    ----------
    name : str
        Of the image.
    grid : Grid
        Where the pixels of the finest level lie.
    axes : sequence of str
        Of ``c``, ``z``, ``y`` and ``x``.
    halvings : sequence of (int, int)
        How often each level is halved, along z, and along y and x.
    version : {"0.4", "0.5"}
        Of OME-Zarr.
    """
    units = dict(zip("zyx", grid.units, strict=True))
    described: list[dict[str, Any]] = []
    for axis in axes:
        if axis == "c":
            described.append({"name": "c", "type": "channel"})
        else:
            unit = units[axis]
            described.append({"name": axis, "type": "space", **({"unit": unit} if unit else {})})
    datasets = []
    for level, (deep, wide) in enumerate(halvings):
        at = grid.halved(wide, deep)
        scale = {"c": 1.0, **dict(zip("zyx", at.scale, strict=True))}
        moved = {"c": 0.0, **dict(zip("zyx", at.translation, strict=True))}
        transforms = [
            {"type": "scale", "scale": [scale[axis] for axis in axes]},
            {"type": "translation", "translation": [moved[axis] for axis in axes]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    one: dict[str, Any] = {"name": name, "axes": described, "datasets": datasets}
    return {"multiscales": [{"version": version, **one} if version == "0.4" else one]}


def image_label(classes: Sequence[LabelClass], version: str, into: bool) -> dict[str, Any]:
    """Return the colours and names of label values, and where their image is if it is in the same store."""
    about: dict[str, Any] = {
        "colors": [
            {"label-value": each.value, "rgba": [*each.rgb, round(255 * each.opacity)]} for each in classes
        ],
        "properties": [{"label-value": each.value, "class": each.name} for each in classes],
    }
    if version == "0.4":
        about = {"version": version, **about}
    return {"image-label": about | ({"source": {"image": "../../"}} if into else {})}


def labels_attributes(before: dict[str, Any], name: str, version: str) -> dict[str, Any]:
    """Return the attributes of a group of labels with one name more."""
    inner = before if version == "0.4" else before.get("ome", {})
    names = [each for each in inner.get("labels", ()) if each != name]
    if version == "0.4":
        return {**before, "labels": [*names, name]}
    return {**before, "ome": {**inner, "version": version, "labels": [*names, name]}}
