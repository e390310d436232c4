from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.errors import InputError, TrainingError
from napari_feedback_seg.evaluation.evaluate import score
from napari_feedback_seg.evaluation.reproduce import (
    RECIPES,
    Run,
    check_data,
    perform,
    plan,
    read_results,
    result_path,
)
from napari_feedback_seg.evaluation.train import TrainJob, run_training
from napari_feedback_seg.io.claim import ClaimedError, claim
from napari_feedback_seg.models.model_file import load_model_file
from napari_feedback_seg.networks import NetworkSpec
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.training.config import TrainConfig
from napari_feedback_seg.training.events import EpochDone

if TYPE_CHECKING:
    from pathlib import Path

RUN = Run("self", "ours", 4, 8, epochs=2, fold=0, seed=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    made = [builtin_section(128, seed=seed) for seed in range(4)]
    images, labels = zip(*((each.image, each.labels) for each in made), strict=True)
    return Dataset("small", images, labels, pixel_size_nm=4.6, test=(3,))


def returned(events: Any) -> Any:
    """Run a generator to its end; return what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def make_recipes_small(patch: pytest.MonkeyPatch) -> None:
    spec = NetworkSpec(depth=2, query_channels=2, norm_per_round=True)
    small = TrainConfig(spec, patches=4, batch=2, tile=64, precision="fp32")
    patch.setitem(RECIPES, "ours", small)
    patch.setitem(RECIPES, "paper", replace(small, crops="grid", optimiser="adam"))


@pytest.fixture(autouse=True)
def _small_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    make_recipes_small(monkeypatch)


@pytest.fixture(scope="module")
def done(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with one finished run."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        make_recipes_small(patch)
        list(perform(RUN, data, folder, "cpu"))
    return folder


class TestPlan:
    def test_names(self) -> None:
        networks = ["unet", "self", "add", "source_target_one_conv"]
        runs = plan(networks, "ours", [0], [1], width=8, key_pooling=4, epochs=30)
        assert [run.name for run in runs] == [
            "unet-w8-ours-e30-f0-s1",
            "self-w8-kp4-ours-e30-f0-s1",
            "add-w8-ours-e30-f0-s1",
            "source_target_one_conv-w8-kp4-ours-e30-f0-s1",
        ]

    def test_all_networks_of_a_fold_and_seed_come_first(self) -> None:
        runs = plan(["unet", "self"], "paper", [0, 1], [0, 1])
        assert [(run.fold, run.seed, run.network) for run in runs[:5]] == [
            (0, 0, "unet"),
            (0, 0, "self"),
            (0, 1, "unet"),
            (0, 1, "self"),
            (1, 0, "unet"),
        ]

    @pytest.mark.usefixtures("_real_recipes")
    def test_ours_is_the_recipe_of_the_bundled_models(self) -> None:
        (run,) = plan(["self"], "ours", [0], [0])
        assert run.config == TrainConfig()
        assert run.name == "self-w16-kp16-ours-e80-f0-s0"

    @pytest.mark.usefixtures("_real_recipes")
    def test_the_paper_s_recipe(self) -> None:
        unet, itself = plan(["unet", "self"], "paper", [0], [2])
        assert unet.name == "unet-w64-paper-e300-f0-s2"
        assert itself.name == "self-w64-kp1-paper-e300-f0-s2"
        config = itself.config
        assert config.spec == NetworkSpec()  # the paper's, as SPEC reads it
        assert (config.patches, config.batch, config.epochs, config.learning_rate) == (192, 8, 300, 1e-3)
        assert (config.crops, config.optimiser, config.weight_decay) == ("grid", "adam", 0)
        assert (config.dice, config.first_round, config.ema, config.class_weights) == (0, 0, 0, ())
        assert replace(unet.config, spec=config.spec) == config

    @pytest.fixture
    def _real_recipes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()

    def test_no_such_recipe(self) -> None:
        with pytest.raises(ValueError, match="paper or ours, not 'theirs'"):
            plan(["unet"], "theirs", [0], [0])


def lock(folder: Path) -> Path:
    return folder / f".{RUN.name}.lock"


class TestPerform:
    def test_a_finished_run_is_a_small_json(self, data: Dataset, done: Path) -> None:
        path = result_path(done, RUN)
        assert path.stat().st_size < 20_000
        record = json.loads(path.read_text())
        assert {name: record[name] for name in vars(RUN)} == vars(RUN)
        assert record["validation"]["sections"] == [2]
        assert record["test"]["sections"] == [3]
        assert record["settings"]["best_epoch"] in (1, 2)
        assert record["seconds"] > 0
        assert record["digest"] == data.digest()
        assert {"spec", "machine", "version"} <= set(record)
        with claim(lock(done)):
            pass

    def test_its_scores_are_those_of_crops_side_by_side_and_as_a_user_would_segment(
        self, data: Dataset, done: Path
    ) -> None:
        model = load_model_file(done / RUN.name / f"{RUN.name}.safetensors")
        record = read_results(done)[0].record
        blended = SegmentOptions(first_round=True, remove_specks=False)
        side_by_side = replace(blended, overlap=0)
        for part, sections in (("validation", [2]), ("test", [3])):
            for name, options in ((part, side_by_side), (f"{part}_blended", blended)):
                expected = returned(score(model, data, sections, options))
                assert record[name] == json.loads(json.dumps(expected))
                assert {"iou", "dice", "cells", "first_round"} <= set(record[name])

    def test_what_is_there_is_not_repeated(self, data: Dataset, done: Path) -> None:
        def written() -> dict[Path, int]:  # a lock counts as written whenever it is held
            files = [path for path in done.rglob("*") if path.is_file() and path.suffix != ".lock"]
            return {path: path.stat().st_mtime_ns for path in files}

        before = written()
        assert before
        assert list(perform(RUN, data, done, "cpu")) == []
        assert written() == before

    def test_an_interrupted_run_goes_on(self, data: Dataset, done: Path, tmp_path: Path) -> None:
        events = perform(RUN, data, tmp_path, "cpu")
        while not isinstance(next(events), EpochDone):
            with pytest.raises(ClaimedError), claim(lock(tmp_path)):
                pass
        events.close()
        assert not list(tmp_path.glob("*.json"))
        epochs = [each.epoch for each in perform(RUN, data, tmp_path, "cpu") if isinstance(each, EpochDone)]
        assert epochs == [2]
        expected, found = (read_results(folder)[0].record for folder in (done, tmp_path))
        for part in ("validation", "test"):
            assert found[part] == expected[part]

    def test_a_training_made_by_train_counts(self, data: Dataset, done: Path, tmp_path: Path) -> None:
        job = TrainJob("other", RUN.fold, replace(RUN.config, precision="auto"), half=True)
        list(run_training([data], tmp_path / RUN.name, job, device="cpu"))
        assert not any(isinstance(each, EpochDone) for each in perform(RUN, data, tmp_path, "cpu"))
        assert read_results(tmp_path)[0].record["settings"]["epochs"] == 2
        weights = load_file(tmp_path / RUN.name / "other.safetensors")
        assert {each.dtype for each in weights.values() if each.is_floating_point()} == {torch.float32}

    def test_a_precision_that_is_asked_for_is_that_of_the_run(
        self, data: Dataset, done: Path, tmp_path: Path
    ) -> None:
        asked = replace(RUN, precision="bf16")
        assert asked.name == f"{RUN.name}-bf16"
        shutil.copytree(done / RUN.name, tmp_path / asked.name)
        with pytest.raises(TrainingError, match="has another precision"):
            list(perform(asked, data, tmp_path, "cpu"))
        shutil.rmtree(tmp_path / asked.name)
        list(perform(asked, data, tmp_path, "cpu"))
        (found,) = read_results(tmp_path)
        assert found.run == asked
        assert found.record["settings"]["precision"] == "bf16"

    @pytest.mark.parametrize(
        ("change", "told"), [({"learning_rate": 0.1}, "learning_rate"), ({"seed": 5}, "seed"), ({}, "fold")]
    )
    def test_another_training_does_not(
        self, change: dict[str, Any], told: str, data: Dataset, done: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(done / RUN.name, tmp_path / RUN.name)
        job = TrainJob("other", RUN.fold if change else 3, replace(RUN.config, **change))
        (folder / "job.json").write_text(json.dumps(job.to_json()))
        with pytest.raises(TrainingError, match=f"has another {told}; move it away"):
            list(perform(RUN, data, tmp_path, "cpu"))
        assert not list(tmp_path.glob("*.json"))

    def test_what_another_machine_is_at_is_left_to_it(self, data: Dataset, tmp_path: Path) -> None:
        with (
            claim(lock(tmp_path)),
            pytest.raises(ClaimedError, match=f"{RUN.name} is being run"),
        ):
            list(perform(RUN, data, tmp_path, "cpu"))
        assert list(tmp_path.iterdir()) == [lock(tmp_path)]

    def test_runs_on_other_data_are_not_mixed(self, data: Dataset, done: Path) -> None:
        other = replace(data, name="other", images=data.images[::-1])
        with pytest.raises(InputError, match="other data than other"):
            list(perform(replace(RUN, seed=2), other, done, "cpu"))

    def test_the_paper_s_recipe_without_test_sections(self, data: Dataset, tmp_path: Path) -> None:
        run = Run("unet", "paper", 4, None, epochs=1, fold=1, seed=0)
        list(perform(run, replace(data, test=()), tmp_path, "cpu"))
        (result,) = read_results(tmp_path)
        assert result.run == run
        assert result.record["test"] is None
        assert result.record["validation"]["sections"] == [2]
        assert result.record["settings"]["crops"] == "grid"

    def test_nor_with_other_sections_to_test_on(self, data: Dataset, done: Path) -> None:
        with pytest.raises(InputError, match="other data than small"):
            check_data(done, replace(data, test=(2,)))


class TestResults:
    @pytest.mark.parametrize(
        ("change", "told"),
        [({"settings": {"learning_rate": 0.5}}, "learning_rate"), ({"spec": {"depth": 3}}, "network")],
    )
    def test_one_that_was_trained_otherwise(
        self, change: dict[str, dict[str, Any]], told: str, done: Path, tmp_path: Path
    ) -> None:
        record = json.loads(result_path(done, RUN).read_text())
        for name, values in change.items():
            record[name].update(values)
        result_path(tmp_path, RUN).write_text(json.dumps(record))
        with pytest.raises(InputError, match=f"trained with another {told}; move it away"):
            read_results(tmp_path)

    def test_none(self, tmp_path: Path) -> None:
        assert read_results(tmp_path) == []
        assert read_results(tmp_path / "nowhere") == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"network": "unet"}'])
    def test_another_json(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "some.json").write_text(text)
        with pytest.raises(InputError, match=r"some\.json is no result of a run"):
            read_results(tmp_path)

    def test_a_renamed_one(self, done: Path, tmp_path: Path) -> None:
        shutil.copy(result_path(done, RUN), tmp_path / "unet-w16-ours-e80-f0-s0.json")
        with pytest.raises(InputError, match=f"holds the run {RUN.name}"):
            read_results(tmp_path)

    def test_runs_on_different_data(self, done: Path, tmp_path: Path) -> None:
        record = json.loads(result_path(done, RUN).read_text())
        for seed, digest in enumerate("ab"):
            run = replace(RUN, seed=seed)
            text = json.dumps({**record, "seed": seed, "digest": digest})
            result_path(tmp_path, run).write_text(text)
        with pytest.raises(InputError, match=r"different data \(small\)"):
            read_results(tmp_path)
