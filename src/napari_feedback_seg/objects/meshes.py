"""Meshes of objects: marching cubes, smoothed, measured, and written to files."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import check_output, replacing
from napari_feedback_seg.objects.edits import box_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.options import Voxel

SUFFIXES = (".ply", ".obj", ".stl", ".glb")
"""What files of meshes are called."""

SMOOTHING = 8
"""Passes in which each corner moves to the mean of its neighbours."""


@dataclass(frozen=True)
class Mesh:
    """The surface of an object.

    Attributes
    ----------
    number : int
        The object.
    vertices : ndarray
        (n, 3) corners in nm: z, y, x, from the centre of the first voxel of the stack.
    faces : ndarray
        (m, 3) indices of the corners of each triangle, counterclockwise from outside.
    """

    number: int
    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]

    @property
    def surface_um2(self) -> float:
        """Area of the mesh in square micrometres."""
        a, b, c = self._corners()
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 / 1e6)

    @property
    def volume_um3(self) -> float:
        """Volume that the mesh encloses in cubic micrometres."""
        return _volume(self.vertices, self.faces) / 1e9

    def _corners(self) -> npt.NDArray[np.float64]:
        centred = self.vertices.astype(float) - self.vertices.mean(axis=0)
        corners: npt.NDArray[np.float64] = centred[self.faces].transpose(1, 0, 2)
        return corners


def mesh_of(labels: Any, number: int, voxel: Voxel, *, smoothing: int = SMOOTHING) -> Mesh:
    """Return the surface of an object, closed also where it touches the border.

    Smoothing takes the steps between voxels away and keeps the volume.

    Parameters
    ----------
    labels : array-like
        (Z, Y, X) numbers of objects.
    number : int
        The object.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    smoothing : int
        Passes of smoothing.

    Raises
    ------
    InputError
        If there is no such object, or the labels are a single section.
    """
    if labels.ndim != 3 or labels.shape[0] < 2:
        raise InputError("A single section has no meshes. Open a stack of sections.")
    if not any((np.asarray(section) == number).any() for section in labels):
        raise InputError(f"There is no object {number}.")
    box = box_of(labels, number)
    inside = np.pad(np.asarray(labels[box]) == number, 1).astype(np.float32)
    vertices, faces, normals, _ = bic.mesh.marching_cubes(inside, 0.5, spacing=voxel, allow_degenerate=False)
    vertices = np.asarray(vertices, np.float64)
    if _volume(vertices, faces) < 0:
        faces = faces[:, ::-1]
    if smoothing:
        before = _volume(vertices, faces)
        smooth, _ = bic.mesh.smooth_mesh(
            np.ascontiguousarray(vertices),
            np.asarray(normals, np.float64),
            np.ascontiguousarray(faces),
            smoothing,
        )
        after, centre = _volume(smooth, faces), smooth.mean(axis=0)
        if after > 0:
            vertices = centre + (smooth - centre) * np.cbrt(before / after)
    corner = [each.start - 1 for each in box] * np.asarray(voxel)
    return Mesh(number, (vertices + corner).astype(np.float32), np.ascontiguousarray(faces, np.int32))


def write_meshes(
    path: str | os.PathLike[str],
    meshes: Sequence[Mesh],
    colours: Mapping[int, Sequence[float]] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write meshes to a file, in µm, as x, y and z: PLY, OBJ, STL or GLB, as its name ends.

    OBJ and GLB keep objects apart; PLY and GLB keep their colours.

    Parameters
    ----------
    path : path-like
        The file.
    meshes : sequence of Mesh
        What to write.
    colours : mapping, optional
        Red, green, blue and opacity from 0 to 1 of each object.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    OutputError
        If the file has another ending, is there already or cannot be written, or trimesh is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise OutputError(f"Meshes are written as {', '.join(SUFFIXES)}: '{path.name}' ends otherwise.")
    check_output(path, overwrite)
    try:
        trimesh = importlib.import_module("trimesh")
    except ImportError as error:
        raise OutputError("To write meshes, another library is needed: pip install trimesh") from error
    scene = trimesh.Scene()
    for mesh in meshes:
        # x, y, z of a picture whose rows go down is left-handed: the triangles turn round with the axes.
        one = trimesh.Trimesh(mesh.vertices[:, ::-1] / 1e3, mesh.faces[:, ::-1], process=False)
        if colours is not None and mesh.number in colours:
            one.visual.vertex_colors = np.round(np.asarray(colours[mesh.number]) * 255).astype(np.uint8)
        scene.add_geometry(one, geom_name=f"object {mesh.number}", node_name=f"object {mesh.number}")
    content = scene.export(file_type=kind[1:]) if kind in (".obj", ".glb") else _together(scene, kind)
    with replacing(path, overwrite) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _together(scene: Any, kind: str) -> Any:
    return scene.to_mesh().export(file_type=kind[1:])


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    centred = np.asarray(vertices, float) - np.asarray(vertices, float).mean(axis=0)
    a, b, c = centred[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
