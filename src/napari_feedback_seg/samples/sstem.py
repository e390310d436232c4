"""The public ssTEM data set: Drosophila ventral nerve cord, 20 labelled sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.samples.builtin import builtin_section
from napari_feedback_seg.samples.dataset import Dataset, check_shapes, load_folder, read_section

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = 20
TEST_SECTIONS = (15, 16, 17, 18, 19)
PIXEL_SIZE_NM = 4.6
LICENCE = "CC BY-NC-SA 3.0"
CITATION = (
    "Gerhard, Funke, Martel, Cardona, Fetter (2013): Segmented anisotropic ssTEM dataset of neural tissue. "
    "figshare, doi 10.6084/m9.figshare.856713"
)

_SOURCE = (
    "https://raw.githubusercontent.com/unidesigner/groundtruth-drosophila-vnc/"
    "68c1639eb3bc5eb2834e8f130ec7821e0c82439d/"
)
_MERGED_VALUES = {
    1: (0, 32, 64, 96, 128, 159),  # membrane by orientation, junctions, glia / extracellular space
    2: (191,),
    3: (223,),
    4: (255,),
}


def is_sstem(folder: Path) -> bool:
    """Whether a folder is laid out as the public data set."""
    return (folder / "stack1" / "raw").is_dir() and (folder / "stack1" / "labels").is_dir()


def load_sstem(folder: Path) -> Dataset:
    """Read the 20 labelled sections.

    Parameters
    ----------
    folder : Path
        The folder that holds ``stack1``.

    Raises
    ------
    InputError
        If a file is missing, cannot be read or has values that the set does not define.
    """
    images, labels = zip(*(read_sstem_section(folder, number) for number in range(SECTIONS)), strict=True)
    dataset = Dataset(
        "ssTEM, Drosophila VNC",
        images,
        labels,
        pixel_size_nm=PIXEL_SIZE_NM,
        test=TEST_SECTIONS,
        licence=LICENCE,
        citation=CITATION,
    )
    check_shapes(dataset, folder)
    return dataset


def load_dataset(source: str | Path) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or Path
        A folder in the layout of the public ssTEM set, or with ``images/`` and ``labels/``;
        or, if there is no such folder, ``"sstem"``: the public set, downloaded once, and
        ``"builtin"``: eight sections made by code.

    Raises
    ------
    InputError
        If the folder is neither, or the download fails.
    """
    folder = Path(source)
    if str(source) == "sstem" and not folder.exists():
        folder = fetch_sstem()
    if str(source) == "builtin" and not folder.exists():
        return builtin_dataset()
    return load_sstem(folder) if is_sstem(folder) else load_folder(folder)


def builtin_dataset(count: int = 8) -> Dataset:
    """Return sections made by code, seeds 0 to ``count - 1``."""
    made = [builtin_section(seed=seed) for seed in range(count)]
    return Dataset(
        "built-in EM-like sections",
        tuple(each.image for each in made),
        tuple(each.labels for each in made),
        pixel_size_nm=made[0].pixel_size_nm,
    )


def merged_to_classes(merged: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
    """Return the four classes of the paper for the merged labels of the data set.

    Glia and extracellular space count as membrane, as in the binary masks.

    Raises
    ------
    InputError
        If a value is none of the data set's.
    """
    table = np.zeros(256, np.uint8)
    for value, sources in _MERGED_VALUES.items():
        table[list(sources)] = value
    if merged.dtype != np.uint8:
        raise InputError(f"{path} must be an 8-bit label image; it is {merged.dtype}.")
    classes: npt.NDArray[np.uint8] = table[merged]
    if not classes.all():
        odd = sorted(set(merged[classes == 0].tolist()))
        raise InputError(f"{path} has values that the ssTEM labels do not define: {odd[:5]}.")
    return classes


def fetch_sstem(sections: Sequence[int] = range(SECTIONS)) -> Path:
    """Download sections of the public set, once, each file checked by its sha256.

    Returns
    -------
    Path
        The folder in the user's cache that holds ``stack1``.

    Raises
    ------
    InputError
        If a file cannot be downloaded or is not what it should be.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        pooch.os_cache("napari-feedback-seg") / "sstem",
        _SOURCE,
        env="NAPARI_FEEDBACK_SEG_CACHE",
        retry_if_failed=1,
    )
    store.load_registry(Path(__file__).with_name("sstem_sha256.txt"))
    try:
        for number in sections:
            store.fetch(f"stack1/raw/{number:02d}.tif")
            store.fetch(f"stack1/labels/labels{number:08d}.png")
    except (OSError, ValueError) as error:
        raise InputError(
            f"The public ssTEM data set cannot be downloaded ({type(error).__name__}). "
            "Is this computer on the network?"
        ) from error
    return Path(store.path)


def read_sstem_section(folder: Path, number: int) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.uint8]]:
    """Return image (Y, X) and class labels (Y, X) uint8 of one section.

    Raises
    ------
    InputError
        If a file is missing, cannot be read or has values that the set does not define.
    """
    path = folder / "stack1" / "labels" / f"labels{number:08d}.png"
    return (
        read_section(folder / "stack1" / "raw" / f"{number:02d}.tif"),
        merged_to_classes(read_section(path), path),
    )
