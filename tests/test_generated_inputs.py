"""Odd arrays and files, made at random: each is segmented, or refused with a sentence of our own.

A few of each are tried here, always the same. To try many, others each time::

    GENERATED_INPUTS=10000 python -m pytest -o faulthandler_timeout=0 tests/test_generated_inputs.py
"""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_feedback_seg import segment
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import EMImage, open_image, pixel_size
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.networks import NetworkSpec, build_network

MANY = int(os.environ.get("GENERATED_INPUTS", "0"))
SETTINGS = settings(
    max_examples=max(1, MANY // 4) if MANY else 40,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TILE = 32
SIDES = st.one_of(st.integers(1, 5), st.integers(6, 40))
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
STARTS = [b"", b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"\x89HDF\r\n\x1a\n", b"\0\0\0\3"]
ODD_DTYPES = ["?", "c8", "S1", "U1", "O", "M8[s]", "V3"]


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Any:
    """Give this process 4 GB more at most: a damaged header may ask for any amount."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def tiny() -> Model:
    """Return a network that has learnt nothing."""
    torch.manual_seed(0)
    spec = NetworkSpec(kind="unet", width=1, depth=1)
    return Model(ModelCard("tiny", spec, EM_CLASSES, 4.6, TILE), build_network(spec).eval())


@st.composite
def pixels(draw: Any, dtypes: list[str], axes: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Draw grey values: noise, a ramp, one value or extremes, some of them NaN or infinite."""
    ndim = draw(st.sampled_from(axes))
    shape = tuple(draw(SIDES) if axis >= ndim - 2 else draw(st.integers(1, 4)) for axis in range(ndim))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "ramp", "constant", "extremes"]))
    if dtype.kind not in "uif":
        return np.zeros(shape, dtype)
    low, high = (0, 1) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if kind == "noise":
        values = rng.random(shape) * (min(high, 255) - max(low, 0))
    elif kind == "ramp":
        values = np.indices(shape).sum(axis=0) % 100
    else:
        values = np.full(shape, draw(st.integers(0, 100)))
    array = np.asarray(values).astype(dtype)
    if kind == "extremes":
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        least, most = (np.array(each, dtype) for each in (limits.min, limits.max))
        array = np.where(rng.random(shape) < 0.5, least, most)
    if dtype.kind == "f" and draw(st.booleans()):
        share = draw(st.sampled_from([0.01, 0.5, 1.0]))
        array[rng.random(shape) < share] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return array


@st.composite
def odd_arrays(draw: Any) -> tuple[Any, np.ndarray]:
    """Draw an array as a program may hand it over, and the same plainly laid out."""
    plain = draw(
        pixels([*DTYPES, *ODD_DTYPES], (0, 1, 2, 2, 2, 3, 3, 4)) if draw(st.booleans()) else pixels(DTYPES)
    )
    array: Any = plain
    if draw(st.booleans()) and plain.ndim:  # as a part of a larger one, backwards, or in other order
        large = np.zeros([2 * length + 1 for length in plain.shape], plain.dtype)
        place = tuple(slice(1, 2 * length, 2) for length in plain.shape)
        large[place] = plain
        array = large[place]
    if draw(st.booleans()):
        array = np.flip(np.ascontiguousarray(np.flip(array)))
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    if draw(st.booleans()) and plain.dtype.kind in "uif":
        array = array.astype(plain.dtype.newbyteorder(">"))
    array = np.asarray(array)
    wrap = draw(st.sampled_from(["none", "read-only", "list", "dask", "masked", "torch"]))
    if wrap == "read-only":
        array.flags.writeable = False
    elif wrap == "list" and plain.ndim == 3:
        array = list(array)
    elif wrap == "dask" and plain.ndim:
        array = da.from_array(np.ascontiguousarray(plain), chunks=7)
    elif wrap == "masked":
        array = np.ma.masked_array(array, mask=False)
    elif wrap == "torch" and plain.dtype.str[1:] in ("u1", "i2", "i4", "f4", "f8"):
        array = torch.from_numpy(plain.copy())
    return array, plain


@st.composite
def options(draw: Any) -> dict[str, Any]:
    sizes = st.one_of(st.none(), st.floats(1, 20), st.tuples(st.floats(1, 20), st.floats(1, 20)))
    edges = st.one_of(st.none(), st.integers(-3, 50))
    parts = st.one_of(st.none(), st.tuples(st.builds(slice, edges, edges), st.builds(slice, edges, edges)))
    return {
        "device": "cpu",
        "pixel_size_nm": draw(sizes),
        "region": draw(parts),
        "overlap": draw(st.sampled_from([0.0, 0.25, 0.9])),
        "probabilities": draw(st.booleans()),
    }


def check(prediction: Any, shape: tuple[int, ...]) -> None:
    """The labels are of the place that was asked for, and are not empty without a word."""
    event("segmented")  # how many: --hypothesis-show-statistics
    place = tuple(part.stop - part.start for part in prediction.region)
    assert prediction.labels.shape == (*shape[:-2], *place)
    assert prediction.labels.dtype == np.uint8
    assert prediction.labels.max() <= len(EM_CLASSES)
    assert prediction.labels.any() or prediction.messages
    if prediction.probabilities is not None:
        assert np.isfinite(prediction.probabilities).all()


@SETTINGS
@given(odd_arrays(), options())
def test_an_array(tiny: Model, drawn: tuple[Any, np.ndarray], how: dict[str, Any]) -> None:
    array, plain = drawn
    try:
        prediction = segment(array, tiny, **how)
    except InputError:
        return
    check(prediction, plain.shape)
    np.testing.assert_array_equal(prediction.labels, segment(plain, tiny, **how).labels)


def tiff(path: Path, data: np.ndarray, draw: Any) -> None:
    """Write a TIFF in one of the ways that there are."""
    how: dict[str, Any] = {
        "photometric": draw(st.sampled_from(["minisblack", "miniswhite", None])),
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "compression": draw(st.sampled_from([None, "zlib", "lzw", "packbits"])),
        "resolution": draw(st.one_of(st.none(), st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)))),
        "resolutionunit": draw(st.sampled_from([None, "NONE", "INCH", "CENTIMETER"])),
    }
    layout = draw(st.sampled_from(["strips", "rows", "tiles", "volume"]))
    how |= {"rows": {"rowsperstrip": 3}, "tiles": {"tile": (16, 16)}, "volume": {"tile": (2, 16, 16)}}.get(
        layout, {}
    )
    flavour = draw(st.sampled_from(["plain", "bare", "imagej", "ome", "pages"]))
    if draw(st.booleans()):
        code = draw(st.sampled_from([34118, 34680, 34682, 33560, 37706, 50431, 65003, 65009, 270, 282, 296]))
        junk = draw(st.one_of(st.binary(max_size=60), st.just(b"[Scan]\nPixelWidth=-1\nPixelHeight=nan")))
        how["extratags"] = [(code, 1, len(junk), junk, True)] if junk else []
    if flavour == "pages":
        with tifffile.TiffWriter(path, byteorder=how.pop("byteorder"), bigtiff=how.pop("bigtiff")) as writer:
            if min(data.shape[-2:]) > 4 and draw(st.booleans()):
                writer.write(np.zeros((4, 4), np.uint8), subfiletype=1, metadata=None)
            for page in data.reshape(-1, *data.shape[-2:]):
                writer.write(page, contiguous=False, metadata=None, **how)
        return
    how |= {"bare": {"metadata": None}, "imagej": {"imagej": True}, "ome": {"ome": True}}.get(flavour, {})
    if flavour in ("imagej", "ome") and data.ndim == 3:
        how["metadata"] = {"axes": draw(st.sampled_from(["ZYX", "CYX", "TYX"]))}
    tifffile.imwrite(path, data, **how)


def write(path: Path, data: np.ndarray, draw: Any) -> None:
    kind = draw(st.sampled_from(["tiff", "tiff", "tiff", "mrc", "hdf5", "png"]))
    if kind == "tiff":
        tiff(path, data, draw)
    elif kind == "mrc":
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data(data)
            file.voxel_size = draw(st.floats(-10, 1e6))
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            made = file.create_dataset("a/raw", data=data, chunks=draw(st.sampled_from([None, True])))
            made.attrs["element_size_um"] = draw(st.lists(st.floats(), max_size=4))
    else:
        Image.fromarray(data.reshape(-1, *data.shape[-2:])[0]).save(path, format="PNG")


@st.composite
def odd_files(draw: Any) -> tuple[bytes, np.ndarray]:
    """Draw the bytes of a file, and its pixels."""
    data = draw(pixels(DTYPES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tif"
        try:
            write(path, data, draw)
        except (
            ValueError,
            TypeError,
            OverflowError,
            OSError,
            tifffile.OmeXmlError,
        ):  # the library writes no such file
            tifffile.imwrite(path, data, photometric="minisblack")
        return path.read_bytes(), data


def opened(content: bytes, folder: Path) -> EMImage:
    path = folder / "image.tif"
    path.write_bytes(content)
    size = pixel_size(path)
    assert size is None or all(0.01 <= side < 1000 for side in (size.y, size.x))
    image = open_image(path)
    assert image.pixel_size == size
    return image


@SETTINGS
@given(odd_files(), options())
def test_a_file(
    tiny: Model, tmp_path_factory: Any, drawn: tuple[bytes, np.ndarray], how: dict[str, Any]
) -> None:
    content, data = drawn
    with tempfile.TemporaryDirectory() as folder:
        try:
            image = opened(content, Path(folder))
            read = np.stack(list(image.sections))
        except InputError:
            return
        plain = data.reshape(-1, *data.shape[-2:])
        inverted = np.invert(plain) if data.dtype.kind in "ui" else plain
        if image.flavour == "png":
            plain = plain[:1]
        rows, columns = how["region"] or (slice(None), slice(None))
        block = image.sections.block(len(read) - 1, rows, columns)
        np.testing.assert_array_equal(block, read[-1][rows, columns])
        assert read.size == plain.size
        same = read.reshape(plain.shape)
        assert any(np.array_equal(same, each, equal_nan=True) for each in (plain, inverted))
        if not np.array_equal(same, plain, equal_nan=True):
            assert any("inverted" in message for message in image.messages)
        try:
            prediction = segment(image.sections, tiny, **how)
        except InputError:
            return
        check(prediction, image.sections.shape)


@SETTINGS
@given(odd_files(), st.data())
def test_a_damaged_file(tiny: Model, drawn: tuple[bytes, np.ndarray], data: Any) -> None:
    content = bytearray(drawn[0])
    for _ in range(data.draw(st.integers(0, 8))):
        near = data.draw(st.sampled_from([64, 1100, len(content)]))  # the header more often than the pixels
        content[data.draw(st.integers(0, min(near, len(content)) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    with tempfile.TemporaryDirectory() as folder:
        try:
            image = opened(bytes(content), Path(folder))
            for z in range(min(len(image.sections), 5)):
                section = image.sections[z]
                assert section.shape == image.shape[-2:]
                assert section.dtype.newbyteorder("=") == image.dtype.newbyteorder("=")
            if min(image.shape[-2:]) > 3:
                assert image.sections.block(0, slice(1, 3), slice(2, 4)).shape == (2, 2)
            if np.prod(image.shape[-2:]) < 10**6:
                check(segment(image.sections[0], tiny, device="cpu"), image.shape[-2:])
        except InputError:
            return


@SETTINGS
@given(
    st.binary(max_size=600),
    st.sampled_from([b"", b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"\x89HDF\r\n\x1a\n"]),
)
def test_no_file_at_all(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(InputError):
        list(opened(start + content, Path(folder)).sections)
