"""How well batch norm's statistics tell images that a model knows from others.

    python benchmarks/unlike.py DATA --models general general-unet self-w16 unet-w16 --each 8

DATA holds the folders ``sstem`` (the public ssTEM set; of its labelled sections 10-14 are taken)
and, if they are there, of other labs: ``NAME/image/*.png`` with ``NAME/dataset.json``, whose
``pixel_size_nm`` counts. Clearly foreign are: scikit-image's own pictures, noise, blobs, and the
ssTEM sections inverted or at a third and three times their pixel size. For each kind, the least,
the median and the largest value of `unlikeness` are printed, of two tiles an image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import skimage.data
import tifffile
import torch
from PIL import Image
from scipy import ndimage
from skimage.transform import resize

from napari_feedback_seg import load_model
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.prediction import model_shape
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.tiles import Tile, starts
from napari_feedback_seg.segmentation.unlike import TILES, UNLIKE_FROM, spread, unlikeness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_feedback_seg.models.model import Model

SIDE = 768


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=["self-w16", "unet-w16"])
    parser.add_argument("--each", type=int, default=4, help="images of each other lab")
    parser.add_argument("--tiles", type=int, default=TILES, help="tiles of each image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = [load_model(name) for name in options.models]
    found: dict[str, list[list[float]]] = {}
    for kind, name, image, pixel_size_nm in images(options.data, options.each):
        try:
            values = [measured(model, image, pixel_size_nm, options.tiles) for model in models]
        except InputError:  # one grey value in the most
            continue
        found.setdefault(kind, []).append(values)
        print(kind, name, *(f"{value:.3f}" for value in values), sep="\t", flush=True)
    print("\n| images | number |", " ".join(f"`{name}` |" for name in options.models))
    print("|---" * (2 + len(models)) + "|")
    for kind, values in found.items():
        cells = [
            f"{np.min(each):.2f}, {np.median(each):.2f}, {np.max(each):.2f}"
            f" ({sum(value > UNLIKE_FROM for value in each)})"
            for each in zip(*values, strict=True)
        ]
        print(f"| {kind} | {len(values)} | {' | '.join(cells)} |")


def measured(model: Model, image: np.ndarray, pixel_size_nm: float, count: int) -> float:
    """Return how unlike an image is to what a model learnt from."""
    shape, size = model_shape(image.shape, model.card, pixel_size_nm), model.card.tile
    reader = TileReader(np.ascontiguousarray(image), shape)
    rows, columns = (starts(length, size, 0.25, slice(0, length)) for length in shape)
    tiles = spread([Tile(y, x) for y in rows for x in columns], count)
    value = unlikeness(model, [reader.read(tile, size) for tile in tiles])
    assert value is not None
    return value


def images(data: Path, each: int) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """Yield the kind, the name, the pixels and the pixel size of images."""
    sections = {z: tifffile.imread(data / "sstem" / "stack1" / "raw" / f"{z:02d}.tif") for z in range(10, 15)}
    for z, section in sections.items():
        yield "ssTEM, validation", str(z), section, 4.6
    for z in (10, 12, 14):
        section = sections[z]
        yield "inverted", str(z), 255 - section, 4.6
        yield "3 x too coarse", str(z), section[:1023, :1023].reshape(341, 3, 341, 3).mean(axis=(1, 3)), 4.6
        yield "3 x too fine", str(z), resize(section[:300, :300].astype(float), (900, 900), order=1), 4.6
    random = np.random.default_rng(0)
    yield "noise", "white", random.normal(size=(SIDE, SIDE)), 4.6
    for sigma in (1, 3, 10):
        yield (
            "noise",
            f"smooth, {sigma}",
            ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), sigma),
            4.6,
        )
    spots = np.zeros((SIDE, SIDE))
    spots[random.integers(0, SIDE, 60), random.integers(0, SIDE, 60)] = 1
    for sigma in (6, 12, 25):
        blobs = ndimage.gaussian_filter(spots, sigma)
        blobs = blobs / blobs.max() + random.normal(0, 0.03, spots.shape)
        yield "blobs, as in light microscopy", f"bright, {sigma}", blobs, 4.6
        yield "blobs, as in light microscopy", f"dark, {sigma}", -blobs, 4.6
    for path in sorted(Path(skimage.data.__file__).parent.glob("*.png")):
        picture = np.asarray(Image.open(path).convert("L"), np.float32)
        if min(picture.shape) >= 150:
            yield "pictures of scikit-image", path.stem, picture, 4.6
    for folder in sorted(data.glob("*/dataset.json")):
        size = json.loads(folder.read_text(encoding="utf-8"))["pixel_size_nm"]
        files = sorted((folder.parent / "image").glob("*.png"))
        for path in files[:: max(1, len(files) // each)][:each]:
            yield folder.parent.name, path.stem, np.asarray(Image.open(path)), size


if __name__ == "__main__":
    main()
