"""A synthetic section of neural tissue, made by code alone, whose ground truth is known.

It imitates serial-section transmission EM of the *Drosophila* ventral nerve cord (Gerhard et
al. 2013) at 4.6 nm per pixel, so that a network trained on that set segments it too. Sizes,
thicknesses, grey values and fractions were measured on those sections and stand below as
numbers; lengths are in pixels, grey values in 0 to 255. No pixel of them is stored here.

The order is that of the tissue: cells grow until they touch, glia runs between them, synapses
and mitochondria find their places; then each structure is painted, and the microscope blurs
the section and adds its noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage
from skimage import draw

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]
    Mask = NDArray[np.bool_]
    Cells = NDArray[np.int32]
    Labels = NDArray[np.uint8]
    Window = tuple[slice, slice]

PIXEL_SIZE_NM = 4.6
MEMBRANE, MITOCHONDRIA, SYNAPSE, CYTOPLASM = (label_class.value for label_class in EM_CLASSES)
LARGEST_SIDE = 4096
"""A section of this side takes about a minute and 2 GB."""

MARGIN = 48
"""Tissue is made this far beyond the section, so that structures cross its borders."""
SMALLEST_TISSUE = 256
"""Side of the smallest piece of tissue; a smaller section is cut out of it."""


@dataclass(frozen=True)
class BuiltinSection:
    """A synthetic section and its ground truth.

    Parameters
    ----------
    image : ndarray of uint8, (Y, X)
        The section: bright cytoplasm, dark membranes.
    labels : ndarray of uint8, (Y, X)
        1 membrane (glia too), 2 mitochondria, 3 synapse, 4 cytoplasm; no pixel is unlabelled.
    pixel_size_nm : float
        Side of a pixel.
    """

    image: NDArray[np.uint8]
    labels: Labels
    pixel_size_nm: float = PIXEL_SIZE_NM


def builtin_section(size: int | tuple[int, int] = 1024, seed: int = 0) -> BuiltinSection:
    """Make a section that looks like serial-section transmission EM of neural tissue.

    Parameters
    ----------
    size : int or (int, int)
        Side of a square section, or (Y, X), in pixels of 4.6 nm.
    seed : int
        The same seed gives the same tissue, another one other tissue.

    Returns
    -------
    BuiltinSection
        Image and labels, both uint8 (Y, X).

    Raises
    ------
    InputError
        If the size is not one or two whole numbers from 1 to 4096, or the seed is negative.
    """
    height, width = _checked_size(size)
    if seed < 0:
        raise InputError(f"The seed of the built-in section must be 0 or more, not {seed}.")
    rng = np.random.default_rng(seed)
    shape = (max(height + 2 * MARGIN, SMALLEST_TISSUE), max(width + 2 * MARGIN, SMALLEST_TISSUE))

    cells = _grow_cells(rng, shape)
    synapses, terminals = _place_synapses(rng, cells)
    mitochondria = _place_mitochondria(rng, cells, synapses)
    labels = np.where(cells > 0, CYTOPLASM, MEMBRANE).astype(np.uint8)
    labels[mitochondria] = MITOCHONDRIA
    labels[synapses] = SYNAPSE

    grey = _paint_cytoplasm(rng, cells, terminals, labels == CYTOPLASM)
    grey = _paint_membranes(rng, grey, cells == 0)
    grey = _paint_mitochondria(rng, grey, mitochondria)
    grey = _paint_synapses(rng, grey, synapses)
    image = _expose(rng, grey)

    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    window = np.s_[top : top + height, left : left + width]
    return BuiltinSection(image[window].copy(), labels[window].copy())


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (Y, X), or say what is wrong with the size."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(side, int | np.integer) and 1 <= side <= LARGEST_SIDE for side in sides)
    if len(sides) != 2 or not whole:
        raise InputError(
            f"The built-in section cannot have the size {size!r}. "
            f"Give one whole number, or (Y, X), from 1 to {LARGEST_SIDE} pixels."
        )
    return int(sides[0]), int(sides[1])


# Where things are ------------------------------------------------------------------------------


def _grow_cells(rng: Generator, shape: tuple[int, int]) -> Cells:
    """Return the number of the neurite that each pixel's inside belongs to; 0 is membrane or glia."""
    noise = partial(_noise, rng, shape)
    cores = _scatter_cores(rng, shape)
    nearest = ndimage.distance_transform_edt(cores == 0, return_distances=False, return_indices=True)
    cells = cores[nearest[0], nearest[1]]
    # A wobble of the whole plane makes lobes of straight borders.
    wobble = [11 * noise(36) + 5 * noise(15) + 1.3 * noise(6) for _ in shape]
    places = np.indices(shape, dtype=np.float32) + np.stack(wobble)
    cells = ndimage.map_coordinates(cells, places, order=0, mode="nearest")

    half_membrane = 1.4 + 0.9 * np.clip(noise(30), -0.2, 3)
    # Glia runs through the tissue in meandering sheets, and wraps some of the neurites.
    sheets = 13 * np.exp(-((noise(75) / 0.12) ** 2))
    wraps = (rng.random(cores.max() + 1) < 0.1)[cells] * np.clip(3 + 3 * noise(40), 0, 8)
    # Shrink a cell by more than its membrane, then let it grow back: its corners become round,
    # and what was too small for that becomes glia.
    rounding = 4.6
    from_border = ndimage.distance_transform_edt(ndimage.grey_dilation(cells, 3) == cells)
    hearts = from_border > half_membrane + sheets + wraps + rounding
    inside = ndimage.distance_transform_edt(~hearts) <= rounding
    return np.where(inside, cells, 0).astype(np.int32)


def _scatter_cores(rng: Generator, shape: tuple[int, int]) -> Cells:
    """Return ellipses that hardly touch, numbered from 1: large profiles, small ones in the gaps."""
    cores = np.zeros(shape, np.int32)
    areas = rng.lognormal(np.log(1000), 1.35, size=cores.size // 1500).clip(200, 45_000)
    number = 0
    for area in np.sort(areas)[::-1]:
        for _ in range(12):
            radius, stretch = np.sqrt(area / np.pi), np.exp(abs(rng.normal(0, 0.5)))
            (y, x), turn = rng.uniform(0, shape), rng.uniform(-np.pi, np.pi)
            pixels = draw.ellipse(y, x, radius * stretch, radius / stretch, shape=shape, rotation=turn)
            free = cores[pixels] == 0
            if free.mean() > 0.9:
                number += 1
                cores[pixels] = np.where(free, number, cores[pixels])
                break
    return cores


def _place_synapses(rng: Generator, cells: Cells) -> tuple[Mask, Plane]:
    """Return the synapses, and how near a pixel of a terminal is to its release site, 0 to 1."""
    synapses, terminals = np.zeros(cells.shape, bool), np.zeros(cells.shape, np.float32)
    areas = np.bincount(cells.ravel())
    missing = 0.0056 * cells.size
    border = (cells > 0) & ndimage.binary_dilation(cells == 0)
    for y, x in rng.permutation(np.argwhere(border))[: cells.size // 50]:
        if missing <= 0:
            break
        window, south, east = _around(cells.shape, y, x, 100)
        distance = np.hypot(south, east)
        partners = np.unique(cells[window][distance < 14])
        # A terminal is large and releases onto several neurites; its sites keep apart.
        if areas[cells[y, x]] < 2500 or len(partners) < 4 or synapses[window][distance < 50].any():
            continue
        terminal = cells[window] == cells[y, x]
        site = _release_site(rng, terminal, south, east)
        synapses[window] |= site
        missing -= site.sum()
        terminals[window] = np.maximum(terminals[window], np.exp(-distance / 60) * terminal)
    return synapses, terminals


def _release_site(rng: Generator, terminal: Mask, south: Plane, east: Plane) -> Mask:
    """Return a synapse at the place (0, 0): a thick stretch of membrane, and a T-bar on it inside."""
    depth = ndimage.gaussian_filter(_depth(terminal), 2)
    here = tuple(np.argwhere((south == 0) & (east == 0))[0])
    slope = np.array([change[here] for change in np.gradient(depth)])
    slope /= np.hypot(*slope) + 1e-6
    along, across = east * slope[0] - south * slope[1], south * slope[0] + east * slope[1]
    length = rng.uniform(6, 22)
    from_bar = abs(along - rng.uniform(-0.6, 0.6) * length)
    density = (abs(along) < length) & (depth > -rng.uniform(4, 8)) & (depth < rng.uniform(4, 7))
    pedestal = (from_bar < 5) & (depth > -4) & (depth < 12)
    table = (from_bar < 8) & (abs(depth - 11) < 3)
    shape = (density | pedestal | table) & (abs(across) < 18)
    parts, _ = ndimage.label(ndimage.gaussian_filter(shape.astype(np.float32), 1.8) > 0.5)
    return np.asarray((parts > 0) & (parts == parts[here]))


def _place_mitochondria(rng: Generator, cells: Cells, synapses: Mask) -> Mask:
    """Return the mitochondria: bent ellipses inside the neurites that have room for them."""
    mitochondria = np.zeros(cells.shape, bool)
    missing = 0.054 * cells.size
    room = ndimage.distance_transform_edt((cells > 0) & ~synapses)
    bend = 0.2 * _noise(rng, cells.shape, 11)
    radii = rng.lognormal(np.log(24), 0.4, size=cells.size // 20_000).clip(9, 50)
    for short in radii:
        if missing <= 0:
            break
        long, turn = short * min(1 + rng.exponential(0.4), 2.5), rng.uniform(0, np.pi)
        centres = rng.integers(0, cells.shape, (400, 2))
        for y, x in centres[room[tuple(centres.T)] > 0.8 * short + 4][:10]:
            window, south, east = _around(cells.shape, y, x, int(1.5 * long))
            along = abs(east * np.cos(turn) + south * np.sin(turn)) / long
            across = abs(south * np.cos(turn) - east * np.sin(turn)) / short
            new = (along**2.3 + across**2.3 + bend[window] < 1) & (room[window] > 4)
            new &= cells[window] == cells[y, x]
            if not (ndimage.binary_dilation(new, iterations=3) & mitochondria[window]).any():
                mitochondria[window] |= new
                missing -= new.sum()
                break
    return mitochondria


# What they look like ---------------------------------------------------------------------------


def _paint_cytoplasm(rng: Generator, cells: Cells, terminals: Plane, cytoplasm: Mask) -> Plane:
    """Return the grey of the neurites' inside: tone, clouds, specks, strands and vesicles."""
    noise = partial(_noise, rng, cells.shape)
    # Crowded cytoplasm is dark and grainy, sparse cytoplasm bright and smooth.
    crowd = 0.9 + 0.25 * noise(34) + rng.normal(0, 0.15, cells.max() + 1)[cells]
    crowd = (np.clip(crowd, 0.2, 1.5) + 0.5 * terminals).astype(np.float32)
    tone = 178 - 3 * crowd + rng.normal(0, 5, cells.max() + 1)[cells]
    clouds = 8 * noise(25) + 9 * noise(11) + 8 * noise(5)
    specks = np.maximum(noise(1) + 0.6 * noise(5) - 0.2, 0)
    strands = np.exp(-((noise(4) / 0.15) ** 2)) * np.clip(noise(9), 0, 1)
    stuff = 50 * specks + 50 * strands + _vesicles(rng, crowd, terminals, cytoplasm)
    return np.asarray(tone + clouds - 130 * np.tanh(crowd * stuff / 130), np.float32)


def _vesicles(rng: Generator, crowd: Plane, terminals: Plane, cytoplasm: Mask) -> Plane:
    """Return how dark microtubules and vesicles are: small rings, in crowds at the release sites."""
    darkness = np.zeros_like(crowd)
    room = ndimage.distance_transform_edt(cytoplasm)
    chance = np.where(room > 4, 0.0045 * crowd + 0.012 * terminals**2, 0)
    for y, x in np.argwhere(rng.random(crowd.shape) < chance):
        window, south, east = _around(crowd.shape, y, x, 9)
        squeeze, skew = rng.uniform(1, 1.5), rng.uniform(-0.4, 0.4)
        distance = np.hypot(south / squeeze + skew * east, east)
        if room[y, x] > 9 and rng.random() < 0.005:
            darkness[window] += 200 / (1 + np.exp((distance - 4.5) / 0.6))  # a dense core
        else:
            ring = np.exp(-(((distance - rng.triangular(0, 0.5, 4)) / 1.1) ** 2))
            darkness[window] += rng.uniform(25, 95) * ring
    return darkness


def _paint_membranes(rng: Generator, grey: Plane, membrane: Mask) -> Plane:
    """Return the grey with dark lines on all membranes, shades where they lie oblique, and glia."""
    noise = partial(_noise, rng, grey.shape)
    depth = _depth(membrane) + 0.7 * noise(6)
    oblique = np.clip(noise(20) - 0.7, 0, 1.5)
    outside = np.maximum(2.1 - depth, 0)
    line = np.exp(-((outside / 2.3) ** 2)) * np.clip(0.95 + 0.1 * noise(12) - 0.3 * oblique, 0, 1)
    shade = 70 * oblique * np.exp(-outside / 8)
    grain = 10 * noise(9) + 9 * noise(25) - 26 * np.maximum(noise(1.4), -0.5)
    within_glia = np.interp(depth, [3, 8], [0, 1])
    dark = 33 + within_glia * (43 + grain)
    return np.asarray((grey - shade) * (1 - line) + dark * line, np.float32)


def _paint_mitochondria(rng: Generator, grey: Plane, mitochondria: Mask) -> Plane:
    """Return the grey with mitochondria: a dark envelope, a grainy matrix, bright cristae across it."""
    noise = partial(_noise, rng, grey.shape)
    depth = _depth(mitochondria) + 0.7 * noise(4)
    numbers, count = ndimage.label(mitochondria)
    turn, period = rng.uniform(0, np.pi, count + 1)[numbers], rng.uniform(7, 11, count + 1)[numbers]
    rows, columns = np.indices(grey.shape, dtype=np.float32)
    phase = (rows * np.sin(turn) + columns * np.cos(turn)) / period + 0.35 * noise(10)
    waves = np.cos(2 * np.pi * phase) * np.clip(0.6 + 0.7 * noise(7), 0, 1.6)
    cristae = np.where(waves > 0, 36 * waves**2, 22 * waves) * (depth > 3)
    grain = 8 * noise(5) - 24 * np.maximum(noise(1.4), -0.7)
    envelope = 28 * np.exp(-(((depth - 3) / 2) ** 2))
    inside = 93 + rng.normal(0, 10, count + 1)[numbers] + cristae + grain - envelope
    cover = np.interp(depth, [-1.5, 1.5], [0, 1])
    return np.asarray(grey * (1 - cover) + inside * cover, np.float32)


def _paint_synapses(rng: Generator, grey: Plane, synapses: Mask) -> Plane:
    """Return the grey with synapses: almost black, with a haze about them."""
    noise = partial(_noise, rng, grey.shape)
    haze = np.interp(_depth(synapses), [-20, -8, -3, 0, 4], [0, 0.12, 0.3, 0.55, 0.78])
    ragged = 1 + 0.25 * noise(2)
    return np.asarray(grey * (1 - np.minimum(haze * ragged, 0.95)), np.float32)


def _expose(rng: Generator, grey: Plane) -> NDArray[np.uint8]:
    """Return the section as the camera records it: unevenly stained, blurred, noisy, 8 bit."""
    noise = partial(_noise, rng, grey.shape)
    stained = grey + 4 * noise(120)
    blurred = ndimage.gaussian_filter(stained, 0.6)
    # A little under focus, as microscopists like it: edges stand out.
    crisp = blurred + 0.6 * (blurred - ndimage.gaussian_filter(blurred, 1.5))
    noisy = 1.04 * crisp - 4 + 11 * noise(0.58)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


# What all of them use --------------------------------------------------------------------------


def _noise(rng: Generator, shape: tuple[int, ...], grain: float) -> Plane:
    """Return smooth random numbers (Y, X), mean 0, variance 1; `grain` is the sigma of their blur."""
    rows, columns = (fft.next_fast_len(side, real=True) for side in shape)
    spectrum = fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    smooth = fft.irfft2(ndimage.fourier_gaussian(spectrum, grain, n=columns), s=(rows, columns))
    return np.asarray(2 * np.sqrt(np.pi) * grain * smooth[: shape[0], : shape[1]], np.float32)


def _depth(mask: Mask) -> Plane:
    """Return the distance to the mask's border (Y, X): above 0 inside, below 0 outside."""
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    return np.asarray(inside - outside - np.where(mask, 0.5, -0.5), np.float32)


def _around(shape: tuple[int, ...], y: int, x: int, reach: int) -> tuple[Window, Plane, Plane]:
    """Return the window about a place, and how far south and east of it each of its pixels lies."""
    window = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    south = np.arange(shape[0], dtype=np.float32)[window[0], None] - y
    east = np.arange(shape[1], dtype=np.float32)[None, window[1]] - x
    south, east = np.broadcast_arrays(south, east)
    return window, south, east
