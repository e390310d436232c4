from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.inference import Inference
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.one_section import segment_with
from napari_feedback_seg.segmentation.predict import SegmentOptions, segment, segment_section
from napari_feedback_seg.segmentation.specks import SpeckRemover, remove_specks, speck_channel

NM = (10.0, 10.0)
"""A speck is below 100 pixels of this size, and shorter than 30 of them."""


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """Return a section on which the model finds specks."""
    image = builtin_section(260, seed=3).image.astype(float)
    return image + np.random.default_rng(0).normal(0, 25, image.shape)


def cleaned(labels: np.ndarray, sides: tuple[float, float] = NM, **options: object) -> np.ndarray:
    found = labels.copy()
    remove_specks(found, np.full_like(labels, 4), 2, sides, **options)
    return found


@pytest.mark.parametrize(
    ("rows", "columns", "is_speck"),
    [(9, 11, True), (10, 10, False), (29, 3, True), (30, 2, False), (2, 30, False), (1, 1, True)],
)
def test_what_is_small_and_short_is_a_speck(rows, columns, is_speck):
    labels = np.full((60, 60), 1, np.uint8)
    labels[20 : 20 + rows, 5 : 5 + columns] = 2
    expected = np.where(labels == 2, 4, labels) if is_speck else labels
    np.testing.assert_array_equal(cleaned(labels), expected)


def test_sides_of_a_pixel_may_differ():
    labels = np.full((60, 60), 1, np.uint8)
    labels[20:29, 20:30] = 2
    assert not (cleaned(labels) == 2).any()
    np.testing.assert_array_equal(cleaned(labels, (20.0, 10.0)), labels)  # 0.018 um2
    labels[:, 21:] = 1
    assert not (cleaned(labels, (30.0, 10.0)) == 2).any()
    np.testing.assert_array_equal(cleaned(labels, (34.0, 10.0)), labels)  # 306 nm high


def test_other_classes_stay():
    labels = np.full((60, 60), 1, np.uint8)
    labels[10:12, 10:12] = 3
    np.testing.assert_array_equal(cleaned(labels), labels)


def test_what_is_cut_off_is_left():
    labels = np.full((60, 60), 1, np.uint8)
    labels[:3, 10:12] = 2
    labels[-3:, 20:22] = 2
    labels[30:32, :3] = 2
    labels[40:42, -3:] = 2
    for cuts in itertools.product((True, False), repeat=4):
        found = cleaned(labels, cut=(cuts[:2], cuts[2:]))
        assert (found[0, 10] == 2, found[-1, 20] == 2, found[30, 0] == 2, found[40, -1] == 2) == cuts


@pytest.mark.parametrize("height", [7, 64, 500])
def test_rows_may_come_in_any_parts(height):
    random = np.random.default_rng(1)
    labels = np.kron(random.choice([1, 2, 4], (125, 20), p=[0.5, 0.4, 0.1]), np.ones((4, 6), int))
    labels = labels.astype(np.uint8)
    instead = random.choice(np.array([1, 3, 4], np.uint8), labels.shape)
    expected = labels.copy()
    remove_specks(expected, instead, 2, NM)
    assert 0.05 < (expected != labels).mean() < 0.5
    found = np.zeros_like(labels)
    remover = SpeckRemover(found, 2, NM)
    for top in range(0, len(labels), height):
        rows = slice(top, top + height)
        found[rows] = labels[rows]
        remover.add(instead[rows])
    remover.finish()
    np.testing.assert_array_equal(found, expected)


class TestSegment:
    def test_specks_get_the_next_likely_class(self, model, section):
        chosen = {"probabilities": True, "first_round": True, "precision": "fp32"}
        raw = segment(section, model, remove_specks=False, **chosen)
        found = segment(section, model, **chosen)
        instead = np.delete(raw.probabilities, 1, axis=0).argmax(axis=0)
        expected = raw.labels.copy()
        remove_specks(expected, np.array([1, 3, 4], np.uint8)[instead], 2, (4.6, 4.6))
        assert (expected != raw.labels).any()
        assert (found.labels == expected).mean() > 0.999  # half precision of probabilities
        np.testing.assert_array_equal(found.probabilities, raw.probabilities)
        assert (found.first_round != raw.first_round).any()

    @pytest.mark.parametrize("size", [4.6, (9.2, 4.6)], ids=str)
    @pytest.mark.parametrize("region", [np.s_[100:120, 90:210], np.s_[:70, :], np.s_[150:, 31:33]], ids=str)
    def test_a_region_has_the_specks_of_the_section(self, model, noisy, region, size):
        section = noisy[:240, :250]
        whole = segment(section, model, pixel_size_nm=size, precision="fp32")
        raw = segment(section, model, pixel_size_nm=size, precision="fp32", remove_specks=False)
        assert (raw.labels != whole.labels)[region].any()
        rows: list[np.ndarray] = []
        options = SegmentOptions(region=region, pixel_size_nm=size, precision="fp32")
        events = segment_section(section, model, options, write=lambda each: rows.append(each.copy()))
        while True:
            try:
                next(events)
            except StopIteration as stop:
                part = stop.value
                break
        assert part.region == tuple(
            slice(*each.indices(length)[:2]) for each, length in zip(region, section.shape, strict=True)
        )
        np.testing.assert_array_equal(part.labels, whole.labels[region])
        written = np.concatenate(rows, axis=1)
        probabilities = segment(section, model, pixel_size_nm=size, precision="fp32", probabilities=True)
        np.testing.assert_allclose(written, probabilities.probabilities[:, *region], atol=2e-3)

    @pytest.mark.parametrize("border", [0, np.nan], ids=["black", "nan"])
    def test_a_region_beside_a_border_has_the_specks_of_the_section(self, model, noisy, border):
        section = noisy.astype(np.float32)
        section[:70], section[:, :40] = border, border
        whole = segment(section, model, precision="fp32").labels
        assert (whole != segment(section, model, precision="fp32", remove_specks=False).labels).any()
        assert not whole[:70].any()
        for region in (np.s_[60:130, 30:120], np.s_[80:150, 45:260], np.s_[:70, :], np.s_[200:, :60]):
            part = segment(section, model, region=region, precision="fp32").labels
            np.testing.assert_array_equal(part, whole[region])

    def test_without_its_surroundings_specks_at_the_edge_of_a_region_stay(self, model, noisy):
        region = np.s_[100:170, 90:210]
        options = SegmentOptions(region=region, precision="fp32")
        inference = Inference(model, torch.device("cpu"), 1, False, None, "fp32")
        section = open_section(noisy, part=True)
        found = finish(segment_with(section, model, options, inference, surroundings=False)).labels
        exact = segment(noisy, model, region=region, precision="fp32").labels
        raw = segment(noisy, model, region=region, precision="fp32", remove_specks=False).labels
        differ = found != exact
        assert differ.any()
        assert (found[differ] == raw[differ]).all()
        numbers, _ = ndimage.label(raw == 2)
        edges = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
        assert np.isin(numbers[differ], edges).all()

    def test_only_mitochondria_have_specks(self, unet, section):
        classes = tuple(LabelClass(n, name, "#000000") for n, name in enumerate("abcd", 1))
        other = Model(replace(unet.card, classes=classes), unet.network)
        assert speck_channel(unet.card) == 1
        assert speck_channel(other.card) is None
        raw = segment(section, other, remove_specks=False)
        np.testing.assert_array_equal(segment(section, other).labels, raw.labels)
