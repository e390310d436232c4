from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from napari_feedback_seg import load_model, segment
from napari_feedback_seg.attention_maps.grid import TileFrame
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.attention_maps.tile import BlockDone, TileAttention
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import DeviceError, InputError, ModelError
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.residual import AdaptedNetwork, Residual
from napari_feedback_seg.segmentation.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_feedback_seg.attention_maps.tile import AttentionSummary
    from napari_feedback_seg.models.model import Model

NETWORKS = pytest.mark.parametrize(
    "spec",
    [
        {"mode": mode, "tap": tap, "key_pooling": pooling}
        for mode in ("self", "source_target")
        for tap in ("one_conv", "two_conv")
        for pooling in (1, 4, 12)
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)


def plain_matrix(model: Model, image: np.ndarray) -> np.ndarray:
    """The formula of the paper, written out: (N, M) for the whole image as one tile."""
    tile = torch.from_numpy((image - image.mean()) / image.std()).float()[None, None]
    with torch.inference_mode():
        maps = model.network.maps(tile)
        query, key = model.network.feedback.query_and_key(maps.input_side, maps.output_side)
        scores = torch.einsum("dhw,dyx->hwyx", query[0].double(), key[0].double())
        return scores.flatten(2).flatten(0, 1).softmax(dim=1).numpy()


def an_image(side: int = 32) -> np.ndarray:
    """Two grey values, so that neither clipping nor percentiles change them."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(1).normal(size=(side, side)), 2)
    return np.where(noise > 0, 200.0, 50.0).astype(np.float32)


class Chunked:
    """An array that is read in chunks, and knows how many pixels were."""

    chunks = (16, 16)

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels, self.shape, self.dtype, self.ndim = pixels, pixels.shape, pixels.dtype, pixels.ndim
        self.pixels_read = 0

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        self.pixels_read += self._pixels[key].size
        return self._pixels[key]


@pytest.mark.parametrize("size", [4.6, 7.3])
def test_of_a_large_lazy_section_no_more_than_the_tile_and_a_sample_is_read(monkeypatch, make_model, size):
    for name, value in (("LARGEST_READ", 100), ("SAMPLE_SIDE", 16), ("SAMPLES", 3)):
        monkeypatch.setattr(f"napari_feedback_seg.segmentation.lazy.{name}", value)
    monkeypatch.setattr("napari_feedback_seg.segmentation.reader.BLOCK", 8)
    image = an_image(320)
    lazy, model = Chunked(image), make_model()
    found = SectionAttention(lazy, model, pixel_size_nm=size).at(200, 100).pixel(200, 100)
    assert lazy.pixels_read <= 9 * 16**2 + 50**2 + 100
    expected = SectionAttention(image, model, pixel_size_nm=size).at(200, 100).pixel(200, 100)
    assert found.map.shape == expected.map.shape
    assert np.corrcoef(found.map.ravel(), expected.map.ravel())[0, 1] > 0.9


def summary(tile: TileAttention) -> AttentionSummary:
    events = tile.summarise()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def exact_tile() -> TileAttention:
    """A tile of 256 x 256 pixels, each of which looks at each."""
    query, key = torch.randn(65_536, 8), torch.randn(256, 256, 8)
    probabilities = torch.randn(2, 4, 256, 256).softmax(dim=1).numpy()
    frame = TileFrame(Tile(0, 0), 256, (256, 256), (256, 256))
    return TileAttention(frame, EM_CLASSES, 1, query, key, probabilities)


class TestRow:
    @NETWORKS
    def test_equals_the_plain_formula(self, make_model: Callable[..., Model], spec: dict[str, Any]) -> None:
        model, image = make_model(**spec), an_image()
        tile = SectionAttention(image, model, device="cpu", precision="fp32").at(5, 9)
        expected = plain_matrix(model, image)
        assert expected.max() * expected.shape[1] > 1.1  # it is not uniform
        for y, x in ((5, 9), (0, 0), (31, 31), (17, 2)):
            row = tile.row(y, x)
            plain = expected[y * 32 + x].reshape(row.shape)
            np.testing.assert_allclose(row / row.size, plain, atol=1e-5, rtol=1e-4)

    @NETWORKS
    def test_is_what_the_second_round_really_used(
        self, make_model: Callable[..., Model], spec: dict[str, Any]
    ) -> None:
        model, image = make_model(**spec), an_image()
        tile = SectionAttention(image, model, device="cpu", precision="fp32").at(0, 0)
        weights = np.stack([tile.row(y, x).ravel() for y in range(32) for x in range(32)])
        weights /= weights.shape[1]
        network = model.network
        with torch.inference_mode():
            pixels = torch.from_numpy((image - image.mean()) / image.std())[None, None]
            maps = network.maps(pixels)
            value = network.feedback.value(maps.output_side)
            if spec["key_pooling"] > 1:
                value = functional.avg_pool2d(
                    value, spec["key_pooling"], ceil_mode=True, count_include_pad=False
                )
            attended = torch.from_numpy(weights).float() @ value[0].flatten(1).T
            attended = attended.T.reshape(1, -1, 32, 32)
            fed_back = network.feedback.norm(network.feedback.project(attended)) * network.feedback.scale
            second = maps.input_side + fed_back
            if spec["tap"] == "one_conv":
                second = network.unet.first.second(second, 1)
            logits = network.unet.classifier(network.unet.body(second, 1))
        np.testing.assert_allclose(logits.numpy(), maps.logits[1].numpy(), atol=2e-4)

    def test_is_in_times_uniform_attention(self, make_model: Callable[..., Model]) -> None:
        tile = SectionAttention(an_image(), make_model(key_pooling=4), device="cpu").at(0, 0)
        assert tile.row(3, 3).shape == (8, 8)
        assert tile.row(3, 3).mean() == pytest.approx(1, abs=1e-5)

    def test_all_65536_places_take_little_memory(self, exact_tile: TileAttention) -> None:
        tracemalloc.start()  # which sees numpy's arrays, as the profiler sees torch's
        found = exact_tile.pixel(100, 100)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as torch_seen:
            exact_tile.pixel(100, 100)
        taken = [each.self_cpu_memory_usage for each in torch_seen.events()]
        scores = exact_tile.key.double() @ exact_tile.query[100 * 256 + 100].double()
        expected = scores.flatten().softmax(dim=0).reshape(256, 256) * 65_536
        np.testing.assert_allclose(found.map, expected.numpy(), rtol=1e-4)
        # The matrix would take 17 GB.
        assert peak < 40e6
        assert 65_536 < max(taken) < 40e6


class TestTile:
    @pytest.mark.parametrize("mode", ["self", "source_target"])
    def test_labels_are_those_of_the_segmentation(self, make_model: Callable[..., Model], mode: str) -> None:
        model = make_model(mode=mode, key_pooling=4)
        image = builtin_section(64).image
        options = {"first_round": True, "remove_specks": False}
        whole = segment(image, model, overlap=0.0, device="cpu", **options)
        engine = SectionAttention(image, model, overlap=0.0, device="cpu")
        for y, x in ((3, 3), (3, 60), (60, 3), (40, 40)):
            tile = engine.at(y, x)
            assert np.array_equal(tile.labels, whole.labels[tile.frame.region])
            assert np.array_equal(tile.first_round, whole.first_round[tile.frame.region])
        assert len(np.unique(whole.labels)) > 2

    def test_a_model_that_strokes_taught_looks_where_its_parent_does(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        model = make_model()
        card = replace(model.card, spec=replace(model.card.spec, adapted=True))
        mitochondria = Residual(
            torch.zeros(len(card.classes), card.spec.inner_channels), torch.tensor([0.0, 50.0, 0.0, 0.0])
        )
        taught = replace(model, card=card, network=AdaptedNetwork(model.network, mitochondria))
        tile, same = (SectionAttention(section, each, device="cpu").at(9, 9) for each in (model, taught))
        assert np.array_equal(tile.row(9, 9), same.row(9, 9))
        assert (same.labels == 2).all()
        assert np.array_equal(same.labels, segment(section, taught, device="cpu").labels[same.frame.region])

    @pytest.mark.parametrize("pixel_size_nm", [2.3, 9.2, (4.6, 9.2)])
    def test_labels_of_a_rescaled_section_lie_where_they_belong(self, pixel_size_nm: Any) -> None:
        sample = builtin_section(256).image
        model = load_model()
        if pixel_size_nm == 2.3:
            image = np.kron(sample[:128, :128], np.ones((2, 2), np.uint8))
        else:
            image = sample[::2, ::2] if pixel_size_nm == 9.2 else sample[:, ::2]
        whole = segment(image, model, pixel_size_nm=pixel_size_nm, device="cpu")
        y, x = image.shape[0] // 2, image.shape[1] // 2
        tile = SectionAttention(image, model, pixel_size_nm=pixel_size_nm, device="cpu").at(y, x)
        assert tile.labels.shape == image.shape
        assert (tile.labels == whole.labels[tile.frame.region]).mean() > 0.93

    def test_small_section_shows_no_border(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        small = section[:20, :25]
        tile = SectionAttention(small, make_model(key_pooling=4), device="cpu").at(10, 10)
        assert tile.frame.region == (slice(0, 20), slice(0, 25))
        found = tile.pixel(10, 10)
        assert found.map.shape == small.shape
        assert all(0 <= each.y < 20 and 0 <= each.x < 25 for each in found.strongest)

    def test_normalisation_is_of_the_whole_section(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        engine = SectionAttention(section, make_model(key_pooling=4), device="cpu")
        brighter = section.copy()
        brighter[60:, 60:] = 255  # far from the tile
        other = SectionAttention(brighter, make_model(key_pooling=4), device="cpu")
        assert not np.array_equal(engine.at(2, 2).row(2, 2), other.at(2, 2).row(2, 2))

    def test_seen_tiles_are_kept_and_not_without_bound(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        engine = SectionAttention(section, make_model(key_pooling=4), device="cpu")
        assert engine.kept(5, 5) is None
        first = engine.at(5, 5)
        assert engine.at(6, 6) is first
        assert engine.kept(6, 6) is first
        for x in range(32, 56):
            engine.at(40, x, recentre=True)
        assert engine.kept(5, 5) is None
        assert engine.kept(40, 55, recentre=True) is not None

    def test_model_stays_as_it_is(self, make_model: Callable[..., Model], section: np.ndarray) -> None:
        model = make_model()
        model.network.train()
        SectionAttention(section, model, device="cpu").at(5, 5)
        assert model.network.training

    @pytest.mark.parametrize("kind", ["unet", "recurrent_unet", "feedback_unet"])
    def test_model_without_attention_is_refused(self, kind: str, section: np.ndarray) -> None:
        spec = NetworkSpec(kind=kind, width=4, depth=2)
        model = load_model("unet-w16")
        model = replace(model, card=replace(model.card, spec=spec), network=build_network(spec))
        with pytest.raises(ModelError, match=r"unet-w16 .*no attention.*general"):
            SectionAttention(section, model)

    @pytest.mark.parametrize("mode", ["add", "conv1x1", "squeeze_excitation", "light_attention"])
    def test_other_connections_are_refused(
        self, mode: str, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        with pytest.raises(ModelError, match="not by attention"):
            SectionAttention(section, make_model(mode=mode))

    def test_section_without_anything_to_see_is_refused(self, make_model: Callable[..., Model]) -> None:
        with pytest.raises(InputError, match="one grey value"):
            SectionAttention(np.full((50, 50), 7, np.uint8), make_model())

    def test_damaged_weights_are_refused(self, make_model: Callable[..., Model], section: np.ndarray) -> None:
        model = make_model()
        with torch.no_grad():
            model.network.unet.classifier.bias.fill_(torch.nan)
        with pytest.raises(ModelError, match="not numbers"):
            SectionAttention(section, model, device="cpu").at(0, 0)

    def test_network_that_fails_gives_a_sentence(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        model = make_model()
        model.network.unet.classifier = torch.nn.Conv2d(99, 4, 1)
        with pytest.raises(DeviceError, match="failed at a tile of 32 x 32 pixels"):
            SectionAttention(section, model, device="cpu").at(0, 0)


class TestPixel:
    def test_strongest_places_are_the_largest_and_apart(self, make_model: Callable[..., Model]) -> None:
        tile = SectionAttention(an_image(64), make_model(tile=64, key_pooling=1), device="cpu").at(9, 9)
        found = tile.pixel(9, 9, strongest=4)
        times = [each.times for each in found.strongest]
        assert len(times) == 4
        assert times == sorted(times, reverse=True)
        assert times[0] == pytest.approx(float(found.map.max()))
        for each in found.strongest:
            assert found.map[each.y, each.x] == pytest.approx(each.times)
            assert each.label_class.value == tile.labels[each.y, each.x]
        for one, other in zip(found.strongest, found.strongest[1:], strict=False):
            assert max(abs(one.y - other.y), abs(one.x - other.x)) > 64 / 16

    def test_class_is_that_of_the_pixel(self, make_model: Callable[..., Model], section: np.ndarray) -> None:
        tile = SectionAttention(section, make_model(key_pooling=4), device="cpu").at(40, 40)
        top, left = (each.start for each in tile.frame.region)
        assert tile.pixel(40, 41).label_class.value == tile.labels[40 - top, 41 - left]

    def test_nearest_pixel_of_a_class_lies_well_within_it(self) -> None:
        labels = np.full((64, 64), 3)
        labels[:, :20] = 0  # index of membrane
        labels[5, 5] = 1
        probabilities = np.broadcast_to(
            np.eye(4, dtype=np.float32)[labels].transpose(2, 0, 1), (2, 4, 64, 64)
        )
        frame = TileFrame(Tile(-4, -4), 64, (60, 60), (60, 60))
        tile = TileAttention(
            frame, EM_CLASSES, 4, torch.zeros(4096, 1), torch.zeros(16, 16, 1), probabilities
        )
        assert tile.nearest_of(2, 40, 40) == (1, 1)
        assert tile.nearest_of(3, 40, 40) is None
        y, x = tile.nearest_of(1, 30, 30)
        assert y == 30
        assert 5 <= x <= 10  # membrane ends at column 15 of the section
        assert tile.nearest_of(4, 30, 40) == (30, 40)
        with pytest.raises(InputError, match="outside of the image"):
            tile.nearest_of(1, 60, 0)


class TestSummary:
    @NETWORKS
    def test_equals_the_plain_formula(self, make_model: Callable[..., Model], spec: dict[str, Any]) -> None:
        model, image = make_model(**spec), an_image()
        tile = SectionAttention(image, model, device="cpu", precision="fp32").at(0, 0)
        found = summary(tile)
        side = spec["key_pooling"]
        matrix, labels = plain_matrix(model, image), tile.labels.ravel()
        grid = -(-32 // side)

        def shown(weights: np.ndarray) -> np.ndarray:
            places = (weights * weights.size).reshape(grid, grid)
            return np.kron(places, np.ones((side, side)))[:32, :32]

        np.testing.assert_allclose(found.received, shown(matrix.mean(axis=0)), atol=1e-3, rtol=1e-3)
        assert sorted(found.class_maps) == np.unique(labels).tolist()
        for value, each in found.class_maps.items():
            np.testing.assert_allclose(
                each, shown(matrix[labels == value].mean(axis=0)), atol=1e-3, rtol=1e-3
            )
        place_of = np.arange(32) // side
        place_of = (place_of[:, None] * grid + place_of).ravel()
        pixels = np.bincount(place_of, minlength=grid * grid)
        for a in np.unique(labels):
            for b in np.unique(labels):
                share = np.bincount(place_of, weights=labels == b, minlength=grid * grid) / pixels
                expected = (matrix[labels == a] @ share).mean() / share.mean()
                assert found.matrix[a - 1, b - 1] == pytest.approx(expected, rel=1e-3)

    def test_absent_class_has_no_numbers(self, make_model: Callable[..., Model]) -> None:
        model = make_model(key_pooling=4)
        with torch.no_grad():
            model.network.unet.classifier.bias[2] = -1e4
        found = summary(SectionAttention(an_image(), model, device="cpu").at(0, 0))
        assert 3 not in found.class_maps
        assert np.isnan(found.matrix[2]).all()
        assert np.isnan(found.matrix[:, 2]).all()
        assert np.isfinite(np.delete(np.delete(found.matrix, 2, 0), 2, 1)).all()

    def test_mirrored_border_does_not_look(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        tile = SectionAttention(section[:20], make_model(key_pooling=1), device="cpu").at(10, 40)
        rows = [tile.pixel(y, x).map for y in range(20) for x in range(*_ends(tile.frame.region[1]))]
        np.testing.assert_allclose(summary(tile).received, np.mean(rows, axis=0), rtol=1e-3)

    def test_events_count_to_the_end_and_closing_stops(self, make_model: Callable[..., Model]) -> None:
        tile = SectionAttention(an_image(128), make_model(tile=128, key_pooling=1), device="cpu").at(0, 0)
        events = tile.summarise()
        first = next(events)
        assert isinstance(first, BlockDone)
        assert (first.done, first.total) == (1, 64)
        assert next(events).done == 2
        events.close()
        with pytest.raises(StopIteration):
            next(events)

    def test_memory_does_not_grow_with_the_matrix(self, exact_tile: TileAttention) -> None:
        events = exact_tile.summarise()
        next(events)
        resident = _resident()
        for _ in range(6):
            assert next(events).total == 1024
        events.close()
        assert _resident() - resident < 100e6


class TestChange:
    def test_counts_and_maps_belong_together(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        tile = SectionAttention(section, make_model(key_pooling=4), device="cpu").at(40, 40)
        change = tile.change()
        moved = change.first != change.second
        assert moved.any()
        assert sum(each.left for each in change.classes) == moved.sum()
        assert sum(each.joined for each in change.classes) == moved.sum()
        assert np.array_equal(change.changed > 0, moved)
        assert ((change.disagreement >= 0) & (change.disagreement <= 1)).all()
        assert change.disagreement[moved].mean() > change.disagreement[~moved].mean()

    def test_ground_truth_is_of_the_whole_section(
        self, make_model: Callable[..., Model], section: np.ndarray
    ) -> None:
        tile = SectionAttention(section, make_model(key_pooling=4), device="cpu").at(40, 40)
        truth = np.zeros(section.shape, np.uint8)
        truth[tile.frame.region] = tile.labels
        change = tile.change(truth)
        moved = int((change.first != change.second).sum())
        assert sum(each.to_right for each in change.classes) == moved
        assert sum(each.to_wrong for each in change.classes) == 0
        with pytest.raises(InputError, match="labels of the same section"):
            tile.change(truth[:-1])


def test_bundled_model_has_16_by_16_places() -> None:
    sample = builtin_section(256)
    tile = SectionAttention(sample.image, load_model("self-w16"), device="cpu").at(100, 100)
    assert tile.row(100, 100).shape == (16, 16)
    found = tile.pixel(100, 100)
    assert np.array_equal(found.map, np.kron(tile.row(100, 100), np.ones((16, 16), np.float32)))
    assert (tile.labels == sample.labels).mean() > 0.9


def test_half_the_bits_show_the_same_places() -> None:
    sample, model = builtin_section(256), load_model("self-w16")
    exact, found = (
        SectionAttention(sample.image, model, device="cpu", precision=each).at(100, 100)
        for each in ("fp32", "bf16")
    )
    assert (found.labels == exact.labels).mean() > 0.99
    for y, x in ((100, 100), (30, 200)):
        difference = np.abs(found.row(y, x) - exact.row(y, x))
        assert 0 < difference.mean() < 0.02  # in times uniform attention


def test_a_border_moves_no_tile() -> None:
    model = load_model("default")
    tissue = builtin_section((300, 320)).image
    bordered = np.zeros((420, 400), np.uint8)
    bordered[60:360, 40:360] = tissue
    plain, within = SectionAttention(tissue, model), SectionAttention(bordered, model)
    expected, found = plain.at(20, 30), within.at(80, 70)
    assert (found.frame.tile.y - 60, found.frame.tile.x - 40) == (
        expected.frame.tile.y,
        expected.frame.tile.x,
    )
    with pytest.raises(InputError, match="no tissue at the pixel"):
        within.at(5, 5)


def _ends(part: slice) -> tuple[int, int]:
    return part.start, part.stop


def _resident() -> int:
    import resource
    from pathlib import Path

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
