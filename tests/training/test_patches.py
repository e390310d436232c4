from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.training.patches import GridCrops, Patches, class_indices


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    labels = np.full((160, 200), 4, np.uint8)
    labels[:, ::20] = 1
    labels[60:64, 100:104] = 3  # one small synapse
    images = np.where(labels == 1, 60, 180) + random.integers(-20, 20, labels.shape)
    return Dataset("small", (images.astype(np.uint8),) * 3, (labels,) * 3)


def test_a_patch_is_a_function_of_seed_epoch_and_index(dataset: Dataset) -> None:
    one = Patches(dataset, [0, 1], 64, 8, seed=3, rare=0.5)
    two = Patches(dataset, [0, 1], 64, 8, seed=3, rare=0.5)
    two[5]  # what was asked before does not matter
    for mine, other in zip(one[2], two[2], strict=True):
        assert torch.equal(mine, other)
    two.epoch = 1
    assert not torch.equal(one[2][0], two[2][0])
    assert not torch.equal(one[2][0], one[3][0])


def test_shapes_and_values(dataset: Dataset) -> None:
    patches = Patches(dataset, [0], 64, 16, seed=0, rare=0.3)
    assert len(patches) == 16
    for image, label in patches:
        assert image.shape == (1, 64, 64)
        assert image.dtype == torch.float32
        assert label.shape == (64, 64)
        assert set(label.unique().tolist()) <= {0, 1, 3, 4}
        assert torch.isfinite(image).all()


def test_rare_classes_are_seen_more_often(dataset: Dataset) -> None:
    def share(rare: float) -> float:
        patches = Patches(dataset, [0, 1, 2], 32, 60, seed=1, rare=rare)
        return sum(bool((label == 3).any()) for _, label in patches) / len(patches)

    assert share(1.0) > share(0.0) + 0.1


def test_labels_follow_the_image_through_the_augmentation(dataset: Dataset) -> None:
    """Membrane stays darker than cytoplasm, whatever was turned, scaled or mirrored."""
    for image, label in Patches(dataset, [0], 64, 12, seed=2, rare=0.0):
        assert image[0][label == 1].mean() < image[0][label == 4].mean()


def test_patches_are_turned_mirrored_scaled_and_stained_otherwise() -> None:
    """One bright arrow of known size: what becomes of it tells what was done."""
    labels = np.full((96, 96), 4, np.uint8)
    labels[33:63, 44:52] = 1
    labels[33:41, 44:64] = 1  # an L: it tells a turn from a mirror
    image = np.where(labels == 1, 40, 200).astype(np.uint8)
    turns, areas, contrasts = set(), [], []
    for patch, label in Patches(Dataset("L", (image,), (labels,)), [0], 96, 80, seed=0, rare=0.0):
        shape = (label == 1).numpy()
        areas.append(int(shape.sum()))
        contrasts.append(float(patch[0][label == 4].mean() - patch[0][label == 1].mean()))
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
    patches = Patches(Dataset("tiny", (image,), (labels,)), [0], 64, 4, seed=0, rare=0.0)
    for _, label in patches:
        assert label.shape == (64, 64)
        assert 0 < (label == 4).sum() <= 64 * 64 * 0.5


def test_without_a_label_there_is_nothing_to_learn() -> None:
    nothing = np.zeros((40, 40), np.uint8)
    with pytest.raises(InputError, match="No pixel of the training sections"):
        Patches(Dataset("d", (nothing + 1,), (nothing,)), [0], 32, 4, seed=0, rare=0.5)


def test_class_indices() -> None:
    labels = torch.tensor([[0, 1, 4], [3, 2, 9]])
    assert class_indices(labels, np.array([1, 2, 3, 4])).tolist() == [[-1, 0, 3], [2, 1, -1]]


class TestGridCrops:
    def test_each_crop_comes_once_an_epoch_as_it_is(self, dataset: Dataset) -> None:
        crops = GridCrops(dataset, [0, 1], 64, 12, seed=0)  # 2 x 3 crops of each of two sections
        image = normalise(dataset.images[0])
        expected = [image[row : row + 64, column : column + 64] for row in (0, 64) for column in (0, 64, 128)]
        seen = [crop[0].numpy() for crop, _ in crops]
        for each in expected:
            assert sum(np.array_equal(each, other) for other in seen) == 2  # the sections are the same
        label = next(label for crop, label in crops if np.array_equal(crop[0], expected[1]))
        assert label.tolist() == dataset.labels[0][:64, 64:128].tolist()
        assert label.dtype == torch.int64

    def test_the_order_is_a_function_of_seed_and_epoch(self, dataset: Dataset) -> None:
        one, two = (GridCrops(dataset, [0], 64, 6, seed=3) for _ in range(2))
        assert all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
        two.epoch = 1
        assert not all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))

    def test_few_crops_come_again(self, dataset: Dataset) -> None:
        crops = list(GridCrops(dataset, [0], 64, 12, seed=0))
        assert all(torch.equal(crops[n][0], crops[n + 6][0]) for n in range(6))

    def test_without_a_labelled_crop_there_is_nothing_to_learn(self, dataset: Dataset) -> None:
        with pytest.raises(InputError, match="labelled crop of 192 pixels"):
            GridCrops(dataset, [0], 192, 4, seed=0)
        bare = Dataset("bare", dataset.images, (np.zeros_like(dataset.labels[0]),) * 3)
        with pytest.raises(InputError, match="No training section of bare"):
            GridCrops(bare, [0], 64, 4, seed=0)
