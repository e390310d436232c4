"""Strokes in, segmentation out."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import napari_feedback_seg
from napari_feedback_seg import load_model
from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.correction.adapt import adapt, segment
from napari_feedback_seg.correction.feature_maps import tile_maps
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.residual import watched
from napari_feedback_seg.networks.spec import NETWORKS
from napari_feedback_seg.segmentation import predict

IMAGE = builtin_section(160, seed=3).image


def strokes(*painted: tuple[int, int, int], shape: tuple[int, int] = IMAGE.shape) -> np.ndarray:
    """Return corrections with squares of 6 px: row, column, value."""
    labels = np.zeros(shape, np.uint8)
    for row, column, value in painted:
        labels[row : row + 6, column : column + 6] = value
    return labels


def test_it_is_what_the_package_gives() -> None:
    assert napari_feedback_seg.segment is segment


def test_without_strokes_the_answer_is_exactly_that_of_the_model(small_model: Model) -> None:
    before = predict.segment(IMAGE, small_model, probabilities=True)
    for given in ((), [(IMAGE, np.zeros_like(IMAGE))]):
        after = segment(IMAGE, small_model, strokes=given, probabilities=True)
        assert np.array_equal(before.labels, after.labels)
        assert np.array_equal(before.probabilities, after.probabilities)


def test_what_was_painted_is_right_and_so_is_what_looks_like_it(small_model: Model) -> None:
    dark = IMAGE < np.percentile(IMAGE, 15)
    before = segment(IMAGE, small_model).labels
    corrections = np.zeros_like(IMAGE)
    corrections[:80][dark[:80]] = 3
    corrections[:80][~dark[:80]] = 4
    other = builtin_section(160, seed=4).image
    dark_there = other < np.percentile(other, 15)
    result = segment(IMAGE, small_model, strokes=[(IMAGE, corrections)], probabilities=True)
    assert np.array_equal(result.labels[:80], corrections[:80])
    assert np.array_equal(result.probabilities[2][:80], corrections[:80] == 3)
    truth = np.where(dark, 3, 4)[80:]
    assert (result.labels[80:] == truth).mean() > (before[80:] == truth).mean() + 0.2
    elsewhere = segment(other, small_model, strokes=[(IMAGE, corrections)]).labels
    plain = segment(other, small_model).labels
    truth = np.where(dark_there, 3, 4)
    assert (elsewhere == truth).mean() > (plain == truth).mean() + 0.2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_maps_inside(name: str) -> None:
    spec = NetworkSpec.named(name, width=4, depth=2, key_pooling=4)
    network = build_network(spec).eval()
    with torch.inference_mode(), watched(network) as maps:
        network(torch.randn(1, 1, 32, 32))
    # After the first block, below it, and the two levels of the decoder, of each round.
    sides = [(32, 4), (16, 8), (16, 8), (32, 4)] * spec.rounds
    assert [(each.shape[-1], each.shape[1]) for each in maps] == sides
    assert sum(each.shape[1] for each in maps) == spec.inner_channels
    left = [weakref.ref(each) for each in maps]
    del maps
    gc.collect()
    assert not any(each() is not None for each in left)  # no hook stays in the network and holds them
    model = Model(ModelCard(name, spec, EM_CLASSES, 4.6, 64), network)
    labels = segment(IMAGE, model, strokes=[(IMAGE, strokes((9, 9, 3), (90, 90, 1)))]).labels
    assert (labels[9:15, 9:15] == 3).all()


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (3, 1), (8, 3)])
def test_every_width_and_depth_does(width: int, depth: int) -> None:
    spec = NetworkSpec(width=width, depth=depth, key_pooling=4)
    model = Model(ModelCard("odd", spec, EM_CLASSES, 4.6, 64), build_network(spec).eval())
    labels = segment(IMAGE, model, strokes=[(IMAGE, strokes((9, 9, 3), (90, 90, 1)))]).labels
    assert (labels[9:15, 9:15] == 3).all()


def test_the_features_of_a_pixel_are_those_of_the_upsampled_maps(small_model: Model) -> None:
    tile = torch.randn(64, 64)
    maps = tile_maps(small_model.network, tile)
    upsampled = torch.cat(
        [
            torch.nn.functional.interpolate(
                each[None].float(), (64, 64), mode="bilinear", align_corners=False
            )
            for each in maps.maps
        ],
        dim=1,
    )[0]
    rows, columns = torch.tensor([0, 5, 63, 31]), torch.tensor([0, 60, 63, 2])
    expected = upsampled[:, rows, columns].T
    assert torch.allclose(maps.features(rows, columns), expected, atol=1e-4)


def test_new_classes_are_learnt_from_strokes_alone() -> None:
    section, model = builtin_section(256, seed=3), load_model("unet-w16")
    nucleus = LabelClass(5, "nucleus", "#56b4e9")
    corrections = np.where(section.labels == 2, 5, section.labels)
    corrections[128:] = 0
    result = segment(section.image, model, strokes=[(section.image, corrections)], new_classes=[nucleus])
    found, truth = result.labels[128:] == 5, section.labels[128:] == 2
    assert (found & truth).sum() > 0.5 * (found | truth).sum()
    with pytest.raises(InputError, match="no class"):
        segment(section.image, model, strokes=[(section.image, corrections)])


def test_strokes_of_a_stack_count_on_all_sections(small_model: Model) -> None:
    stack = np.stack([IMAGE, IMAGE[::-1], IMAGE])
    corrections = np.zeros_like(stack)
    corrections[1] = strokes((9, 9, 3), (90, 90, 1))
    result = segment(stack, small_model, strokes=[(stack, corrections)], probabilities=True)
    assert (result.labels[1, 9:15, 9:15] == 3).all()
    assert (result.probabilities[1, 2, 9:15, 9:15] == 1).all()
    learnt = adapt(small_model, [(stack, corrections)])
    assert np.array_equal(result.labels[0], segment(IMAGE, small_model, strokes=learnt).labels)


def test_a_region_shows_its_part_of_the_strokes(small_model: Model) -> None:
    corrections = strokes((40, 40, 3), (90, 90, 1))
    region = (slice(42, 100), slice(30, 90))
    result = segment(IMAGE, small_model, strokes=[(IMAGE, corrections)], region=region)
    assert (result.labels[:4, 10:16] == 3).all()


class Lazy:
    """A stack of which it is known which sections were read."""

    def __init__(self, count: int) -> None:
        self.shape, self.dtype = (count, *IMAGE.shape), IMAGE.dtype
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> np.ndarray:
        self.read.append(z)
        return np.roll(IMAGE, z, axis=1)


def test_of_500_sections_only_those_with_strokes_are_read(small_model: Model) -> None:
    stack = Lazy(500)
    corrections = np.zeros(stack.shape, np.uint8)
    for z in range(0, 400, 40):
        corrections[z] = strokes((9 + z % 50, 9, 3), (90, 90, 1))
    learnt = adapt(small_model, [(stack, corrections)])
    assert learnt.strokes == 20
    assert sorted(set(stack.read)) == list(range(0, 400, 40))


BLANK = np.where(np.arange(160)[:, None] < 40, 0, IMAGE).astype(np.uint8)
NO_NUMBERS = np.where(np.arange(160)[:, None] < 40, np.nan, IMAGE).astype(np.float32)


@pytest.mark.parametrize(
    ("image", "painted"),
    [
        (IMAGE, [(50, 50, 2)]),
        (IMAGE, [(20 * n, 20 * n, 3) for n in range(7)]),
        (IMAGE, [(50, 50, 2), (50, 56, 3), (56, 50, 3), (56, 56, 2)]),
        (BLANK, [(5, 5, 2), (100, 100, 3)]),
        (NO_NUMBERS, [(5, 5, 2), (100, 100, 3)]),
        (NO_NUMBERS, [(5, 5, 2)]),
        (np.full_like(IMAGE, 7), [(5, 5, 2), (100, 100, 3)]),
    ],
    ids=["one stroke", "one class", "contradicting", "border", "NaN", "NaN alone", "one grey value"],
)
def test_odd_strokes_are_right_where_they_are(
    small_model: Model, image: np.ndarray, painted: list[tuple[int, int, int]]
) -> None:
    corrections = strokes(*painted)
    stack = np.stack([image, image])
    result = segment(stack, small_model, strokes=[(stack, np.stack([corrections] * 2))])
    assert np.array_equal(result.labels[0][corrections > 0], corrections[corrections > 0])


def test_a_single_pixel_is_right(small_model: Model) -> None:
    corrections = np.zeros_like(IMAGE)
    corrections[70, 70] = 3
    assert segment(IMAGE, small_model, strokes=[(IMAGE, corrections)]).labels[70, 70] == 3


def test_thousands_of_strokes_take_no_more_pixels(small_model: Model) -> None:
    image = builtin_section(288, seed=5).image
    corrections = np.zeros_like(image)
    corrections[::4, ::4] = 1 + np.random.default_rng(0).integers(0, 4, corrections[::4, ::4].shape)
    learnt = adapt(small_model, [(image, corrections)])
    assert learnt.strokes > 5000
    labels = segment(image, small_model, strokes=[(image, corrections)]).labels
    assert np.array_equal(labels[corrections > 0], corrections[corrections > 0])


def test_another_pixel_size_is_taken_to_the_grid_of_the_model(small_model: Model) -> None:
    corrections = strokes((40, 40, 3), (90, 90, 1))
    small = segment(IMAGE, small_model, strokes=[(IMAGE, corrections)], pixel_size_nm=9.2)
    assert small.labels.shape == IMAGE.shape
    assert (small.labels[40:46, 40:46] == 3).all()


def test_corrections_of_another_image_are_refused(small_model: Model) -> None:
    with pytest.raises(InputError, match="have the shape"):
        segment(IMAGE, small_model, strokes=[(IMAGE, strokes((5, 5, 2), shape=(90, 90)))])
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="colour image"):
        segment(IMAGE, small_model, strokes=[(image, image)])
