from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file
from skimage.io import imread, imsave
from typer.testing import CliRunner

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.cli import app, train
from napari_feedback_seg.correction.optimisation import Optimisation
from napari_feedback_seg.datasets import sstem
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.evaluation.evaluate import write_to_card
from napari_feedback_seg.evaluation.train import TrainJob, run_training
from napari_feedback_seg.io import label_writer
from napari_feedback_seg.models.library import DEFAULT_MODEL, find_model, load_model
from napari_feedback_seg.models.model import TrainingData
from napari_feedback_seg.models.model_file import load_model_file, read_card, replace_card, save_model
from napari_feedback_seg.networks import NetworkSpec
from napari_feedback_seg.training.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

SMALL = ["--width", "4", "--depth", "2", "--tile", "64", "--patches", "8", "--batch", "4", "--epochs", "2"]
SMALL += ["--key-pooling", "8", "--query-channels", "2", "--precision", "fp32", "--device", "cpu"]


def run(*arguments: object, code: int = 0) -> str:
    """Run a command; return what it printed, all on one line."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """End what a test that failed has left running."""
    yield
    for process in _started:
        process.kill()
        process.wait()
    _started.clear()


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a command that Ctrl-C can stop, as one that a shell put in the background could not."""
    code = "from napari_feedback_seg.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _started.append(process)
    return process


def wait_for(path: Path, beside: Path | None = None) -> None:
    """Wait until a file is there, or a folder holds more than one file."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if [each for each in path.iterdir() if each != beside] if beside else path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture(scope="module")
def section() -> np.ndarray:
    return builtin_section((150, 170), seed=1).image


@pytest.fixture
def image(section: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "section.tif"
    tifffile.imwrite(path, section, imagej=True, resolution=(1000 / 4.6, 1000 / 4.6), metadata={"unit": "um"})
    return path


@pytest.fixture
def model(small_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    card = replace(small_model.card, data=(TrainingData("data", sections={"test": [1]}),))
    return save_model(replace(small_model, card=card), tmp_path_factory.mktemp("m") / "small.safetensors")


@pytest.fixture(scope="module")
def _data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        made = builtin_section(128, seed=number)
        for name, array in (("images", made.image), ("labels", made.labels)):
            (folder / name).mkdir(exist_ok=True)
            imsave(folder / name / f"{number}.png", array, check_contrast=False)
    return folder


@pytest.fixture
def data_set(_data_set: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_data_set, tmp_path / "data")


class TestSegment:
    def test_one_image(self, image: Path, model: Path, section: np.ndarray) -> None:
        out = image.parent / "new" / "labels.tif"
        options = ["--model", model, "--probabilities", "--first-round"]
        assert "wrote" in run("segment", image, "-o", out, "--keep-specks", *options)
        with tifffile.TiffFile(out) as file:
            labels = file.asarray()
            assert file.imagej_metadata["unit"] in ("nm", "um", "micron")
        assert labels.shape == section.shape
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {1, 2, 3, 4}
        probabilities = tifffile.imread(out.with_name("labels-probabilities.tif"))
        assert probabilities.shape == (4, *section.shape)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=5e-3)
        assert (probabilities.argmax(axis=0) + 1 == labels).mean() > 0.99
        assert tifffile.imread(out.with_name("labels-first-round.tif")).shape == section.shape
        assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
        clean = out.with_name("clean.tif")
        run("segment", image, "-o", clean, *options)
        assert 0 < (tifffile.imread(clean) != labels).mean() < 0.5
        assert ((tifffile.imread(clean) == labels) | (labels == 2)).all()

    def test_several_images_are_named_after_their_inputs(self, image: Path, model: Path) -> None:
        stack = image.with_name("stack.tif")
        tifffile.imwrite(stack, np.stack([builtin_section(90, seed=n).image for n in (0, 1)]))
        out = image.parent / "out"
        run("segment", image.parent / "s*.tif", "-o", out, "--model", model)
        assert sorted(path.name for path in out.iterdir()) == ["section-labels.tif", "stack-labels.tif"]
        assert tifffile.imread(out / "stack-labels.tif").shape == (2, 90, 90)
        again = image.parent / "again"
        run("segment", image.parent, "-o", again, "--model", model)  # the same as a folder
        assert sorted(path.name for path in again.iterdir()) == ["section-labels.tif", "stack-labels.tif"]

    def test_the_file_s_own_pixel_size_is_used(
        self, section: np.ndarray, tmp_path: Path, model: Path
    ) -> None:
        for size in (4.6, 9.2):
            tifffile.imwrite(
                tmp_path / f"{size}.tif",
                section,
                imagej=True,
                resolution=(1000 / size,) * 2,
                metadata={"unit": "um"},
            )
            run("segment", tmp_path / f"{size}.tif", "-o", tmp_path / f"{size}-labels.tif", "--model", model)
        run(
            "segment",
            tmp_path / "4.6.tif",
            "-o",
            tmp_path / "said.tif",
            "--model",
            model,
            "--pixel-size",
            9.2,
        )
        own, other, said = (
            tifffile.imread(tmp_path / n) for n in ("4.6-labels.tif", "9.2-labels.tif", "said.tif")
        )
        assert (own != other).any()
        assert (other == said).all()

    def test_nothing_existing_is_touched(self, image: Path, model: Path) -> None:
        out = image.with_name("labels.tif")
        out.write_text("mine")
        assert "--overwrite" in run("segment", image, "-o", out, "--model", model, code=1)
        assert out.read_text() == "mine"
        run("segment", image, "-o", out, "--model", model, "--overwrite")
        assert tifffile.imread(out).dtype == np.uint8

    def test_one_existing_output_stops_all_before_any_work(
        self, image: Path, model: Path, section: np.ndarray
    ) -> None:
        tifffile.imwrite(image.with_name("b.tif"), section)
        out = image.parent / "out"
        out.mkdir()
        (out / "b-labels.tif").write_text("mine")
        run("segment", image, image.with_name("b.tif"), "-o", out, "--model", model, code=1)
        assert [path.name for path in out.iterdir()] == ["b-labels.tif"]

    def test_what_is_done_is_kept_and_the_rest_is_made(
        self, image: Path, model: Path, section: np.ndarray
    ) -> None:
        out = image.parent / "out"
        run("segment", image, "-o", out, "--model", model)
        first = out / "section-labels.tif"
        made = first.stat().st_mtime_ns
        tifffile.imwrite(image.with_name("b.tif"), section)
        said = run("segment", image.parent, "-o", out, "--model", model)
        assert f"kept {first}" in said
        assert f"wrote {out / 'b-labels.tif'}" in said
        assert first.stat().st_mtime_ns == made
        run("segment", image.parent, "-o", out, "--model", model, "--flips", code=1)  # not what is there
        run("segment", image, "-o", out, "--model", model, "--overwrite")
        assert first.stat().st_mtime_ns > made

    def test_a_broken_file_among_good_ones_does_not_stop_them(self, image: Path, model: Path) -> None:
        broken = image.with_name("broken.tif")
        broken.write_bytes(image.read_bytes()[:200])
        out = image.parent / "out"
        text = run("segment", broken, image, "-o", out, "--model", model, code=1)
        assert "broken.tif" in text
        assert [path.name for path in out.iterdir()] == ["section-labels.tif"]

    def test_a_constant_image_is_an_error_and_a_blank_section_of_a_stack_is_not(
        self, model: Path, tmp_path: Path, section: np.ndarray
    ) -> None:
        tifffile.imwrite(tmp_path / "flat.tif", np.full((70, 70), 9, np.uint8))
        tifffile.imwrite(tmp_path / "stack.tif", np.stack([section, section * 0]))
        text = run("segment", tmp_path / "flat.tif", "-o", tmp_path / "out.tif", "--model", model, code=1)
        assert "flat.tif: The section has one grey value everywhere" in text
        assert not (tmp_path / "out.tif").exists()
        text = run("segment", tmp_path / "stack.tif", "-o", tmp_path / "out.tif", "--model", model)
        assert "Section 1: The section has one grey value everywhere" in text
        labels = tifffile.imread(tmp_path / "out.tif")
        assert labels[0].all()
        assert not labels[1].any()

    @pytest.mark.parametrize(
        "arguments",
        [
            ["a.tif"],
            ["a.tif", "-o", "x.tif", "--overlap", "1"],
            ["a.tif", "b.tif", "-o", "x.tif"],
            ["-o", "x.tif"],
        ],
    )
    def test_wrong_use(self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("a.tif", "b.tif", "x.tif"):
            (tmp_path / name).write_text("")
        run("segment", *arguments, code=2)

    def test_the_input_is_never_the_output(self, image: Path, model: Path) -> None:
        before = image.read_bytes()
        run("segment", image, "-o", image, "--model", model, "--overwrite", code=2)
        assert image.read_bytes() == before

    def test_what_is_not_there(self, image: Path, model: Path, tmp_path: Path) -> None:
        assert "nowhere.tif" in run(
            "segment", tmp_path / "nowhere.tif", "-o", tmp_path / "o.tif", "--model", model, code=1
        )
        assert "There is no model" in run(
            "segment", image, "-o", tmp_path / "o.tif", "--model", "none", code=1
        )
        assert "CUDA" in run(
            "segment", image, "-o", tmp_path / "o.tif", "--model", model, "--device", "cuda:99", code=1
        )

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_being_stopped_leaves_nothing_half_written(
        self, how: signal.Signals, tmp_path: Path, model: Path
    ) -> None:
        if signal.getsignal(how) is signal.SIG_IGN:  # and so for every process that is started here
            pytest.skip("this signal is ignored here, as under nohup")
        source, out = tmp_path / "stack.tif", tmp_path / "labels.tif"
        tifffile.imwrite(source, np.random.default_rng(0).integers(0, 255, (60, 500, 500)).astype(np.uint8))
        process = start("segment", source, "-o", out, "--model", model, "--device", "cpu")
        wait_for(tmp_path, beside=source)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Stopped" in errors
        assert "Traceback" not in errors
        assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]


def test_a_name_that_cannot_be_shown_ends_nothing(model: Path, tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.tif"), "caf\u03b1.tif", "plain.tif"]
    for name in names:
        tifffile.imwrite(tmp_path / name, builtin_section(64, seed=0).image)
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    code = "from napari_feedback_seg.cli import main; main()"
    arguments = ["segment", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(model)]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 3


class TestEvaluate:
    def test_a_table_and_json(self, model: Path, data_set: Path) -> None:
        text = run("evaluate", model, data_set, "--sections", "0-1")
        assert "small on sections 0, 1 of data" in text
        assert "first round" in text
        scores = json.loads(run("evaluate", model, data_set, "--sections", "0-1", "--json"))
        assert scores["sections"] == [0, 1]
        assert set(scores["iou"]) <= {each.name for each in EM_CLASSES}
        assert f"{scores['mean_iou']:.2%}" in text

    def test_scores_into_the_card(self, model: Path, data_set: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.safetensors"
        copy.write_bytes(model.read_bytes())
        run("evaluate", copy, data_set, "--to-card")  # the card's test sections
        assert read_card(copy).scores["test"]["sections"] == [1]
        (data_set.parent / "other").symlink_to(data_set)
        told = run("evaluate", copy, data_set.parent / "other", "--sections", "test", "--to-card", code=2)
        assert "names no test sections of other" in told

    def test_it_says_which_scores_flatter(self, data_set: Path, tmp_path: Path) -> None:
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL)
        path = tmp_path / "run" / "model.safetensors"
        told = run("evaluate", path, data_set, "--sections", "1-2")
        assert "was trained or chosen on sections 1, 2" in told
        image = imread(data_set / "images" / "0.png").astype(np.float32)
        image[0, 0] = np.nan
        (data_set / "images" / "0.png").unlink()
        tifffile.imwrite(data_set / "images" / "0.tif", image)
        assert "has changed since" in run("evaluate", path, data_set, "--sections", "validation", code=2)
        assert "Section 0: Pixels that are not a number" in run("evaluate", path, data_set, "--sections", "0")

    def test_the_bundled_models_keep_their_scores(self, data_set: Path) -> None:
        told = run("evaluate", "unet-w16", data_set, "--sections", "0", "--to-card", code=2)
        assert "--to-card goes with" in told
        with pytest.raises(ModelError, match="came with the package"):
            write_to_card(load_model("unet-w16"), "test", {})

    def test_sections_that_are_none(self, model: Path, data_set: Path) -> None:
        run("evaluate", model, data_set, "--sections", "x", code=2)
        assert "sections 0 to 2" in run("evaluate", model, data_set, "--sections", "3", code=2)


class TestTrain:
    def test_train_resume_and_use(self, data_set: Path, image: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        text = run("train", data_set, "-o", folder, "--name", "mine", "--pixel-size", 5, *SMALL)
        assert "epoch 2/2" in text
        path = folder / "mine.safetensors"
        card = read_card(path)
        assert card.pixel_size_nm == 5
        assert card.data[0].sections == {"train": [0, 1], "validation": [2], "test": []}
        assert card.recipe["epochs"] == 2
        assert card.scores["validation"]["sections"] == [2]
        assert card.seed == 0
        assert "holds a training already" in run(
            "train", data_set, "-o", folder, "--pixel-size", 5, *SMALL, code=1
        )
        weights = load_model_file(path).network.state_dict()
        path.unlink()
        run("train", data_set, "-o", folder, "--resume")  # finished: only the model is made again
        for name, value in load_model_file(path).network.state_dict().items():
            assert torch.equal(value, weights[name])
        run("segment", image, "-o", tmp_path / "labels.tif", "--model", path)

    def test_several_sets_of_open_labels(self, data_set: Path, tmp_path: Path) -> None:
        """One set has all classes, one only membranes and twice the pixel size."""
        other = tmp_path / "lines"
        for name, folder in (("images", "image"), ("labels", "label")):
            (other / folder).mkdir(parents=True)
            for number in range(3):
                array = imread(data_set / name / f"{number}.png")[::2, ::2]
                if folder == "label":
                    array = np.where(array == 1, 1, 10).astype(np.uint8)
                imsave(other / folder / f"{number}.png", array, check_contrast=False)
        codes = {"0": [], "1": ["membrane"], "10": ["mitochondria", "synapse", "cytoplasm"]}
        about = {"name": "lines", "pixel_size_nm": 10, "codes": codes, "licence": "CC0", "citation": "B"}
        (other / "dataset.json").write_text(json.dumps(about))
        folder = tmp_path / "run"
        options = ["--pixel-size", 5, "--weights", "2,1", "--staining", "strong", *SMALL]
        run("train", data_set, other, "-o", folder, *options)
        card = read_card(folder / "model.safetensors")
        assert [each.name for each in card.data] == ["data", "lines"]
        assert card.pixel_size_nm == 5
        assert card.recipe["weights"] == {"data": 2.0, "lines": 1.0}
        assert (card.data[1].licence, card.licence) == ("CC0", "CC0")
        assert list(card.scores["validation"]["sets"]["lines"]["iou"]) == ["membrane"]
        told = run("evaluate", folder / "model.safetensors", other, "--sections", "validation", "--json")
        scores = json.loads(told[told.index("{") :])
        assert list(scores["iou"]) == ["membrane"]
        run("train", data_set, other, "-o", folder, "--resume")
        assert "is on data; lines, not on data" in run("train", data_set, "-o", folder, "--resume", code=1)
        assert "as many weights" in run(
            "train",
            data_set,
            other,
            "-o",
            tmp_path / "x",
            "--pixel-size",
            5,
            "--weights",
            "1",
            *SMALL,
            code=1,
        )

    def test_a_training_begins_with_a_model(self, data_set: Path, tmp_path: Path) -> None:
        run("train", data_set, "-o", tmp_path / "one", "--pixel-size", 5, *SMALL)
        start = tmp_path / "one" / "model.safetensors"
        wide = ["--width", "8"]
        run("train", data_set, "-o", tmp_path / "two", "--pixel-size", 5, *SMALL, "--start", start)
        assert "do not fit this network" in run(
            "train",
            data_set,
            "-o",
            tmp_path / "x",
            "--pixel-size",
            5,
            *SMALL,
            *wide,
            "--start",
            start,
            code=1,
        )

    def test_what_began_with_a_model_has_its_network(self, data_set: Path, tmp_path: Path) -> None:
        how = ["--pixel-size", 5, "--patches", 8, "--epochs", 1, "--precision", "fp32", "--device", "cpu"]
        pooled = ["--query-pooling", 2, "--mean-of-rounds", *SMALL]
        run("train", data_set, "-o", tmp_path / "one", *how, *pooled)
        start = tmp_path / "one" / "model.safetensors"
        before = read_card(start)
        run("train", data_set, "-o", tmp_path / "two", *how, "--start", start)
        card = read_card(tmp_path / "two" / "model.safetensors")
        assert (card.spec, card.tile) == (before.spec, before.tile)
        other = ["--key-pooling", 4, "--tile", 32]
        run("train", data_set, "-o", tmp_path / "three", *how, *other, "--start", start)
        card = read_card(tmp_path / "three" / "model.safetensors")
        assert (card.spec, card.tile) == (replace(before.spec, key_pooling=4), 32)

    def test_what_began_with_a_model_says_so_and_keeps_its_licence(
        self, data_set: Path, tmp_path: Path
    ) -> None:
        run("train", data_set, "-o", tmp_path / "one", "--pixel-size", 5, *SMALL)
        start = tmp_path / "one" / "model.safetensors"
        lab = TrainingData("a lab", licence="on request", citation="Lab (2010)")
        card = replace(read_card(start), name="first", data=(lab,), citation="Lab (2010); Labels")
        replace_card(start, replace(card, licence="CC BY-NC-SA 3.0"))
        for name in ("image", "label"):
            (data_set / f"{name}s").rename(data_set / name)
        codes = {"0": [], **{str(each.value): [each.name] for each in card.classes}}
        about = {"name": "mine", "pixel_size_nm": 5, "codes": codes, "licence": "CC BY 4.0", "citation": "My"}
        (data_set / "dataset.json").write_text(json.dumps(about))
        folder = tmp_path / "two"
        run("train", data_set, "-o", folder, *SMALL, "--start", start)
        for _ in range(2):
            found = read_card(folder / "model.safetensors")
            assert found.parent == load_model(start).digest
            assert found.recipe["ancestors"] == [{"name": "first", "sha256": found.parent}]
            assert [each.name for each in found.data] == ["a lab", "mine"]
            assert found.data[0] == lab
            assert found.licence == "CC BY-NC-SA 3.0"
            assert {"Lab (2010)", "Labels", "My"} < set(found.citation.split("; "))
            told = run("models", "show", folder / "model.safetensors", "--methods")
            assert f"It went on from the model 'first', whose file has the SHA-256 {found.parent}." in told
            (folder / "model.safetensors").unlink()
            run("train", data_set, "-o", folder, "--resume")

    def test_ctrl_c_keeps_the_last_epoch(self, data_set: Path, tmp_path: Path) -> None:
        many = [*SMALL, "--epochs", "500"]
        process = start("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *many)
        wait_for(tmp_path / "run" / "last.pt")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "--resume" in errors
        assert "Traceback" not in errors
        assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["epoch"] >= 1
        hidden = [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
        assert hidden == [".training.lock"]  # nothing half written beside the lock, which stays

    def test_what_stopped_in_the_first_epoch_begins_again(self, data_set: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        run("train", data_set, "-o", folder, "--pixel-size", 5, "--half", *SMALL)
        whole = (folder / "model.safetensors").read_bytes()
        for name in ("last.pt", "log.csv", "model.safetensors"):  # best.pt is the first that is written
            (folder / name).unlink()
        run("train", data_set, "-o", folder, "--pixel-size", 5, "--half", *SMALL)
        again = folder / "model.safetensors"
        assert again.stat().st_size == len(whole)
        assert torch.float16 in {each.dtype for each in load_file(again).values()}  # --half counts still
        assert again.read_bytes()[-again.stat().st_size // 2 :] == whole[-again.stat().st_size // 2 :]

    def test_another_data_set_cannot_go_on(self, data_set: Path, tmp_path: Path) -> None:
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL)
        other = data_set.rename(tmp_path / "other")
        text = run("train", other, "-o", tmp_path / "run", "--resume", code=1)
        assert "is on data, not on other" in text
        changed = other.rename(data_set)
        imsave(changed / "images" / "0.png", builtin_section(128, seed=9).image, check_contrast=False)
        text = run("train", changed, "-o", tmp_path / "run", "--resume", code=1)
        assert "data has changed" in text

    def test_a_full_disk_is_said_and_nothing_half_written_is_left(
        self, data_set: Path, tmp_path: Path
    ) -> None:
        arguments = ["train", str(data_set), "-o", str(tmp_path / "run"), "--pixel-size", "5", *SMALL]
        code = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
            "from napari_feedback_seg.cli import main; main()"
        )
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "best.pt' was not written: the disk is full" in " ".join(done.stderr.split())
        assert {path.name for path in (tmp_path / "run").iterdir()} == {"job.json", ".training.lock"}

    @pytest.mark.parametrize("name", ["log.csv", "best.pt", "model.safetensors", "job.json"])
    def test_files_of_another_origin_are_kept(self, name: str, data_set: Path, tmp_path: Path) -> None:
        (tmp_path / name).write_text("mine")
        run("train", data_set, "-o", tmp_path, "--pixel-size", 5, *SMALL, code=1)
        assert (tmp_path / name).read_text() == "mine"
        assert {path.name for path in tmp_path.iterdir()} == {"data", name, ".training.lock"}

    def test_without_the_last_epoch_nothing_is_begun_anew(self, data_set: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        run("train", data_set, "-o", folder, "--pixel-size", 5, *SMALL)
        (folder / "last.pt").unlink()
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert "no last.pt to go on from" in run("train", data_set, "-o", folder, "--resume", code=1)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    def test_a_best_epoch_of_another_training_is_refused(self, data_set: Path, tmp_path: Path) -> None:
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL)
        path = tmp_path / "run" / "best.pt"
        best = torch.load(path, weights_only=True)
        best["progress"]["epoch"] = 7
        torch.save(best, path)
        assert "two trainings ran" in run("train", data_set, "-o", tmp_path / "run", "--resume", code=1)

    def test_one_at_a_time_in_a_folder(self, data_set: Path, tmp_path: Path) -> None:
        config = TrainConfig(NetworkSpec(width=4, depth=2), patches=8, batch=4, tile=64, precision="fp32")
        events = run_training([data_set], tmp_path / "run", TrainJob("model", 0, config, 5), device="cpu")
        next(events)
        told = run("train", data_set, "-o", tmp_path / "run", "--resume", code=1)
        events.close()
        assert "is being run by another process" in told

    def test_ctrl_c_before_the_first_epoch_promises_nothing(self, data_set: Path, tmp_path: Path) -> None:
        many = ["--pixel-size", 5, *SMALL, "--patches", 20000]
        process = start("train", data_set, "-o", tmp_path / "run", *many)
        wait_for(tmp_path / "run" / "job.json")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "No epoch was finished. Give the same command again." in errors
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL)

    def test_the_pixel_size_that_is_given_counts(self, data_set: Path, tmp_path: Path) -> None:
        for path in (data_set / "images").iterdir():
            image = imread(path)
            path.unlink()
            tifffile.imwrite(
                path.with_suffix(".tif"), image, resolution=(1e6, 1e6), resolutionunit="CENTIMETER"
            )  # 10 nm
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 8, *SMALL)
        assert read_card(tmp_path / "run" / "model.safetensors").pixel_size_nm == 8
        run("train", data_set, "-o", tmp_path / "other", *SMALL)
        assert read_card(tmp_path / "other" / "model.safetensors").pixel_size_nm == pytest.approx(10)

    @pytest.mark.parametrize(
        ("image", "sentence"),
        [
            (np.zeros((128, 128), bool), "Section 1 of data: The image holds only true and false"),
            (np.full((128, 128), 7, np.uint8), "Section 1 of data has one grey value only"),
            (np.full((128, 128), np.nan, np.float32), "Section 1 of data: The section holds no numbers"),
        ],
    )
    def test_a_section_without_anything_to_see(
        self, image: np.ndarray, sentence: str, data_set: Path, tmp_path: Path
    ) -> None:
        (data_set / "images" / "1.png").unlink()
        tifffile.imwrite(data_set / "images" / "1.tif", image)
        assert sentence in run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL, code=1)

    def test_a_fold_without_labels(self, data_set: Path, tmp_path: Path) -> None:
        imsave(data_set / "labels" / "2.png", np.zeros((128, 128), np.uint8), check_contrast=False)
        told = run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL, code=1)
        assert "Nothing is labelled in the validation sections of data (2)" in told

    def test_scores_of_other_sections_stay_when_a_finished_one_is_resumed(
        self, data_set: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "run" / "model.safetensors"
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL)
        run("evaluate", path, data_set, "--sections", "train", "--to-card")
        run("train", data_set, "-o", tmp_path / "run", "--resume")
        assert set(read_card(path).scores) == {"train", "validation"}

    @pytest.mark.parametrize("settings", [["--name", "a/b"], ["--name", " "], ["--pixel-size", -1]])
    def test_what_could_not_become_a_model_is_not_begun(
        self, settings: list[object], data_set: Path, tmp_path: Path
    ) -> None:
        run("train", data_set, "-o", tmp_path / "run", "--pixel-size", 5, *SMALL, *settings, code=1)
        assert not (tmp_path / "run" / "last.pt").exists()

    def test_what_cannot_be_trained(self, data_set: Path, tmp_path: Path) -> None:
        assert "--pixel-size" in run("train", data_set, "-o", tmp_path / "run", *SMALL, code=1)
        assert "multiple of" in run("train", data_set, "-o", tmp_path / "run", *SMALL, "--tile", 66, code=2)
        assert "network is one of unet, recurrent_unet" in run(
            "train", data_set, "-o", tmp_path / "run", *SMALL, "--network", "x", code=2
        )
        assert "holds no training" in run("train", data_set, "-o", tmp_path / "other", "--resume", code=1)
        assert "There is no folder" in run(
            "train", tmp_path / "none", "-o", tmp_path / "run2", *SMALL, code=1
        )


class TestModels:
    def test_list_and_show(self, small_model: Model, tmp_path: Path) -> None:
        text = run("models")
        assert f"{DEFAULT_MODEL} (default)" in text
        assert "CC BY-NC-SA 3.0" in text
        card = json.loads(run("models", "show", "default"))
        assert card["spec"]["kind"] == "feedback_attention"
        assert "There is no model" in run("models", "show", "none", code=1)
        card = replace(small_model.card, description="Müller, µm")
        path = save_model(replace(small_model, card=card), tmp_path / "named.safetensors")
        shown = run("models", "show", path)
        assert shown.isascii()  # whatever the encoding of the file that it is sent to
        assert json.loads(shown)["description"] == "Müller, µm"

    def test_import(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAPARI_FEEDBACK_SEG_MODELS", str(tmp_path / "models"))
        weights, card = tmp_path / "w.pt", tmp_path / "card.json"
        torch.save(load_model_file(model).network.state_dict(), weights)
        card.write_text(json.dumps(read_card(model).to_json()))
        run("models", "import", weights, "--card", card, "--name", "mine")
        imported = load_model("mine").network.state_dict()
        for name, value in load_model_file(model).network.state_dict().items():
            assert torch.equal(imported[name], value)
        assert "mine" in run("models")
        for encoding in ("utf-8-sig", "utf-16"):
            card.write_text(json.dumps(read_card(model).to_json()), encoding=encoding)
            run("models", "import", weights, "--card", card, "--name", encoding)
        card.write_text("{")
        assert "cannot be read as JSON" in run(
            "models", "import", weights, "--card", card, "--name", "m2", code=1
        )


def test_demo_on_the_built_in_sample(tmp_path: Path) -> None:
    text = run("demo", "-o", tmp_path / "demo", "--sample", "builtin", "--device", "cpu")
    for name in ("image.tif", "labels.tif", "labels-probabilities.tif", "overlay.png"):
        assert (tmp_path / "demo" / name).stat().st_size > 1000
        assert name in text
    assert "membrane" in text
    labels = tifffile.imread(tmp_path / "demo" / "labels.tif")
    assert f"{(labels == 1).mean():.1%}" in text
    before = (tmp_path / "demo" / "labels.tif").stat().st_mtime_ns
    run("demo", "-o", tmp_path / "demo", "--sample", "builtin", "--device", "cpu", code=1)
    assert (tmp_path / "demo" / "labels.tif").stat().st_mtime_ns == before


def test_help_is_quick_because_torch_is_not_imported() -> None:
    code = "import sys; from napari_feedback_seg import cli; assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


@pytest.mark.parametrize(
    "wrong", [["--pixel-size", "5nm"], ["--overlap", "2"], ["--new-class", "nucleus"], ["-o", "IMAGE"], []]
)
def test_what_segment_refuses_is_refused_before_torch_is_imported(
    wrong: list[str], image: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.tif").write_bytes(b"mine")
    given = ["segment", str(image), "-o", str(tmp_path / "labels.tif"), *wrong]
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
    code += "from napari_feedback_seg.cli import main; main()"
    command = [sys.executable, "-c", code, *(str(image) if each == "IMAGE" else each for each in given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2 if wrong else 1, "False\n")
    assert (tmp_path / "labels.tif").read_bytes() == b"mine"


@pytest.mark.parametrize(("name", "network"), [("self-w16", "self"), ("unet-w16", "unet")])
def test_the_defaults_are_the_recipe_of_the_bundled_models(
    name: str, network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands in docs/models.md give no more than name, network and what is the default."""
    jobs = []

    def catch(dataset: str, folder: Path, job: TrainJob, **_: object) -> None:
        jobs.append(job)
        raise InputError("caught before it begins")

    monkeypatch.setattr("napari_feedback_seg.evaluation.train.run_training", catch)
    run("train", "sstem", "-o", tmp_path, "--name", name, "--network", network, "--half", code=1)
    card = read_card(find_model(name))
    assert jobs[0].config.spec == card.spec
    asked = jobs[0].config.to_json()
    for key, value in card.recipe.items():
        if key not in ("best_epoch", "precision"):  # how it went, and what the processor had
            assert asked[key] == value, key
    assert (asked["tile"], asked["seed"]) == (card.tile, card.seed)


def test_python_and_the_command_line_have_the_same_defaults() -> None:
    settings = inspect.signature(train).parameters
    for name in ("epochs", "patches", "batch", "tile", "learning_rate", "rare", "dice", "seed", "precision"):
        assert settings[name].default == getattr(TrainConfig(), name), name
    assert settings["first_round_loss"].default == TrainConfig().first_round
    for name in (
        "width",
        "depth",
        "tap",
        "detach_first_round",
        "norm_per_round",
        "key_pooling",
        "query_channels",
    ):
        assert settings[name].default == getattr(TrainConfig().spec, name), name


def test_measure_prints_the_area_of_each_class(tmp_path: Path) -> None:
    section = np.full((40, 50), 4, np.uint8)
    section[:20] = 0
    section[20:30, :40] = 2
    section[30:, :5] = 5
    known, unknown, csv = tmp_path / "known.tif", tmp_path / "unknown.tif", tmp_path / "areas.csv"
    with label_writer(known, section.shape, pixel_size_nm=100) as write:
        write(section)
    tifffile.imwrite(unknown, section)

    text = run("measure", known)
    assert "class area µm² membrane 0.0% 0.00 mitochondria 40.0% 4.00" in text
    assert "label 5 5.0% 0.50" in text
    assert "mitochondria 40.0% 16.00" in run("measure", known, "--pixel-size", "200")
    text = run("measure", known, unknown, "--table", csv)
    assert "mitochondria 40.0% 400" in text
    assert "--pixel-size" in text
    lines = csv.read_text("utf-8").splitlines()
    assert lines[0].startswith("file,section,class,pixels,area_percent,area_um2,profiles")
    assert lines[2] == f"{known},all,mitochondria,400,40,4,1,400,4,1"
    assert len(lines) == 1 + 2 * 5
    assert "already" in run("measure", known, "--table", csv, code=1)
    tifffile.imwrite(unknown, np.arange(2000, dtype=np.uint16).reshape(40, 50))
    assert "no labels of classes: there are 2000 values" in run("measure", unknown, code=1)


def test_demo_without_a_network_takes_the_built_in_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sstem, "_SOURCE", "http://127.0.0.1:9/")
    monkeypatch.setenv(sstem.CACHE_VARIABLE, str(tmp_path / "cache"))
    text = run("demo", "-o", tmp_path / "demo", "--sample", "sstem", "--device", "cpu", code=1)
    assert "cannot be downloaded" in text
    assert not (tmp_path / "demo" / "image.tif").exists()
    text = run("demo", "-o", tmp_path / "demo", "--device", "cpu")
    assert "The built-in sample is taken instead" in text
    labels = tifffile.imread(tmp_path / "demo" / "labels.tif")
    assert f"{(labels == 1).sum() * 0.0046**2:.2f}" in text


class TestFinetune:
    def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = builtin_section(160, seed=3)
        labels = np.zeros_like(made.labels)
        for row in range(10, 150, 40):
            labels[row : row + 8, 10:150] = made.labels[row : row + 8, 10:150]
        imsave(tmp_path / "image.png", 255 - made.image, check_contrast=False)
        imsave(tmp_path / "corrections.png", labels, check_contrast=False)
        files = (model, tmp_path / "image.png", tmp_path / "corrections.png")
        options = ("--keep", "always", "--steps", 12, "--device", "cpu")
        arguments = ("finetune", *files, "-o", tmp_path / "new.safetensors", *options)
        process = start(*arguments)
        kept = tmp_path / ".new.finetune.pt"
        wait_for(kept)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "the same command goes on from there" in " ".join(errors.split())
        assert not (tmp_path / "new.safetensors").exists()
        begun: list[int] = []
        load = Optimisation.load_state_dict
        monkeypatch.setattr(
            Optimisation,
            "load_state_dict",
            lambda self, state: (begun.append(state["done"]), load(self, state)),
        )
        run(*arguments)
        assert begun
        assert min(begun) > 0
        assert (tmp_path / "new.safetensors").exists()
        assert not kept.exists()
