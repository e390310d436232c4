from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.training import loop
from napari_feedback_seg.training.config import TrainConfig
from napari_feedback_seg.training.events import EpochDone, StepDone
from napari_feedback_seg.training.loop import Trained, ValidationTiles, channels_last, train, validate
from napari_feedback_seg.training.patches import GridCrops, TrainingSet

if TYPE_CHECKING:
    from pathlib import Path

SPEC = NetworkSpec(width=4, depth=2, key_pooling=8, norm_per_round=True, detach_first_round=False)
CONFIG = TrainConfig(spec=SPEC, epochs=3, patches=8, batch=4, tile=64, seed=1, precision="fp32")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    made = [builtin_section(128, seed=seed) for seed in range(3)]
    return Dataset("builtin", tuple(each.image for each in made), tuple(each.labels for each in made))


def sets(dataset: Dataset) -> list[TrainingSet]:
    return [TrainingSet(dataset, (0, 1), (2,))]


def run(
    dataset: Dataset, folder: Path, config: TrainConfig = CONFIG, stop_after: int = 99, resume: bool = False
):
    """Train; return the events and what was returned, or stop after some epochs."""
    events = train(sets(dataset), config, folder, resume=resume)
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as stop:
            return seen, stop.value
        if isinstance(seen[-1], EpochDone) and seen[-1].epoch >= stop_after:
            events.close()
            return seen, None


def test_a_resumed_training_ends_as_an_uninterrupted_one(dataset: Dataset, tmp_path: Path) -> None:
    _, whole = run(dataset, tmp_path / "whole")
    run(dataset, tmp_path / "cut", stop_after=1)
    torch.manual_seed(123)  # another process has other random numbers
    events, resumed = run(dataset, tmp_path / "cut", resume=True)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [2, 3]
    assert isinstance(whole, Trained)
    for name, expected in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], expected, rtol=0, atol=0)
    assert resumed.scores == whole.scores
    assert resumed.epoch == whole.epoch


def test_events_and_log(dataset: Dataset, tmp_path: Path) -> None:
    events, trained = run(dataset, tmp_path)
    steps = [event for event in events if isinstance(event, StepDone)]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [(event.epoch, event.step) for event in steps] == [(e, s) for e in (1, 2, 3) for s in (1, 2)]
    assert [event.epoch for event in epochs] == [1, 2, 3]
    assert epochs[-1].seconds_left == 0
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = max(epochs, key=lambda event: event.scores["mean_iou"])
    assert trained.scores == best.scores
    assert not trained.network.training


def test_it_learns(dataset: Dataset, tmp_path: Path) -> None:
    """A few steps bring the loss well below that of guessing."""
    config = TrainConfig(
        spec=NetworkSpec(kind="unet", width=8, depth=2),
        epochs=4,
        patches=48,
        batch=4,
        tile=64,
        learning_rate=1e-2,
        ema=0.8,
        precision="fp32",
    )
    events, trained = run(dataset, tmp_path, config)
    losses = [event.loss for event in events if isinstance(event, EpochDone)]
    assert losses[-1] < 0.8 * losses[0]
    assert trained.scores["iou"]["membrane"] > 0.3


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_checkpoint_cut_short_says_so(dataset: Dataset, tmp_path: Path, size: int) -> None:
    run(dataset, tmp_path, stop_after=1)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TrainingError, match="damaged or no checkpoint"):
        run(dataset, tmp_path, resume=True)


def test_resuming_needs_the_same_training(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        run(dataset, tmp_path, resume=True)
    run(dataset, tmp_path, stop_after=1)
    other = TrainConfig(**{**vars(CONFIG), "learning_rate": 1e-3})
    with pytest.raises(TrainingError, match="another learning_rate"):
        run(dataset, tmp_path, other, resume=True)


def test_a_checkpoint_from_before_a_setting_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path, stop_after=1)
    for name in ("last.pt", "best.pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        del content["config"]["crops"], content["config"]["spec"]["query_channels"]
        torch.save(content, tmp_path / name)
    _, trained = run(dataset, tmp_path, resume=True)
    assert isinstance(trained, Trained)
    with pytest.raises(TrainingError, match="another crops"):
        run(dataset, tmp_path, replace(CONFIG, crops="grid"), resume=True)
    content["config"]["since_tomorrow"] = 1
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(TrainingError, match="another version"):
        run(dataset, tmp_path, resume=True)


def test_the_paper_s_recipe_is_adam_at_one_rate_on_the_grid(dataset: Dataset, tmp_path: Path) -> None:
    """One epoch, written out."""
    config = TrainConfig(
        NetworkSpec(kind="unet", width=4, depth=2),
        **{"epochs": 1, "patches": 8, "batch": 4, "tile": 64, "learning_rate": 1e-3, "weight_decay": 0.0},
        **{"ema": 0.0, "dice": 0.0, "first_round": 0.0, "seed": 3, "precision": "fp32"},
        crops="grid",
        optimiser="adam",
    )
    _, trained = run(dataset, tmp_path, config)
    torch.manual_seed(3)
    network = channels_last(build_network(config.spec))
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    crops = GridCrops(sets(dataset), 64, 8, seed=3)  # 2 x 2 crops of each of two sections
    for batch in (range(4), range(4, 8)):
        images, possible = (torch.stack(each) for each in zip(*(crops[n] for n in batch), strict=True))
        logits = network(images.to(memory_format=torch.channels_last))[-1]
        adam.zero_grad()
        torch.nn.functional.cross_entropy(logits, possible.int().argmax(1)).backward()
        assert torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0) < 5  # the loop would cut it
        adam.step()
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trained.network.state_dict()[name], expected, rtol=1e-4, atol=1e-6)


def test_an_infinite_loss_stops_and_keeps_the_last_epoch(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path, stop_after=1)
    kept = (tmp_path / "last.pt").read_bytes()
    events = train(sets(dataset), CONFIG, tmp_path, resume=True)
    next(events)
    events.gi_yieldfrom.gi_frame.f_locals["network"].unet.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        list(events)
    assert (tmp_path / "last.pt").read_bytes() == kept


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_too_little_memory_is_said_and_keeps_the_last_epoch(
    error: Exception, dataset: Dataset, tmp_path: Path
) -> None:
    run(dataset, tmp_path, stop_after=1)
    kept = (tmp_path / "last.pt").read_bytes()
    events = train(sets(dataset), CONFIG, tmp_path, resume=True)
    next(events)
    with pytest.raises(TrainingError, match=r"memory of CPU .* does not suffice.*smaller network"):
        events.throw(error)
    assert (tmp_path / "last.pt").read_bytes() == kept


def test_all_machines_that_took_part_are_named(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "machine", lambda device: "one")
    run(dataset, tmp_path, stop_after=1)
    monkeypatch.setattr(loop, "machine", lambda device: "another")
    _, trained = run(dataset, tmp_path, resume=True)
    assert trained.machines == ("one", "another")
    monkeypatch.setattr(loop, "machine", lambda device: "only looked at it")
    assert run(dataset, tmp_path, resume=True)[1].machines == ("one", "another")


def test_what_is_returned_is_the_average_of_the_best_epoch(dataset: Dataset, tmp_path: Path) -> None:
    """A rate that spoils the later epochs makes an early one the best."""
    config = replace(CONFIG, epochs=4, learning_rate=0.3, ema=0.5)
    events, trained = run(dataset, tmp_path, config)
    scores = [event.scores["mean_iou"] for event in events if isinstance(event, EpochDone)]
    assert trained.scores["mean_iou"] == max(scores)
    assert trained.epoch == 1 + scores.index(max(scores)) < len(scores)
    found = validate(
        trained.network, [ValidationTiles.of(sets(dataset)[0], config)], config, torch.device("cpu")
    )
    assert found == trained.scores


def test_the_last_epoch_can_be_chosen(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=4, learning_rate=0.3, ema=0.5, choose="last")
    events, trained = run(dataset, tmp_path, config)
    assert trained.epoch == 4
    assert trained.scores == [event.scores for event in events if isinstance(event, EpochDone)][-1]


def test_the_average_of_the_weights_is_what_is_returned(dataset: Dataset, tmp_path: Path) -> None:
    _, trained = run(dataset, tmp_path, replace(CONFIG, epochs=1, ema=0.5))
    last = torch.load(tmp_path / "last.pt", weights_only=True)["network"]
    average = trained.network.state_dict()
    assert average.keys() == last.keys()
    assert any(not torch.equal(each, last[name]) for name, each in average.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is at least 1"),
        ({"tile": 66}, "multiple of 4"),
        ({"batch": 9}, "smaller than a batch"),
        ({"precision": "fp8"}, "auto, bf16 or fp32"),
        ({"class_weights": (1.0, 2.0)}, "as many weights"),
        ({"learning_rate": 0.0}, "learning rate is above 0"),
        ({"learning_rate": float("inf")}, "learning rate is above 0"),
        ({"dice": float("nan")}, "weights of the losses"),
        ({"seed": -1}, "seed is 0 or more"),
        ({"tile": 4, "batch": 1}, "larger tile or batch"),
        ({"rare": 1.5}, "rare from 0 to 1"),
        ({"crops": "all"}, "crops are random or grid"),
        ({"optimiser": "sgd"}, "adamw or adam"),
        ({"staining": "none"}, "mild or strong"),
        ({"choose": "first"}, "best or last"),
        ({"validation_tiles": -1}, "validation_tiles is at least 0"),
        ({"first_round": -1.0}, "weights of the losses"),
    ],
)
def test_settings_that_cannot_train(change: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainConfig(**{**vars(CONFIG), **change})


def test_config_round_trip() -> None:
    assert TrainConfig.from_json(CONFIG.to_json()) == CONFIG


def test_several_sets_are_scored_each_by_what_is_labelled(dataset: Dataset, tmp_path: Path) -> None:
    codes = {1: (1,), 2: (2, 3, 4), 3: (2, 3, 4), 4: (2, 3, 4)}
    lines = replace(dataset, name="only membranes", codes=codes)
    both = [*sets(dataset), TrainingSet(lines, (0, 1), (2,), zoom=1.5)]
    events = list(train(both, replace(CONFIG, epochs=1, staining="strong"), tmp_path))
    scores = events[-1].scores
    assert list(scores["sets"]) == ["builtin", "only membranes"]
    assert list(scores["sets"]["only membranes"]["iou"]) == ["membrane"]
    means = [each["mean_iou"] for each in scores["sets"].values()]
    assert scores["mean_iou"] == pytest.approx(sum(means) / 2)
    assert set(scores["iou"]) == set(scores["sets"]["builtin"]["iou"])
    assert scores["first_round"]["mean_iou"] > 0
    with (tmp_path / "log.csv").open() as file:
        assert "only membranes: membrane" in next(csv.DictReader(file))


def test_few_validation_tiles_are_spread_over_the_sections(dataset: Dataset) -> None:
    given = TrainingSet(dataset, (0,), (1, 2))
    everything = ValidationTiles.of(given, CONFIG)
    assert len(everything.images) == 8
    few = ValidationTiles.of(given, replace(CONFIG, validation_tiles=3))
    assert [int((each == everything.labels).all((1, 2)).argmax()) for each in few.labels] == [0, 4, 7]


def test_a_training_begins_with_the_weights_that_it_is_given(dataset: Dataset, tmp_path: Path) -> None:
    _, trained = run(dataset, tmp_path / "one", replace(CONFIG, epochs=1))
    config = replace(CONFIG, epochs=1, learning_rate=1e-9, ema=0.0)
    events = train(sets(dataset), config, tmp_path / "two", start=trained.network)
    for event in events:
        scores = event.scores if isinstance(event, EpochDone) else None
    assert scores is not None
    for name, weights in trained.network.named_parameters():
        found = torch.load(tmp_path / "two" / "best.pt", weights_only=True)["average"][f"module.{name}"]
        torch.testing.assert_close(found, weights.detach(), rtol=1e-4, atol=1e-6)
