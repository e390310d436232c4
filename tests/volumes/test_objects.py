from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05.image_label import ImageLabel
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.cli import app
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.cells import find_cells
from napari_feedback_seg.objects.files import ObjectsJob
from napari_feedback_seg.objects.make import find_objects
from napari_feedback_seg.objects.measures import measure_objects
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, Through
from napari_feedback_seg.objects.sources import borders_in
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed
from napari_feedback_seg.volumes.objects import number_objects
from napari_feedback_seg.volumes.segment import segment_volume

if TYPE_CHECKING:
    from pathlib import Path

CUBES, THICK = (8.0, 8.0, 8.0), (40.0, 8.0, 8.0)
SMALL = (8, 256, 256)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """(20, 270, 300) uint8: membrane around cytoplasm, and mitochondria that cross blocks."""
    rng = np.random.default_rng(1)
    blobs = gaussian_filter(rng.normal(size=(20, 270, 300)), (3, 7, 7))
    lines = gaussian_filter(rng.normal(size=(20, 270, 300)), (2, 9, 9))
    found = np.full(blobs.shape, 4, np.uint8)
    found[np.abs(lines) < 0.1 * lines.std()] = 1
    found[blobs > 1.2 * blobs.std()] = 2
    return found


def write_labels(path: Path, labels: np.ndarray, voxel=CUBES, version="0.5", chunks=(8, 128, 128)) -> Path:
    """Write labels as another program would."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    axes = "zyx"[-labels.ndim :]
    group.create_array("0", data=labels, chunks=chunks[-labels.ndim :])
    transform = {"type": "scale", "scale": list(voxel)[-labels.ndim :]}
    one = {
        "axes": [{"name": each, "type": "space", "unit": "nanometer"} for each in axes],
        "datasets": [{"path": "0", "coordinateTransformations": [transform]}],
    }
    about = {"version": "0.5", "multiscales": [one]}
    group.attrs.put({"ome": about} if version == "0.5" else {"multiscales": [{"version": "0.4", **one}]})
    return path


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_feedback_seg.objects.make.BLOCK", SMALL)
    for module in ("make", "cells"):
        monkeypatch.setattr(f"napari_feedback_seg.objects.{module}.FLAT_BLOCK", (1, 256, 256))


def made(output: Path, name: str = "mitochondria") -> np.ndarray:
    found: np.ndarray = zarr.open_array(str(output / "labels" / name / "0"), mode="r")[:]
    return found


def in_small_blocks(source: Path, output: Path) -> list[str]:
    """Return the command that numbers objects in blocks of 8 x 256 x 256."""
    script = (
        "import napari_feedback_seg.objects.make as make; make.BLOCK = (8, 256, 256)\n"
        "from napari_feedback_seg.cli import app; app()"
    )
    return [sys.executable, "-c", script, "objects", str(source), "-o", str(output)]


class TestEqualNumbers:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_as_in_memory_in_3d(self, tmp_path, labels, small_blocks, version):
        source = write_labels(tmp_path / "in.zarr", labels, version=version)
        done = finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))

        expected, count = finish(find_objects(labels == 2, ObjectOptions(), CUBES))
        assert done.count == count > 10
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)

    @pytest.mark.parametrize("through", [Through.OVERLAP, Through.NONE])
    def test_as_in_memory_section_by_section(self, tmp_path, labels, small_blocks, through):
        labels = labels.copy()
        labels[7] = 0  # one is missing
        source = write_labels(tmp_path / "in.zarr", labels, THICK)
        options = ObjectOptions(through=through)
        done = finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr", options=options)))

        expected, count = finish(find_objects(labels == 2, options, THICK))
        assert done.count == count
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)

    def test_cells_as_in_memory(self, tmp_path, labels, small_blocks):
        source = write_labels(tmp_path / "in.zarr", labels[:6], THICK)
        finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr", options=CellOptions())))

        borders = borders_in(labels[:6], EM_CLASSES, soft=False)
        expected, count = finish(find_cells(borders, CellOptions(), THICK, size=(1, 256, 256)))
        assert count > 10
        np.testing.assert_array_equal(made(tmp_path / "out.zarr", "cells"), expected)

    def test_a_single_section(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels[0])
        finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        expected, _ = finish(find_objects(labels[0] == 2, ObjectOptions(), CUBES))
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)

    @pytest.mark.slow
    def test_by_two_workers(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", np.tile(labels, (4, 2, 2)))
        events: list[Any] = []
        steps = number_objects(ObjectsJob(source, tmp_path / "out.zarr"), workers=2)
        while True:
            try:
                events.append(next(steps))
            except StopIteration as stop:
                done = stop.value
                break
        expected, count = finish(find_objects(np.tile(labels, (4, 2, 2)) == 2, ObjectOptions(), CUBES))
        assert done.count == count
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)
        last = [each for each in events if isinstance(each, BlockDone)][-1]
        assert last.done == last.total == 3 * 2 * 2 * 2

    @pytest.mark.slow
    def test_killed_again_and_again(self, tmp_path, labels, small_blocks):
        source = write_labels(tmp_path / "in.zarr", labels)
        command = in_small_blocks(source, tmp_path / "out.zarr")
        rng = np.random.default_rng(0)
        progress = tmp_path / "out.zarr" / "labels" / "mitochondria" / "progress"
        for _ in range(4):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            before = len(list(progress.glob("*"))) if progress.exists() else 0
            while process.poll() is None and len(list(progress.glob("*"))) < before + 5:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait()
        assert subprocess.run(command, check=False).returncode == 0
        expected, _ = finish(find_objects(labels == 2, ObjectOptions(), CUBES))
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)

    @pytest.mark.slow
    def test_by_two_processes_at_once(self, tmp_path, labels, small_blocks):
        source = write_labels(tmp_path / "in.zarr", labels)
        command = in_small_blocks(source, tmp_path / "out.zarr")
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        expected, count = finish(find_objects(labels == 2, ObjectOptions(), CUBES))
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)
        assert all(f"{count} " in each for each in said)


class TestOutput:
    def test_it_is_an_ome_zarr_with_levels(self, tmp_path, labels):
        large = np.tile(labels, (1, 3, 4))[:8]
        source = write_labels(tmp_path / "in.zarr", large)
        finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        folder = tmp_path / "out.zarr" / "labels" / "mitochondria"
        group = zarr.open_group(str(folder), mode="r")
        ImageLabel.from_zarr(group)
        assert [group[name].shape for name in "012"] == [(8, 810, 1200), (4, 405, 600), (2, 203, 300)]
        assert group["0"].dtype == np.uint32
        scale = group.attrs["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]
        assert scale["scale"] == [16.0, 16.0, 16.0]
        assert zarr.open_group(str(folder.parent), mode="r").attrs["ome"]["labels"] == ["mitochondria"]
        assert not list((folder / "progress").glob("label-*"))  # what was needed on the way is gone

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_into_the_store_of_the_image(self, tmp_path, tissue, write_volume, small_model, version):
        image = write_volume(tmp_path / "em.zarr", tissue, version)
        before = zarr.open_group(str(image), mode="r").attrs.asdict()
        segment_volume(image, image, small_model, into=True)
        finish(number_objects(ObjectsJob(image, image)))
        assert zarr.open_group(str(image), mode="r").attrs.asdict() == before
        about = zarr.open_group(str(image / "labels"), mode="r").attrs.asdict()
        assert (about if version == "0.4" else about["ome"])["labels"] == ["feedback-seg", "mitochondria"]

    def test_the_table_is_that_of_the_stack(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels)
        job = ObjectsJob(
            source, tmp_path / "out.zarr", table=tmp_path / "objects.csv", near=("membrane",), image=source
        )
        done = finish(number_objects(job))
        numbers, count = finish(find_objects(labels == 2, ObjectOptions(), CUBES))
        expected = finish(
            measure_objects(numbers, CUBES, count=count, grey=labels, near={"membrane": labels == 1})
        )
        assert (tmp_path / "objects.csv").read_text(encoding="utf-8") == expected.to_text(",")
        assert len(done.objects) == count

    def test_what_is_not_segmented_counts_in_no_measure(self, tmp_path, labels):
        labels = labels.copy()
        labels[:, 135:] = 0
        source = write_labels(tmp_path / "in.zarr", labels)
        done = finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr", table=tmp_path / "o.csv")))
        segmented = 20 * 135 * 300
        assert done.image["volume_um3"][0] == pytest.approx(segmented * 0.008**3)
        assert done.image["fraction"][0] == pytest.approx(done.objects["voxels"].sum() / segmented)
        assert done.image["segmented"][0] == pytest.approx(0.5)

    def test_what_segment_wrote(self, tmp_path, volume, small_model):
        segment_volume(volume, tmp_path / "labels.zarr", small_model, probabilities=True)
        folder = tmp_path / "labels.zarr" / "labels" / "feedback-seg"
        name = small_model.card.classes[0].name
        job = ObjectsJob(tmp_path / "labels.zarr", tmp_path / "labels.zarr", name, ObjectOptions(least_nm=0))
        done = finish(number_objects(job))
        soft = zarr.open_array(str(folder / "probabilities" / "0"), mode="r")[0]
        expected, count = finish(find_objects(soft, ObjectOptions(least_nm=0), (40.0, 4.6, 4.6)))
        assert done.count == count > 0
        np.testing.assert_array_equal(made(tmp_path / "labels.zarr", name), expected)
        names = zarr.open_group(str(folder.parent), mode="r").attrs["ome"]["labels"]
        assert set(names) == {"feedback-seg", name}

    def test_done_is_done(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels)
        first = finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        events: list[Any] = list(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        assert not [each for each in events if isinstance(each, BlockDone)]
        assert finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr"))).count == first.count


class TestRefused:
    def test_other_settings(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels[:4])
        finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        other = ObjectsJob(source, tmp_path / "out.zarr", options=ObjectOptions(split=0.2))
        with pytest.raises(OutputError, match="begun with other settings"):
            finish(number_objects(other))
        finish(number_objects(other, overwrite=True))

    def test_a_damaged_chunk_is_said_and_nothing_joined(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels)
        chunk = source / "0/c/0/0/0"
        kept = chunk.read_bytes()
        chunk.write_bytes(kept[:50])
        steps = number_objects(ObjectsJob(source, tmp_path / "out.zarr"))
        events = list(steps)
        assert [each for each in events if isinstance(each, BlockFailed)]
        result = CliRunner().invoke(app, ["objects", str(source), "-o", str(tmp_path / "out.zarr")])
        assert result.exit_code == 1
        assert "nothing was joined" in result.output.replace("\n", " ")
        chunk.write_bytes(kept)
        finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        expected, _ = finish(find_objects(labels == 2, ObjectOptions(), CUBES))
        np.testing.assert_array_equal(made(tmp_path / "out.zarr"), expected)

    def test_what_is_no_label(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels.astype(np.float32))
        with pytest.raises(InputError, match="holds float32 and no labels"):
            finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))

    def test_an_image(self, tmp_path, tissue):
        source = write_labels(tmp_path / "in.zarr", tissue)
        with pytest.raises(InputError, match="is no label image"):
            finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr")))
        assert not (tmp_path / "out.zarr").exists()

    def test_no_class_of_this_name(self, tmp_path, labels):
        source = write_labels(tmp_path / "in.zarr", labels)
        with pytest.raises(InputError, match="'nuclei' is no class"):
            finish(number_objects(ObjectsJob(source, tmp_path / "out.zarr", "nuclei")))
        assert not (tmp_path / "out.zarr").exists()

    def test_workers_are_for_volumes(self, tmp_path):
        result = CliRunner().invoke(
            app, ["objects", "in.tif", "-o", str(tmp_path / "out.tif"), "--workers", "2"]
        )
        assert result.exit_code == 2
        assert "Workers are for volumes" in result.output
