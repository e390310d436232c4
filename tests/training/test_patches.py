from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.training.patches import GridCrops, Patches, TrainingSet


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    labels = np.full((160, 200), 4, np.uint8)
    labels[:, ::20] = 1
    labels[60:64, 100:104] = 3  # one small synapse
    images = np.where(labels == 1, 60, 180) + random.integers(-20, 20, labels.shape)
    return Dataset("small", (images.astype(np.uint8),) * 3, (labels,) * 3)


def of(dataset: Dataset, *sections: int) -> list[TrainingSet]:
    return [TrainingSet(dataset, sections, ())]


def test_a_patch_is_a_function_of_seed_epoch_and_index(dataset: Dataset) -> None:
    one = Patches(of(dataset, 0, 1), 64, 8, seed=3, rare=0.5)
    two = Patches(of(dataset, 0, 1), 64, 8, seed=3, rare=0.5)
    two[5]  # what was asked before does not matter
    for mine, other in zip(one[2], two[2], strict=True):
        assert torch.equal(mine, other)
    two.epoch = 1
    assert not torch.equal(one[2][0], two[2][0])
    assert not torch.equal(one[2][0], one[3][0])


def test_shapes_and_values(dataset: Dataset) -> None:
    patches = Patches(of(dataset, 0), 64, 16, seed=0, rare=0.3)
    assert len(patches) == 16
    for image, label in patches:
        assert image.shape == (1, 64, 64)
        assert image.dtype == torch.float32
        assert label.shape == (4, 64, 64)
        assert label.dtype == torch.float32
        assert label.sum(0).max() == 1
        assert not label[1].any()
        assert torch.isfinite(image).all()


def test_rare_classes_are_seen_more_often(dataset: Dataset) -> None:
    def share(rare: float) -> float:
        patches = Patches(of(dataset, 0, 1, 2), 32, 60, seed=1, rare=rare)
        return sum(bool(label[2].any()) for _, label in patches) / len(patches)

    assert share(1.0) > share(0.0) + 0.1


def test_labels_follow_the_image_through_the_augmentation(dataset: Dataset) -> None:
    """Membrane stays darker than cytoplasm, whatever was turned, scaled or mirrored."""
    for image, label in Patches(of(dataset, 0), 64, 12, seed=2, rare=0.0):
        assert image[0][label[0] > 0].mean() < image[0][label[3] > 0].mean()


def test_patches_are_turned_mirrored_scaled_and_stained_otherwise() -> None:
    """One bright arrow of known size: what becomes of it tells what was done."""
    labels = np.full((96, 96), 4, np.uint8)
    labels[33:63, 44:52] = 1
    labels[33:41, 44:64] = 1  # an L: it tells a turn from a mirror
    noise = np.random.default_rng(0).integers(-9, 10, labels.shape)  # one value at the edge is no tissue
    image = (np.where(labels == 1, 40, 200) + noise).astype(np.uint8)
    turns, areas, contrasts = set(), [], []
    for patch, label in Patches(of(Dataset("L", (image,), (labels,)), 0), 96, 80, seed=0, rare=0.0):
        shape = label[0].numpy() > 0
        areas.append(int(shape.sum()))
        contrasts.append(float(patch[0][label[3] > 0].mean() - patch[0][shape].mean()))
        rows, columns = np.nonzero(shape)
        if len(rows) and 0 < rows.min() and rows.max() < 95 and 0 < columns.min() and columns.max() < 95:
            box = shape[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            tall, (top, bottom) = box.shape[0] > box.shape[1], np.array_split(box, 2)
            left, right = np.array_split(box, 2, axis=1)
            turns.add((tall, top.sum() > bottom.sum(), left.sum() > right.sum()))
    assert len(turns) == 8  # four turns, and each mirrored
    whole = np.array([area for area in areas if area > 100])
    assert whole.max() > 1.3 * np.median(whole) > 0
    assert np.ptp(contrasts) > 0.5


def test_small_sections_are_padded_and_their_padding_is_unlabelled() -> None:
    labels = np.full((20, 30), 4, np.uint8)
    image = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    patches = Patches(of(Dataset("tiny", (image,), (labels,)), 0), 64, 4, seed=0, rare=0.0)
    for _, label in patches:
        assert label.shape == (4, 64, 64)
        assert 0 < label.sum() <= 64 * 64 * 0.5


def test_without_a_label_there_is_nothing_to_learn() -> None:
    nothing = np.zeros((40, 40), np.uint8)
    with pytest.raises(InputError, match="No pixel of the training sections"):
        Patches(of(Dataset("d", (nothing + 1,), (nothing,)), 0), 32, 4, seed=0, rare=0.5)


class TestGridCrops:
    def test_each_crop_comes_once_an_epoch_as_it_is(self, dataset: Dataset) -> None:
        crops = GridCrops(of(dataset, 0, 1), 64, 12, seed=0)  # 2 x 3 crops of each of two sections
        image = normalise(dataset.images[0])
        expected = [image[row : row + 64, column : column + 64] for row in (0, 64) for column in (0, 64, 128)]
        seen = [crop[0].numpy() for crop, _ in crops]
        for each in expected:
            assert sum(np.array_equal(each, other) for other in seen) == 2  # the sections are the same
        label = next(label for crop, label in crops if np.array_equal(crop[0], expected[1]))
        for channel, value in enumerate((1, 2, 3, 4)):
            assert np.array_equal(label[channel], dataset.labels[0][:64, 64:128] == value)

    def test_the_order_is_a_function_of_seed_and_epoch(self, dataset: Dataset) -> None:
        one, two = (GridCrops(of(dataset, 0), 64, 6, seed=3) for _ in range(2))
        assert all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
        two.epoch = 1
        assert not all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))

    def test_few_crops_come_again(self, dataset: Dataset) -> None:
        crops = list(GridCrops(of(dataset, 0), 64, 12, seed=0))
        assert all(torch.equal(crops[n][0], crops[n + 6][0]) for n in range(6))

    def test_without_a_labelled_crop_there_is_nothing_to_learn(self, dataset: Dataset) -> None:
        with pytest.raises(InputError, match="labelled crop of 192 pixels"):
            GridCrops(of(dataset, 0), 192, 4, seed=0)
        bare = Dataset("bare", dataset.images, (np.zeros_like(dataset.labels[0]),) * 3)
        with pytest.raises(InputError, match="No training section of bare"):
            GridCrops(of(bare, 0), 64, 4, seed=0)


class TestSeveralSets:
    @pytest.fixture(scope="class")
    def coded(self) -> Dataset:
        """Twice as many nm to a pixel; only whether it is membrane is known."""
        labels = np.full((80, 100), 10, np.uint8)
        labels[:, ::10] = 1
        image = np.where(labels == 1, 60, 180).astype(np.uint8)
        return Dataset("coded", (image,), (labels,), codes={1: (1,), 10: (2, 3, 4)})

    def test_a_code_becomes_the_classes_that_it_allows(self, coded: Dataset) -> None:
        table = torch.tensor([[0, 0, 0, 0], [1, 0, 0.5, 0], [0, 0.5, 1, 1]])  # see Dataset.beliefs
        seen = set()
        for image, beliefs in Patches([TrainingSet(coded, (0,), (), zoom=2.0)], 64, 6, seed=0, rare=0.5):
            assert image.shape == (1, 64, 64)
            assert beliefs.shape == (4, 64, 64)
            found = beliefs.flatten(1).T.unique(dim=0)
            assert all((each == table).all(dim=1).any() for each in found)
            seen |= {tuple(each.tolist()) for each in found}
        assert len(seen) >= 2

    def test_each_set_is_zoomed_to_the_pixels_of_the_model(self, coded: Dataset) -> None:
        """Lines 10 px apart are 20 px apart at a zoom of 2, up to the scale of the augmentation."""
        for strong in (False, True):
            sets = [TrainingSet(coded, (0,), (), zoom=2.0)]
            shares = [
                float(beliefs[0].sum() / beliefs.any(0).sum())
                for _, beliefs in Patches(sets, 64, 12, seed=0, rare=0.0, strong=strong)
            ]
            assert np.mean(shares) == pytest.approx(0.1, abs=0.03)
        widths = []
        for zoom in (1.0, 2.0):
            _, beliefs = Patches([TrainingSet(coded, (0,), (), zoom=zoom)], 64, 1, seed=4, rare=0.0)[0]
            edges = np.diff(beliefs[0].numpy(), axis=0), np.diff(beliefs[0].numpy())
            widths.append(max(np.abs(each).sum() for each in edges))
        assert widths[0] == pytest.approx(2 * widths[1], rel=0.3)

    def test_sets_are_drawn_by_weight_not_by_size(self, dataset: Dataset, coded: Dataset) -> None:
        sets = [TrainingSet(dataset, (0, 1, 2), (), weight=1.0), TrainingSet(coded, (0,), (), weight=3.0)]
        patches = Patches(sets, 32, 120, seed=0, rare=0.0)
        open_ones = sum(bool(((beliefs > 0).sum(0) == 3).any()) for _, beliefs in patches)
        assert 75 <= open_ones <= 105

    def test_a_class_is_looked_for_where_it_is_labelled(self, dataset: Dataset, coded: Dataset) -> None:
        """The synapse of one set is not drowned by the other, however often that is drawn."""
        sets = [TrainingSet(dataset, (0,), ()), TrainingSet(coded, (0,), (), weight=20.0)]
        seen = sum(bool((beliefs > 0).sum(0).max() == 1) and bool(beliefs[2].any())
                   for _, beliefs in Patches(sets, 32, 90, seed=0, rare=1.0))  # fmt: skip
        assert seen >= 20

    def test_strong_patches_are_turned_by_any_angle_and_stay_with_their_labels(
        self, dataset: Dataset
    ) -> None:
        patches = Patches(of(dataset, 0), 64, 40, seed=0, rare=0.0, strong=True)
        contrasts, angles = [], []
        for image, beliefs in patches:
            possible = beliefs > 0
            if possible[0].any() and possible[3].any():
                contrasts.append(float(image[0][possible[3]].mean() - image[0][possible[0]].mean()))
            rows, columns = np.gradient(possible[0].numpy().astype(float))
            tensor = np.array([(columns * columns).sum() - (rows * rows).sum(), 2 * (rows * columns).sum()])
            angles.append(np.degrees(np.arctan2(tensor[1], tensor[0]) / 2) % 180)
        assert np.mean(np.array(contrasts) > 0) > 0.8  # some are inverted
        assert min(contrasts) < 0
        assert np.ptp(angles) > 120
        assert all(torch.equal(patches[n][0], patches[n][0]) for n in range(3))
