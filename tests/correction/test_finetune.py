from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.correction import corrections as held_out_of
from napari_feedback_seg.correction import finetune as module
from napari_feedback_seg.correction import learner, start
from napari_feedback_seg.correction.classes import add_classes, new_classes
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import CorrectedSection, corrected_sections
from napari_feedback_seg.correction.events import FinetuneCheck, FinetuneResult, FinetuneStep
from napari_feedback_seg.correction.finetune import FineTuning, finetune
from napari_feedback_seg.correction.held_out import HeldOutEvaluation, compare_unpainted
from napari_feedback_seg.correction.optimisation import Optimisation, mixed
from napari_feedback_seg.correction.patches import PatchSource, TrainingPatches
from napari_feedback_seg.correction.start import inverted
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, ModelError, TrainingError
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.segmentation.inference import Inference
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

CONFIG = FinetuneConfig(steps=4, batch=1, patch=64, checks=2, precision="fp32")
SAMPLE = builtin_section(160, seed=3)
INVERTED = 255 - SAMPLE.image


def sparse(step: int = 40) -> np.ndarray:
    """Return a few squares of the sample's labels."""
    wanted = np.zeros(SAMPLE.labels.shape, bool)
    for row in range(10, 150, step):
        for column in range(10, 150, step):
            wanted[row : row + 8, column : column + 8] = True
    return np.where(wanted, SAMPLE.labels, 0)


@pytest.fixture(scope="module")
def parent() -> Model:
    return load_model("unet-w16")


def sections(labels: np.ndarray | None = None, image: np.ndarray = INVERTED) -> list[CorrectedSection]:
    return corrected_sections(image, sparse() if labels is None else labels, EM_CLASSES)


def run(tuning: FineTuning) -> tuple[list[Any], FinetuneResult]:
    events, seen = tuning.run(), []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as stop:
            return seen, stop.value


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in model.network.state_dict().items()}


class TestRun:
    def test_it_gets_better_and_leaves_parent_and_statistics_alone(self, parent: Model) -> None:
        before = weights(parent)
        events, result = run(FineTuning(parent, sections(), CONFIG, device="cpu"))
        assert result.recommendation == "keep", result.sentence
        right = [(segment(INVERTED, m).labels == SAMPLE.labels).mean() for m in (parent, result.tuned)]
        assert right[0] < 0.6 < 0.85 < right[1]
        for name, each in before.items():
            torch.testing.assert_close(parent.network.state_dict()[name], each, rtol=0, atol=0)
            if "running" in name or "num_batches" in name:
                torch.testing.assert_close(result.tuned.network.state_dict()[name], each, rtol=0, atol=0)
        steps = [event for event in events if isinstance(event, FinetuneStep) and event.loss is not None]
        assert [event.done for event in steps] == list(range(1, 7))
        assert all(event.total == 6 for event in events[1:])
        checks = [event for event in events if isinstance(event, FinetuneCheck)]
        assert [event.done for event in checks] == [2, 4]
        assert checks[0].best
        assert "held-out" in result.sentence
        assert set(result.before.iou) == set(result.after.iou) <= {each.name for each in EM_CLASSES}
        assert len(result.changes) == len(result.after.iou)

    @pytest.mark.slow
    def test_it_learns_to_see_blurred_sections(self, parent: Model) -> None:
        made = builtin_section(512, seed=5)
        blurred = gaussian_filter(made.image.astype(np.float32), 3)
        said = segment(blurred, parent).labels
        labels = made.labels.copy()
        labels[256:] = 0
        result = finetune(parent, blurred, labels, FinetuneConfig(hold_out=0), device="cpu")
        assert result.recommendation == "keep", result.sentence
        after = segment(blurred, result.tuned).labels
        assert result.tuned.card.recipe["start"] == ["statistics of the image"]
        right = [(each[256:] == made.labels[256:]).mean() for each in (said, after)]
        assert right[1] > right[0] + 0.04, right

    def test_dense_labels_work_the_same_way(self, parent: Model) -> None:
        dense = builtin_section(300, seed=2)
        result = finetune(parent, 255 - dense.image, dense.labels, CONFIG, device="cpu")
        assert result.recommendation == "keep", result.sentence

    def test_unlabelled_pixels_do_not_teach(self, small_model: Model) -> None:
        source = PatchSource(sections(), small_model.card, CONFIG)
        held = sorted(source.regions)[:3]
        patches = TrainingPatches(source, set(source.regions) - set(held), [], CONFIG, 0)
        share = np.mean([float((patches.batch(step)[1] >= 0).float().mean()) for step in range(10)])
        assert 0.01 < share < 0.2
        only = TrainingPatches(source, held[:1], [], CONFIG, 0)
        channels = {int(c) for step in range(10) for c in only.batch(step)[1].unique()} - {-1}
        assert channels <= {value - 1 for value in source.regions[held[0]]}

    def test_held_out_regions_are_in_no_patch(self, small_model: Model) -> None:
        labels = np.zeros_like(SAMPLE.labels)
        labels[10:18, 10:18], labels[10:18, 60:68] = 1, 3
        source = PatchSource(sections(labels), small_model.card, CONFIG)
        held = next(key for key in source.regions if 3 in source.regions[key])
        patches = TrainingPatches(source, set(source.regions) - {held}, [], replace(CONFIG, patch=64), 0)
        assert {int(c) for step in range(10) for c in patches.batch(step)[1].unique()} == {-1, 0}

    def test_patches_are_the_same_for_the_same_step(self, small_model: Model) -> None:
        source = PatchSource(sections(), small_model.card, CONFIG)
        patches = TrainingPatches(source, source.regions, source.places, CONFIG, 1)
        for one, other in zip(patches.batch(4), patches.batch(4), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert not torch.equal(patches.batch(4)[0], patches.batch(5)[0])

    def test_what_was_corrected_is_not_rehearsed(self, small_model: Model) -> None:
        from napari_feedback_seg.segmentation.inference import Inference

        source = PatchSource(sections(), small_model.card, replace(CONFIG, confidence=0.01))
        source.choose_rehearsal(Inference(small_model, torch.device("cpu"), 1, False, None))
        kept = source.rehearsal(0, -20, -20, 200).sum(axis=0)
        near = np.pad(sparse() > 0, 20)
        assert not kept[near].any()
        assert not kept[:20].any()  # beyond the section
        assert kept[20:180, 20:180].mean() > 0.3

    @pytest.mark.parametrize("labels", ["one class", "corner", "two places"])
    def test_little_is_judged_with_reserve(self, small_model: Model, labels: str) -> None:
        painted = np.zeros_like(SAMPLE.labels)
        if labels == "one class":
            painted = np.where(sparse() == 1, 1, 0).astype(np.uint8)
        elif labels == "corner":
            painted[:12, :12] = 2
        else:
            painted[10:20, 10:20], painted[100:110, 100:110] = 1, 2
        events, result = run(FineTuning(small_model, sections(painted), CONFIG, device="cpu"))
        words = {
            "one class": "of the held-out",
            "corner": "all of which it has learnt from",
            "two places": "(2 places)",
        }
        assert words[labels] in result.sentence
        if labels == "two places":
            assert {e.what for e in events if isinstance(e, FinetuneStep)} >= {"fold 1 of 2", "fold 2 of 2"}

    def test_a_section_of_another_pixel_size_is_learnt_at_that_of_the_model(self, small_model: Model) -> None:
        fine = np.kron(SAMPLE.image, np.ones((2, 2), np.uint8))
        labels = np.kron(sparse(), np.ones((2, 2), np.uint8))
        (section,) = corrected_sections(fine, labels, EM_CLASSES, pixel_size_nm=2.3)
        source = PatchSource([section], small_model.card, CONFIG)
        section = source.rescaled[0]
        assert section.shape == SAMPLE.labels.shape
        np.testing.assert_array_equal(section.labels(0, 0, 160)[0], sparse())
        region = next(iter(source.regions.values()))
        assert all(sparse()[tuple(places.T)].min() > 0 for places in region.values())


class TestRecommendation:
    def test_the_tuned_model_is_there_whatever_is_recommended(self, small_model: Model) -> None:
        random = np.random.default_rng(0)
        noise = np.where(sparse(25) > 0, random.integers(1, 5, SAMPLE.labels.shape), 0).astype(np.uint8)
        result = finetune(small_model, SAMPLE.image, noise, replace(CONFIG, rehearsal=0), device="cpu")
        assert result.recommendation == "go back"
        assert result.sentence.startswith("Go back: ")
        assert result.parent is small_model
        assert result.recommended is small_model
        before, after = weights(small_model), weights(result.tuned)
        assert any(not torch.equal(before[name], after[name]) for name in before)
        scores = result.tuned.card.scores["held_out_corrections"]
        assert scores["recommendation"] == "go back"
        assert scores["after"]["right"] == result.after.right_share

    def test_a_loss_that_is_not_finite_is_an_error(self, small_model: Model) -> None:
        config = replace(CONFIG, learning_rate=1e30)
        with pytest.raises(TrainingError, match="Try a lower learning rate"):
            run(FineTuning(small_model, sections(), config, device="cpu"))

    def test_models_are_compared_on_unpainted_pixels(self, small_model: Model) -> None:
        def biased(to: int) -> Model:
            network = copy.deepcopy(small_model.network)
            for name, each in network.named_parameters():
                if name.endswith("classifier.bias"):
                    each.data[to] += 1000
            return replace(small_model, network=network)

        source, cpu = PatchSource(sections(), small_model.card, CONFIG), torch.device("cpu")
        changed, doubt = compare_unpainted(source, small_model, small_model, cpu, 0)
        assert changed == 0
        assert 0.3 < doubt < 0.75  # it knows nothing
        assert compare_unpainted(source, biased(0), biased(1), cpu, 0) == (1, pytest.approx(0, abs=1e-3))
        everywhere = PatchSource(sections(SAMPLE.labels), small_model.card, CONFIG)
        assert compare_unpainted(everywhere, biased(0), biased(1), cpu, 0) == (0, 0)


class TestMemory:
    """The CPU by its number stands for a GPU."""

    @pytest.fixture
    def too_little(self, monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
        """Return where memory does not suffice after two steps."""
        step, places = Optimisation.step, []

        def limited(optimisation: Optimisation) -> float:
            if optimisation.device in places and optimisation.done == 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return step(optimisation)

        monkeypatch.setattr(Optimisation, "step", limited)
        return places

    def test_it_goes_on_on_the_cpu_and_says_so(
        self, small_model: Model, too_little: list[torch.device]
    ) -> None:
        _, expected = run(FineTuning(small_model, sections(), CONFIG, device="cpu"))
        too_little.append(torch.device("cpu:0"))
        _, found = run(FineTuning(small_model, sections(), CONFIG, device="cpu:0"))
        assert found.sentence == expected.sentence
        assert any("did not suffice: it went on on the CPU" in each for each in found.problems)
        for name, each in weights(expected.tuned).items():
            torch.testing.assert_close(found.tuned.network.state_dict()[name], each)

    def test_nowhere_to_go(self, small_model: Model, too_little: list[torch.device]) -> None:
        too_little.append(torch.device("cpu"))
        with pytest.raises(TrainingError, match="memory of this computer does not suffice"):
            run(FineTuning(small_model, sections(), CONFIG, device="cpu"))


class TestStopping:
    def test_a_resumed_one_ends_as_an_uninterrupted_one(self, small_model: Model, tmp_path: Path) -> None:
        _, whole = run(FineTuning(small_model, sections(), CONFIG, device="cpu"))
        path = tmp_path / "state" / "tuning.pt"
        events = FineTuning(small_model, sections(), CONFIG, device="cpu", checkpoint=path).run()
        for event in events:
            if isinstance(event, FinetuneCheck):
                break
        events.close()
        assert path.exists()
        seen, resumed = run(FineTuning(small_model, sections(), CONFIG, device="cpu", checkpoint=path))
        losses = [event for event in seen if isinstance(event, FinetuneStep) and event.loss is not None]
        assert losses[0].done == 3
        assert path.exists()  # until the model is in a file
        for name, each in weights(whole.tuned).items():
            torch.testing.assert_close(resumed.tuned.network.state_dict()[name], each)
        assert resumed.sentence == whole.sentence
        again, done = run(FineTuning(small_model, sections(), CONFIG, device="cpu", checkpoint=path))
        assert not [each for each in again if isinstance(each, FinetuneStep) and each.loss is not None]
        assert done.sentence == whole.sentence

    def test_the_state_of_another_or_a_damaged_one_is_not_taken(
        self, small_model: Model, tmp_path: Path
    ) -> None:
        path = tmp_path / "tuning.pt"
        events = FineTuning(small_model, sections(), CONFIG, device="cpu", checkpoint=path).run()
        for event in events:
            if isinstance(event, FinetuneCheck):
                break
        events.close()
        other = replace(CONFIG, seed=1)
        seen, _ = run(FineTuning(small_model, sections(), other, device="cpu", checkpoint=path))
        assert seen[1].done == 1
        path.write_bytes(b"damaged")
        seen, _ = run(FineTuning(small_model, sections(), other, device="cpu", checkpoint=path))
        assert seen[1].done == 1

    def test_the_best_so_far_can_be_had_after_closing(self, parent: Model) -> None:
        tuning = FineTuning(parent, sections(), CONFIG, device="cpu")
        events = tuning.run()
        next(events)
        assert tuning.best_so_far() is None
        for event in events:
            if isinstance(event, FinetuneCheck):
                break
        events.close()
        found = tuning.best_so_far()
        assert found is not None
        assert found.recommendation == "keep", found.sentence
        assert found.tuned is not parent


class TestRehearsal:
    def test_what_the_model_was_sure_of_counts_as_much_as_asked_for(self, small_model: Model) -> None:
        source = PatchSource(sections(), small_model.card, CONFIG)
        patches = TrainingPatches(source, set(source.regions), [], CONFIG, 0)
        said = torch.randn(1, 4, 32, 32)
        corrected = torch.full((1, 32, 32), -1)
        corrected[0, :4, :4] = 1
        kept = said.softmax(dim=1)
        kept[:, :, :8] = 0  # of these pixels nothing is to be kept

        def loss(weight: float, logits: torch.Tensor, taught: torch.Tensor) -> float:
            settings = {"steps": 1, "rate": 0.1, "first_round": 0.0, "device": torch.device("cpu")}
            optimisation = Optimisation(small_model.network, patches, CONFIG, rehearsal=weight, **settings)
            return float(optimisation.total((logits,), taught, kept))

        turned = said.clone()
        turned[:, :, 8:] = said[:, :, 8:].flip(1)  # another answer, but not where it is corrected
        nothing = torch.full_like(corrected, -1)
        assert loss(0.0, turned, corrected) == pytest.approx(loss(0.0, said, corrected))
        assert loss(9.0, turned, corrected) > loss(9.0, said, corrected)
        learnt, remembered = loss(0.0, turned, corrected), loss(9.0, turned, nothing)
        assert loss(9.0, turned, corrected) == pytest.approx((learnt + 9 * remembered) / 10, rel=1e-4)


class TestStatistics:
    def test_those_of_the_image_replace_the_models_and_nothing_else(self, small_model: Model) -> None:
        source = PatchSource(sections(), small_model.card, CONFIG)
        before = weights(small_model)
        other = start.with_image_statistics(small_model, source, torch.device("cpu"), seed=0)
        assert other is not None
        assert not other.network.training
        for name, each in other.network.state_dict().items():
            same = torch.equal(each, before[name])
            assert same != ("running" in name or "num_batches" in name), name
            assert torch.equal(small_model.network.state_dict()[name], before[name])
        assert (
            start.statistics_shift(small_model, other) > 0 == start.statistics_shift(small_model, small_model)
        )

    def test_they_are_taken_only_if_they_are_others(
        self, small_model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = PatchSource(sections(), small_model.card, CONFIG)
        monkeypatch.setattr(start, "_CLEARLY", 0.0)  # the inverted image is another matter
        monkeypatch.setattr(start, "MOVED", np.inf)
        assert start.choose_start(small_model, source, torch.device("cpu"), 0).model is small_model
        monkeypatch.setattr(start, "MOVED", 0.0)
        found = start.choose_start(small_model, source, torch.device("cpu"), 0)
        assert found.differs == ("statistics of the image",)
        assert found.model is not small_model


class TestBadInput:
    @pytest.mark.parametrize("fill", [np.nan, 7.0])
    def test_a_section_without_contents_is_named(self, small_model: Model, fill: float) -> None:
        image = np.full((3, 160, 160), fill, np.float32)
        image[0] = SAMPLE.image
        labels = np.zeros(image.shape, np.uint8)
        labels[2] = sparse()
        with pytest.raises(InputError, match="Section 2 has corrections"):
            finetune(small_model, image, labels, CONFIG, device="cpu")

    def test_pixels_that_are_no_numbers_are_borne(self, small_model: Model) -> None:
        image = SAMPLE.image.astype(np.float32)
        image[50:60, 50:60] = np.nan
        result = finetune(small_model, image, sparse(), CONFIG, device="cpu")
        assert all(bool(each.isfinite().all()) for each in result.tuned.network.state_dict().values())

    def test_nothing_to_learn_from(self, small_model: Model) -> None:
        with pytest.raises(TrainingError, match="Nothing is corrected"):
            finetune(small_model, SAMPLE.image, np.zeros_like(SAMPLE.labels))

    @pytest.mark.parametrize(
        "setting",
        [
            {"steps": 0},
            {"learning_rate": 0},
            {"rehearsal": -1},
            {"share": 0},
            {"hold_out": 1},
            {"precision": "x"},
        ],
    )
    def test_settings_that_make_no_sense(self, setting: dict[str, Any]) -> None:
        with pytest.raises(TrainingError):
            FinetuneConfig(**setting)


class TestClasses:
    @pytest.mark.parametrize("kind", ["unet", "feedback_attention"])
    def test_old_rows_stay_and_new_ones_are_seen_nowhere(self, small_model: Model, kind: Any) -> None:
        spec = NetworkSpec(kind, width=4, depth=2, key_pooling=4)
        parent = replace(
            small_model, card=replace(small_model.card, spec=spec), network=build_network(spec).eval()
        )
        grown = add_classes(parent, new_classes(["nucleus=#56b4e9", "vesicles=#009e73"], parent.card))
        assert [each.value for each in grown.card.classes] == [1, 2, 3, 4, 5, 6]
        image = torch.randn(1, 1, 64, 64)
        with torch.no_grad():
            old, new = parent.network(image)[-1], grown.network(image)[-1]
        torch.testing.assert_close(new[:, :4], old)
        assert int(new.argmax(dim=1).max()) < 4

    @pytest.mark.parametrize("text", ["nucleus", "nucleus=blue", "=#56b4e9", "membrane=#56b4e9"])
    def test_texts_that_name_no_new_class(self, small_model: Model, text: str) -> None:
        with pytest.raises(ModelError):
            new_classes([text], small_model.card)

    def test_a_class_that_is_there_is_refused(self, small_model: Model) -> None:
        with pytest.raises(ModelError, match="value 2"):
            add_classes(small_model, [LabelClass(2, "nucleus", "#56b4e9")])

    def test_no_trial_begins_with_what_it_is_judged_by(
        self, small_model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(CONFIG, new_classes=(LabelClass(5, "nucleus", "#56b4e9"),))
        labels = sparse()
        labels[10:18, ::40] = labels[90:98, 50:58] = labels[130:138, 90:98] = 5
        labels[sparse() == 0] = 0
        begun: list[set[Any]] = []
        asked: list[tuple[Model, PatchSource]] = []
        held: list[Any] = []

        def fit_new_classes(
            model: Model, known: int, source: PatchSource, regions: Any, device: Any
        ) -> Model:
            begun.append(set(regions))
            asked.append((model, source))
            return start.fit_new_classes(model, known, source, regions, device)

        def hold_out(*arguments: Any) -> Any:
            held.extend(held_out_of.hold_out(*arguments))
            return held

        monkeypatch.setattr(learner, "fit_new_classes", fit_new_classes)
        monkeypatch.setattr(module, "hold_out", hold_out)
        corrected = corrected_sections(INVERTED, labels, (*EM_CLASSES, *config.new_classes))
        tuning = FineTuning(small_model, corrected, config, device="cpu")
        events = tuning.run()
        while not begun:
            next(events)
        next(events)
        events.close()
        grown, source = asked[0]
        everything = set(source.regions)
        assert all(held)
        assert begun == [*(everything - each for each in held), everything]

        some = everything - held[0]
        for key in held[0]:
            for places in source.regions[key].values():
                labels[tuple(places.T)] = 1
        corrected = corrected_sections(INVERTED, labels, (*EM_CLASSES, *config.new_classes))
        other = PatchSource(corrected, grown.card, config)
        other.choose_rehearsal(Inference(grown, torch.device("cpu"), 1, False, None))
        source.choose_rehearsal(Inference(grown, torch.device("cpu"), 1, False, None))
        expected = start.fit_new_classes(grown, 4, source, some, torch.device("cpu"))
        found = start.fit_new_classes(grown, 4, other, some, torch.device("cpu"))
        for name, each in weights(expected).items():
            torch.testing.assert_close(found.network.state_dict()[name], each)

    def test_a_new_class_is_learnt(self, parent: Model, tmp_path: Path) -> None:
        image = SAMPLE.image.copy()
        image[30:130, 30:130] = np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8)
        labels = np.zeros_like(SAMPLE.labels)
        for row in (40, 70, 100):
            for column in (40, 70, 100):
                labels[row : row + 8, column : column + 8] = 5
        config = replace(CONFIG, new_classes=(LabelClass(5, "static", "#56b4e9"),))
        result = finetune(parent, image, labels, config, device="cpu")
        assert result.recommendation == "keep", result.sentence
        said = segment(image, load_model_file(save_model(result.tuned, tmp_path / "new.safetensors"))).labels
        assert (said[50:110, 50:110] == 5).mean() > 0.7
        outside = np.ones(said.shape, bool)
        outside[20:140, 20:140] = False
        assert (said[outside] == 5).mean() < 0.2
        assert (said[outside] == SAMPLE.labels[outside]).mean() > 0.6


class TestStart:
    def test_the_inverted_model_says_of_an_image_what_the_model_says_of_its_inverse(
        self, small_model: Model
    ) -> None:
        other = inverted(small_model)
        assert other is not None
        expected = segment(255 - SAMPLE.image, small_model).labels
        assert (segment(SAMPLE.image, other).labels == expected).mean() > 0.999

    @pytest.mark.parametrize("bright", [False, True], ids=["dark membranes", "bright membranes"])
    def test_the_image_is_inverted_only_if_the_model_is_surer_of_it_then(
        self, parent: Model, bright: bool
    ) -> None:
        said, other = (segment(image, parent).labels for image in (SAMPLE.image, INVERTED))
        false = np.where((sparse() > 0) & (said != other), other, 0)  # any other answer is better here
        image, labels = (INVERTED, sparse()) if bright else (SAMPLE.image, false)
        source = PatchSource(sections(labels, image), parent.card, CONFIG)
        evaluation = HeldOutEvaluation(source, sorted(source.regions), [])
        turned = inverted(parent)
        assert turned is not None
        losses = [evaluation.score(model, torch.device("cpu")).loss for model in (parent, turned)]
        assert losses[1] < 0.8 * losses[0]
        found = start.choose_start(parent, source, torch.device("cpu"), 0)
        assert ("image inverted" in found.differs) == bright

    def test_half_way_is_half_way(self, small_model: Model) -> None:
        end = {
            name: each + 1 if each.is_floating_point() else each
            for name, each in weights(small_model).items()
        }
        half = mixed(small_model.network.state_dict(), end, 0.5)
        for name, each in weights(small_model).items():
            expected = each + 0.5 if each.is_floating_point() else each
            torch.testing.assert_close(half[name], expected)


def test_the_card_names_parent_data_settings_and_scores(parent: Model, tmp_path: Path) -> None:
    stack = np.stack([INVERTED] * 2)
    labels = np.stack([np.zeros_like(sparse()), sparse()])
    found = corrected_sections(stack, labels, EM_CLASSES, source="stack.tif")
    _, result = run(FineTuning(parent, found, CONFIG, device="cpu"))
    card = load_model_file(save_model(result.tuned, tmp_path / "new.safetensors")).card
    assert card.parent == parent.digest
    assert "stack.tif" in card.data[-1].name
    assert card.data[-1].sections["corrected"] == [1]
    assert card.data[:-1] == parent.card.data
    assert card.recipe["finetune"]["steps"] == CONFIG.steps
    assert card.recipe["ancestors"] == [{"name": "unet-w16", "sha256": parent.digest}]
    assert card.scores["held_out_corrections"]["after"]["iou"]
    assert card.licence == parent.card.licence
    from napari_feedback_seg.correction.card import finetuned_model

    second = finetuned_model(
        result.tuned,
        result.tuned,
        sections=found,
        config=CONFIG,
        before=result.before,
        after=result.after,
        recommendation=result.recommendation,
        sentence=result.sentence,
        about={},
        seconds=1.0,
        device=torch.device("cpu"),
    )
    assert second.card.name == "unet-w16 fine-tuned"
    assert second.card.parent == parent.digest
    assert [each["sha256"] for each in second.card.recipe["ancestors"]] == [parent.digest, None]


def test_of_a_large_lazy_section_it_reads_a_part(
    small_model: Model, endless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_feedback_seg.segmentation.reader.BLOCK", 64)
    image = endless(SAMPLE.image)
    labels = np.zeros(image.shape, np.uint8)
    labels[3200:3360, 4160:4320] = sparse()
    result = finetune(small_model, image, labels, CONFIG)
    assert image.pixels_read < 0.5 * labels.size
    nearby = np.zeros((800, 800), np.uint8)
    nearby[320:480, 320:480] = sparse()
    expected = finetune(small_model, np.tile(SAMPLE.image, (5, 5)), nearby, CONFIG)
    assert result.before.confusion.sum() == expected.before.confusion.sum()
    assert abs(result.before.right_share - expected.before.right_share) < 0.05
