from __future__ import annotations

import gc
import tracemalloc
import weakref
from dataclasses import replace

import dask.array
import numpy as np
import pytest
import torch
import zarr

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.networks import UNet
from napari_feedback_seg.segmentation.events import SectionDone, TileDone
from napari_feedback_seg.segmentation.measure import measure
from napari_feedback_seg.segmentation.one_section import BORDER, BURNT_IN, NO_NUMBERS, count_tiles
from napari_feedback_seg.segmentation.predict import (
    SegmentOptions,
    merge_messages,
    segment,
    segment_section,
    segment_stack,
)
from napari_feedback_seg.segmentation.sections import normalise


def drain(events):
    """Return what a generator returns at its end."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


RNG = np.random.default_rng(0)


class TestOneSection:
    def test_one_tile_is_what_the_network_says(self, unet, section):
        import torch

        tile = section[:32, :32]
        with torch.inference_mode():
            expected = unet.network(torch.tensor(normalise(tile))[None, None])[-1].softmax(1)[0].numpy()
        prediction = segment(tile, unet, probabilities=True, precision="fp32", remove_specks=False)
        np.testing.assert_allclose(prediction.probabilities, expected, atol=2e-3)
        np.testing.assert_array_equal(prediction.labels, expected.argmax(axis=0) + 1)
        assert prediction.labels.dtype == np.uint8
        assert prediction.probabilities.dtype == np.float16

    def test_all_classes_come_out(self, model, section):
        """The other tests of this file would see little if the small model saw one class."""
        prediction = segment(section, model, first_round=True)
        assert (np.bincount(prediction.labels.ravel(), minlength=5)[1:] > 100).all()
        assert 0.05 < (prediction.labels != prediction.first_round).mean() < 0.95

    @pytest.mark.parametrize(
        "shape", [(1, 2), (1, 9), (9, 1), (2, 2), (31, 33), (32, 32), (33, 200), (100, 5)]
    )
    def test_any_size(self, unet, shape):
        prediction = segment(RNG.integers(0, 255, shape), unet, probabilities=True, remove_specks=False)
        assert prediction.labels.shape == shape
        assert prediction.probabilities.shape == (4, *shape)
        assert set(np.unique(prediction.labels)) <= {1, 2, 3, 4}
        np.testing.assert_allclose(prediction.probabilities.astype(float).sum(axis=0), 1, atol=2e-3)
        chosen = np.take_along_axis(prediction.probabilities, prediction.labels[None].astype(int) - 1, axis=0)
        np.testing.assert_allclose(chosen[0], prediction.probabilities.max(axis=0), atol=1e-3)

    @pytest.mark.parametrize("overlap", [0, 0.5, 0.75])
    def test_any_overlap(self, unet, section, overlap):
        other = segment(section, unet, overlap=overlap).labels
        assert (other == segment(section, unet).labels).mean() > 0.7

    @pytest.mark.parametrize("dtype", ["u2", "i4", "i8", "u8", "f4", "f8"])
    def test_the_dtype_does_not_matter(self, unet, section, dtype):
        same = segment(section.astype(dtype), unet).labels == segment(section, unet).labels
        assert same.mean() > 0.999

    def test_normalised_over_the_section_and_not_the_tile(self, unet, section):
        """A tile of a dark corner is dark: it differs from the corner segmented alone."""
        shaded = section * np.linspace(0.1, 2, 90)
        whole = segment(shaded, unet, overlap=0).labels
        assert (whole[:, :20] != segment(shaded[:, :20], unet, overlap=0).labels).mean() > 0.2

    @pytest.mark.parametrize(
        "options", [{}, {"pixel_size_nm": 3}, {"pixel_size_nm": 7.3}, {"overlap": 0.5}], ids=str
    )
    @pytest.mark.parametrize("region", [np.s_[20:61, 5:], np.s_[:1, :1], np.s_[-30:, 40:42]], ids=str)
    def test_a_region_is_predicted_as_within_the_section(self, model, section, region, options):
        chosen = {"probabilities": True, "first_round": True, **options}
        whole = segment(section, model, **chosen)
        part = segment(section, model, region=region, **chosen)
        np.testing.assert_allclose(part.probabilities, whole.probabilities[:, *region], atol=2e-3)
        assert (part.labels == whole.labels[region]).mean() > 0.99
        assert part.first_round.shape == part.labels.shape
        assert part.region == tuple(
            slice(*each.indices(n)[:2]) for each, n in zip(region, section.shape, strict=True)
        )

    def test_a_small_region_costs_few_tiles(self, unet):
        options = SegmentOptions(region=np.s_[500:510, 500:510], remove_specks=False)
        assert count_tiles((1000, 1000), unet.card, options) <= 4
        # whatever is within 300 nm may belong to a speck
        seen = replace(options, region=np.s_[500 - 66 : 510 + 66, 500 - 66 : 510 + 66])
        default = replace(options, remove_specks=True)
        assert count_tiles((1000, 1000), unet.card, default) == count_tiles((1000, 1000), unet.card, seen)

    def test_another_pixel_size(self, unet, section):
        """The same tissue, recorded with a third of the pixel size, is segmented the same way."""
        from skimage.transform import resize

        fine = resize(section.astype(np.float32), (225, 270), order=1)
        alone = {"remove_specks": False}
        expected = segment(section, unet, **alone).labels.repeat(3, axis=0).repeat(3, axis=1)
        found = segment(fine, unet, pixel_size_nm=4.6 / 3, probabilities=True, **alone)
        assert found.labels.shape == (225, 270)
        np.testing.assert_allclose(found.probabilities.astype(float).sum(axis=0), 1, atol=2e-3)
        assert (found.labels == expected).mean() > 0.85  # borders between classes move a little
        assert (segment(fine, unet, **alone).labels == expected).mean() < 0.75

    @pytest.mark.parametrize("size", [4.6, 4.62, 4.58])
    def test_nearly_the_same_pixel_size(self, unet, section, size):
        np.testing.assert_array_equal(
            segment(section, unet, pixel_size_nm=size).labels, segment(section, unet).labels
        )

    @pytest.mark.parametrize("size", [0.2, 80])
    def test_an_absurd_pixel_size(self, unet, section, size):
        with pytest.raises(InputError, match=r"more than 16 times away.*--pixel-size, or pixel_size_nm"):
            segment(section, unet, pixel_size_nm=size)

    def test_flips(self, unet, section):
        flips = segment(section[:64, :64], unet, flips=True, overlap=0).labels
        turned = segment(np.rot90(section[:64, :64]), unet, flips=True, overlap=0).labels
        assert (np.rot90(flips) == turned).mean() > 0.999
        assert (flips != segment(section[:64, :64], unet, overlap=0).labels).any()

    def test_labels_are_the_values_of_the_classes(self, unet, section):
        classes = tuple(LabelClass(value, str(value), "#000000") for value in (9, 200, 7, 30))
        other = Model(replace(unet.card, classes=classes), unet.network)
        values = np.array([0, 9, 200, 7, 30])
        found, expected = (segment(section, each, remove_specks=False).labels for each in (other, unet))
        np.testing.assert_array_equal(found, values[expected])

    def test_a_network_of_one_round_has_no_first_round(self, unet, section):
        assert segment(section, unet, first_round=True).first_round is None

    def test_device_and_messages(self, unet, section):
        prediction = segment(section, unet, device="cpu")
        assert prediction.device.startswith("CPU")
        assert prediction.messages == ()

    def test_a_model_by_its_path(self, unet, section, tmp_path):
        path = save_model(unet, tmp_path / "small.safetensors")
        expected = segment(section, unet).labels
        np.testing.assert_array_equal(segment(section, path).labels, expected)
        np.testing.assert_array_equal(segment(section, str(path)).labels, expected)


class TestEvents:
    def test_one_for_each_tile(self, unet, section):
        options = SegmentOptions(batch=4)
        events = list(segment_section(section, unet, options))
        total = count_tiles(section.shape, unet.card, options)
        assert total > 8
        assert events == [TileDone(done + 1, total, 0) for done in range(total)]

    def test_of_a_stack(self, unet, section):
        events = list(segment_stack(np.stack([section, section[::-1]]), unet))
        total = count_tiles(section.shape, unet.card)
        assert [event.section for event in events] == [0] * (total + 1) + [1] * (total + 1)
        assert [isinstance(event, SectionDone) for event in events] == ([False] * total + [True]) * 2

    @pytest.mark.parametrize("stack", [False, True])
    @pytest.mark.parametrize("steps", [0, 1, 5])
    def test_closing_frees_everything(self, unet, section, stack, steps):
        def networks() -> int:
            return sum(type(each) is UNet for each in gc.get_objects())

        gc.collect()
        before = networks()
        image = np.stack([section] * 2) if stack else section.copy()
        alive = weakref.ref(image)
        events = (segment_stack if stack else segment_section)(image, unet)
        del image
        for _ in range(steps):
            next(events)
        assert networks() == before + (steps > 0)
        events.close()
        assert networks() == before
        del events
        assert alive() is None

    def test_bad_input_costs_no_tile(self, unet):
        with pytest.raises(InputError):
            next(segment_section(np.zeros((9, 9), bool), unet))


class Recorded:
    """A lazy stack that knows which sections were asked for."""

    def __init__(self, sections: np.ndarray) -> None:
        self._sections = sections
        self.shape = sections.shape
        self.dtype = sections.dtype
        self.asked: list[int] = []

    def __getitem__(self, z: int) -> np.ndarray:
        self.asked.append(z)
        return self._sections[z]


class TestStack:
    @pytest.fixture
    def stack(self, section):
        return np.stack([section, section[::-1], section[:, ::-1]])

    def check(self, found, stack, model):
        for z, one in enumerate(stack):
            np.testing.assert_array_equal(found.labels[z], segment(one, model).labels)

    def test_section_by_section(self, unet, stack):
        lazy = Recorded(stack)
        for event in segment_stack(lazy, unet):
            assert lazy.asked == list(range(event.section + 1))

    def test_numpy(self, model, stack):
        found = segment(stack, model, probabilities=True, first_round=True)
        self.check(found, stack, model)
        assert found.probabilities.shape == (3, 4, 75, 90)
        # In float16 two classes can be equally probable.
        raw = segment(stack, model, remove_specks=False)
        of_label = np.take_along_axis(found.probabilities, raw.labels[:, None] - 1, axis=1)[:, 0]
        np.testing.assert_array_equal(of_label, found.probabilities.max(axis=1))
        assert found.first_round.shape == (3, 75, 90)

    def test_list(self, unet, stack):
        self.check(segment(list(stack), unet), stack, unet)

    def test_torch(self, unet, stack):
        import torch

        tensor = torch.tensor(stack, dtype=torch.float32, requires_grad=True)
        self.check(segment(tensor, unet), stack, unet)
        with pytest.raises(InputError, match="bfloat16"):
            segment(tensor.to(torch.bfloat16), unet)

    def test_dask(self, unet, stack):
        lazy = dask.array.from_array(stack, chunks=(1, 40, 40))
        self.check(segment(lazy, unet), stack, unet)
        np.testing.assert_array_equal(segment(lazy[1], unet).labels, segment(stack[1], unet).labels)

    def test_zarr(self, unet, stack):
        lazy = zarr.array(stack, chunks=(1, 40, 40))
        self.check(segment(lazy, unet), stack, unet)

    def test_memory_does_not_grow(self, unet):
        def peak(count: int) -> int:
            tracemalloc.start()
            for _ in segment_stack(Recorded(np.broadcast_to(base, (count, *base.shape))), unet):
                pass
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        base = RNG.integers(0, 255, (200, 200), np.uint8)
        peak(1)
        assert peak(6) < peak(2) + base.nbytes

    def test_a_region_of_each(self, unet, stack):
        found = segment(stack, unet, region=np.s_[10:30, 5:9])
        assert found.labels.shape == (3, 20, 4)

    @pytest.mark.parametrize("blank", [0, 255, np.nan])
    def test_a_blank_section(self, unet, stack, blank):
        holed = stack.astype(np.float32)
        holed[1] = blank
        found = segment(holed, unet, probabilities=True)
        assert (found.labels[1] == 0).all()
        assert (found.probabilities[1] == 0).all()
        assert (found.labels[[0, 2]] > 0).all()
        [message] = found.messages
        assert message.startswith("Section 1: The section ")
        assert "labels are 0" in message

    def test_a_bad_section_is_named(self, unet, section):
        with pytest.raises(InputError, match=r"Section 1: .* true and false"):
            segment([section, section > 9], unet)

    def test_the_only_section_is_not_named(self, unet, section):
        with pytest.raises(InputError, match=r"^The image holds only true and false"):
            segment([section > 9], unet)
        [message] = segment(np.zeros((1, 40, 50)), unet).messages
        assert message.startswith("The section ")

    def test_sections_of_different_shapes(self, unet, section):
        with pytest.raises(InputError, match=r"Section 1: it has the shape \(74, 90\)"):
            segment([section, section[:-1]], unet)

    def test_an_image_that_is_replaced_meanwhile(self, unet, stack):
        """Sections of two images are not mixed."""
        sections = list(stack)
        events = segment_stack(sections, unet)
        while not isinstance(next(events), SectionDone):
            pass
        sections[:] = [each[:40] for each in stack]
        with pytest.raises(InputError, match=r"Section 1: .* replaced meanwhile, start again"):
            list(events)

    def test_messages_are_merged(self):
        said = [("all", "some"), ("all",), ("all", "some"), ("all", "one"), ("all", "some", "last")]
        assert merge_messages(said) == (
            "all", "Sections 0, 2 and 4: some", "Section 3: one", "Section 4: last",
        )  # fmt: skip
        assert merge_messages([("a",), ("a",), ()]) == ("Sections 0 to 1: a",)


class TestBadInput:
    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (np.zeros((64, 64, 3), np.uint8), "colour"),
            (np.zeros((64, 64), bool), "true and false"),
            (np.zeros((64, 64), np.complex64), "complex"),
            (np.zeros((2, 2, 64, 64), np.uint8), "4: its shape"),
            (np.zeros((0, 64), np.uint8), "no pixels"),
            (np.full((64, 64), 7, np.uint8), "one grey value"),
            (np.full((1, 1), 7, np.uint8), "one grey value"),
            (np.full((64, 64), np.nan), "no numbers"),
            (np.full((64, 64), np.inf), "no numbers"),
        ],
        ids=["colour", "bool", "complex", "4D", "empty", "constant", "1x1", "nan", "inf"],
    )
    def test_a_sentence(self, unet, image, words):
        with pytest.raises(InputError, match=words):
            segment(image, unet)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("size", [4.6, 9.2])
    def test_holes_are_no_tissue(self, unet, section, value, size):
        holed = section.astype(np.float32)
        holed[5:7, 5:7] = value
        found = segment(holed, unet, pixel_size_nm=size, probabilities=True)
        assert ((found.labels == 0) == ~np.isfinite(holed)).all()
        assert ((found.probabilities == 0).all(axis=0) == ~np.isfinite(holed)).all()
        assert (found.labels[30:] == segment(section, unet, pixel_size_nm=size).labels[30:]).mean() > 0.95
        assert found.messages == (
            "Pixels that are not a number or infinite are no tissue: their labels are 0.",
        )

    def test_inverted_contrast_is_hinted_at(self, unet):
        tissue = builtin_section(256, seed=0).image
        assert segment(tissue, unet).messages == ()
        [message] = segment(255 - tissue, unet).messages
        assert "inverted" in message

    def test_a_model_for_more_channels(self, make_model, section):
        with pytest.raises(ModelError, match="images of 3 channels"):
            segment(section, make_model(in_channels=3, kind="unet"))

    @pytest.mark.parametrize(
        "options",
        [
            {"overlap": 1},
            {"overlap": -0.1},
            {"overlap": np.nan},
            {"pixel_size_nm": 0},
            {"pixel_size_nm": np.inf},
            {"batch": 0},
        ],
        ids=str,
    )
    def test_options_that_make_no_sense(self, options):
        with pytest.raises(ValueError, match="not"):
            SegmentOptions(**options)

    @pytest.mark.parametrize("region", [np.s_[10:10, :], np.s_[100:, :], np.s_[::2, :]], ids=str)
    def test_regions_that_make_no_sense(self, unet, section, region):
        with pytest.raises(InputError, match="region"):
            segment(section, unet, region=region)


def border(kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels are border: a side of 40 %, a thin frame, or what a rotation leaves."""
    rows, columns = np.indices(shape)
    if kind == "side":
        return columns >= 0.6 * shape[1]
    if kind == "frame":
        return np.minimum.reduce([rows, columns, shape[0] - 1 - rows, shape[1] - 1 - columns]) < 3
    y, x = rows - shape[0] / 2, columns - shape[1] / 2
    angle = np.deg2rad(7)
    return (abs(np.cos(angle) * y - np.sin(angle) * x) > shape[0] / 2) | (
        abs(np.sin(angle) * y + np.cos(angle) * x) > shape[1] / 2
    )


@pytest.fixture(scope="module")
def trained():
    return load_model("unet-w16")


@pytest.fixture(scope="module")
def clean():
    return builtin_section(320, seed=0)


@pytest.fixture(scope="module")
def expected(clean, trained):
    return segment(clean.image, trained).labels


class TestBorder:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [("side", 0), ("side", 255), ("side", np.nan), ("frame", 130), ("turned", 0), ("turned", 130)],
        ids=str,
    )
    def test_is_0_and_changes_nothing_inside(self, trained, clean, expected, kind, value):
        outside = border(kind, clean.image.shape)
        image = clean.image.astype(np.float32)
        image[outside] = value
        found = segment(image, trained, probabilities=True)
        assert (found.labels[outside] == 0).all()
        assert (found.probabilities[:, outside] == 0).all()
        inside = ~outside & (found.labels > 0)
        assert inside.sum() > 0.999 * (~outside).sum()
        assert (found.labels == expected)[inside].mean() > 0.96
        [message] = found.messages
        assert "no tissue: " in message
        assert "labels are 0" in message

    @pytest.mark.parametrize("value", [-1, 300, np.nan])
    @pytest.mark.parametrize("region", [None, np.s_[50:, 30:200]], ids=str)
    def test_a_padded_section_gets_the_labels_of_the_section(self, model, clean, value, region):
        """Exactly, with any model: what is beside the tissue moves no tile."""
        image = np.full((500, 410), value, np.float32)
        image[70:390, 33:353] = clean.image
        found = segment(image, model, first_round=True, region=region)
        expected = segment(clean.image, model, first_round=True)
        for name in ("labels", "first_round"):
            whole = np.zeros(image.shape, np.uint8)
            whole[70:390, 33:353] = getattr(expected, name)
            np.testing.assert_array_equal(getattr(found, name), whole[region or ...])
        assert len(found.messages) == 1
        beside = segment(image, model, region=np.s_[:20, :20])
        assert not beside.labels.any()
        assert len(beside.messages) == 1

    def test_beside_no_numbers_a_bar_is_said_too(self, model, clean):
        image = np.full((420, 400), np.nan, np.float32)
        image[:, 40:360] = 0
        image[:320, 40:360] = clean.image
        assert segment(image, model).messages == (NO_NUMBERS, BORDER)
        assert segment(image, model, region=np.s_[:300, :200]).messages == (NO_NUMBERS,)
        assert segment(image, model, region=np.s_[200:, 50:350]).messages == (BORDER,)

    def test_at_another_pixel_size_and_of_a_region(self, trained, clean):
        outside = border("turned", clean.image.shape)
        image = np.where(outside, 255, clean.image)
        found = segment(image, trained, pixel_size_nm=7.3)
        assert (found.labels[outside] == 0).all()
        assert (found.labels[~outside] > 0).mean() > 0.999
        region = np.s_[:90, 20:]
        part = segment(image, trained, pixel_size_nm=7.3, region=region)
        assert (part.labels == found.labels[region]).mean() > 0.999
        assert segment(image, trained, region=np.s_[150:170, 150:170]).messages == ()

    def test_tiles_without_tissue_cost_nothing(self, unet, section):
        image = np.zeros((75, 900), np.uint8)
        image[:, :90] = section
        seen = []
        unet_network = unet.network
        handle = unet_network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
        copied = Model(unet.card, unet_network)
        segment(image, copied)
        handle.remove()
        assert 0 < sum(seen) < count_tiles(image.shape, unet.card) / 4

    def test_counts_in_no_measure(self, trained, clean):
        image = clean.image.copy()
        image[:, :160] = 0
        labels = segment(image, trained).labels
        rows = drain(measure(labels, trained.card.classes)).rows
        assert rows[0].segmented == pytest.approx(320 * 160, rel=1e-3)


def test_the_threads_of_the_processor_are_said(model, section):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert segment(section, model).device == "CPU (3 threads)"
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("bits", "size", "said"), [(12, 4.6, BURNT_IN), (12, 6, BURNT_IN), (8, 4.6, BORDER), (8, 6, BORDER)]
)
def test_a_white_bar_changes_nothing(trained, clean, expected, bits, size, said):
    """Of a value that no tissue has (12 bits in 16), and of one that it has (8 bits)."""
    image = clean.image.astype(np.uint16) << (bits - 8)
    image[280:300, 40:143] = 65535 if bits == 12 else 255  # 2 % of the pixels
    found = segment(image, trained, pixel_size_nm=size)
    if size != 4.6:
        expected = segment(clean.image, trained, pixel_size_nm=size).labels
    away = np.ones(image.shape, bool)
    away[270:310, 30:153] = False
    assert (found.labels == expected)[away].mean() > 0.98
    assert found.messages == (said,)
    assert not found.labels[280:300, 40:143].any()
    assert np.count_nonzero(found.labels == 0) == 20 * 103


@pytest.mark.parametrize("options", [{}, {"probabilities": True, "pixel_size_nm": 3.5}], ids=str)
def test_a_large_section_takes_little_memory(make_model, monkeypatch, options):
    """Not even a float16 copy of the section is held, let alone one for each class."""
    for module in ("sections", "reader"):
        monkeypatch.setattr(f"napari_feedback_seg.segmentation.{module}.MAX_SAMPLE", 500_000)
    model = make_model(tile=128, kind="unet", width=2, depth=1)
    large = RNG.integers(0, 255, (8000, 1500), np.uint8)
    segment(large[:100], model, **options)
    tracemalloc.start()
    prediction = segment(large, model, overlap=0, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    outputs = prediction.labels.nbytes + (
        prediction.probabilities.nbytes if options.get("probabilities") else 0
    )
    assert peak < outputs + 2 * large.size


@pytest.mark.parametrize("name", ["self-w16", "unet-w16"])
def test_half_the_bits_change_less_than_a_label_in_a_thousand(name):
    section, model = builtin_section(512).image, load_model(name)
    exact, found = (segment(section, model, device="cpu", precision=each).labels for each in ("fp32", "bf16"))
    assert 0.999 <= (found == exact).mean() < 1
