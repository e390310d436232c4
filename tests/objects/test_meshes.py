from __future__ import annotations

import errno
import math

import numpy as np
import pytest
import trimesh

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.objects.meshes import SUFFIXES, mesh_of, write_meshes

VOXEL = (10.0, 5.0, 5.0)


@pytest.fixture
def labels() -> np.ndarray:
    """Return a ball of 100 nm radius, 3, and a box at the border, 5."""
    z, y, x = np.indices((30, 60, 90))
    found = np.zeros(z.shape, np.uint16)
    found[((z - 15) * 10) ** 2 + ((y - 30) * 5) ** 2 + ((x - 30) * 5) ** 2 <= 100**2] = 3
    found[:10, :20, 70:] = 5
    return found


def test_a_ball_has_its_volume_and_surface_and_is_where_it_is(labels):
    mesh = mesh_of(labels, 3, VOXEL)

    assert mesh.volume_um3 == pytest.approx(4 / 3 * math.pi * 1e-3, rel=0.03)
    assert mesh.surface_um2 == pytest.approx(4 * math.pi * 1e-2, rel=0.03)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), (150, 150, 150), atol=3)


def test_smoothing_takes_steps_away_and_keeps_the_volume(labels):
    rough, smooth = mesh_of(labels, 3, VOXEL, smoothing=0), mesh_of(labels, 3, VOXEL)

    assert smooth.surface_um2 < 0.96 * rough.surface_um2
    assert smooth.volume_um3 == pytest.approx(rough.volume_um3, rel=1e-3)


def test_an_object_at_the_border_is_closed(labels):
    mesh = mesh_of(labels, 5, VOXEL)

    solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert solid.is_watertight
    assert solid.volume > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_in_micrometres(labels, tmp_path, suffix):
    path = tmp_path / f"meshes{suffix}"
    meshes = [mesh_of(labels, number, VOXEL) for number in (3, 5)]

    write_meshes(path, meshes, {3: (1, 0, 0, 1), 5: (0, 0, 1, 1)})

    read = trimesh.load_scene(path).to_mesh()
    _, high = read.bounds
    np.testing.assert_allclose(high[0], 0.45, atol=0.02)  # x comes first
    np.testing.assert_allclose(high[2], 0.25, atol=0.02)
    assert read.volume == pytest.approx(sum(mesh.volume_um3 for mesh in meshes), rel=0.01)
    if suffix == ".obj":
        assert "o object 5" in path.read_text()
    if suffix == ".glb":
        assert len(trimesh.load_scene(path).geometry) == 2


def test_what_cannot_be_meshed_or_written_is_said(labels, tmp_path, monkeypatch):
    mesh = mesh_of(labels, 3, VOXEL)
    (tmp_path / "there.ply").write_text("mine")

    with pytest.raises(InputError, match="no object 9"):
        mesh_of(labels, 9, VOXEL)
    with pytest.raises(InputError, match="single section"):
        mesh_of(labels[0], 5, VOXEL)
    with pytest.raises(OutputError, match="ends otherwise"):
        write_meshes(tmp_path / "a.txt", [mesh])
    with pytest.raises(OutputError, match="already"):
        write_meshes(tmp_path / "there.ply", [mesh])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_meshes(tmp_path / "a.ply", [mesh])
    assert [each.name for each in tmp_path.iterdir()] == ["there.ply"]
