"""The public ssTEM data set: Drosophila ventral nerve cord, 20 labelled sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.datasets.dataset import Dataset, check_shapes, load_folder, load_set, read_section
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pooch

SECTIONS = 20
TEST_SECTIONS = (15, 16, 17, 18, 19)
DEMO_SECTION = TEST_SECTIONS[1]
"""To look at: a section that no bundled model has learnt from or was chosen by."""
SECTION_SHAPE = (1024, 1024)
PIXEL_SIZE_NM = 4.6
THICKNESS_NM = 47.5
"""Of a section: the data set says 45 to 50 nm."""
LICENCE = "CC BY-NC-SA 3.0"
CITATION = (
    "Gerhard, Funke, Martel, Cardona, Fetter (2013): Segmented anisotropic ssTEM dataset of neural tissue. "
    "figshare, doi 10.6084/m9.figshare.856713"
)
CACHE_VARIABLE = "NAPARI_FEEDBACK_SEG_CACHE"
TIMEOUT_S = 10
"""A server that is silent for this long is not waited for."""

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


def load_dataset(source: str | Path, *, cells: bool = False) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or Path
        A folder in the layout of the public ssTEM set, or with ``dataset.json``, ``image/`` and
        ``label/``, or with ``images/`` and ``labels/``; or, if there is no such folder, ``"sstem"``:
        the public set, downloaded once, and ``"builtin"``: eight sections made by code.
    cells : bool
        Read cell numbers too, where the set has them.

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
    if is_sstem(folder):
        return load_sstem(folder)
    if (folder / "dataset.json").is_file():
        return load_set(folder, cells=cells)
    return load_folder(folder)


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
        If the data set does not use a value.
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


def is_sstem_cached(sections: Sequence[int] = range(SECTIONS), *, labels: bool = True) -> bool:
    """Whether :func:`fetch_sstem` has nothing to download."""
    import pooch

    store = _store()
    return all(
        (store.abspath / name).is_file()
        and pooch.file_hash(str(store.abspath / name)) == store.registry[name]
        for name in _names(sections, labels)
    )


def fetch_sstem(sections: Sequence[int] = range(SECTIONS), *, labels: bool = True) -> Path:
    """Download sections of the public set, once, each file checked by its sha256.

    Parameters
    ----------
    sections : sequence of int
        Numbers of the sections.
    labels : bool
        Download their labels too.

    Returns
    -------
    Path
        The folder in the user's cache that holds ``stack1``.

    Raises
    ------
    InputError
        If a file cannot be downloaded or saved, or is not what it should be.
    """
    import pooch

    store = _store()
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
    try:
        for name in _names(sections, labels):
            store.fetch(name, downloader=downloader)
    except ValueError as error:
        raise InputError(
            "What was downloaded is not the public ssTEM data set: its checksum differs. "
            "Does this network ask for a login, or was the transfer cut short? Try again."
        ) from error
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno is not None:
            raise InputError(
                f"The public ssTEM data set cannot be saved in '{store.path}' "
                f"({error.strerror or 'it is not writable'}). "
                f"{CACHE_VARIABLE} can name another folder."
            ) from error
        raise InputError(
            f"The public ssTEM data set cannot be downloaded ({type(error).__name__}). "
            "Is this computer on the network?"
        ) from error
    return Path(store.path)


def _store() -> pooch.Pooch:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        pooch.os_cache("napari-feedback-seg") / "sstem", _SOURCE, env=CACHE_VARIABLE, retry_if_failed=1
    )
    store.load_registry(Path(__file__).with_name("sstem_sha256.txt"))
    return store


def _names(sections: Sequence[int], labels: bool) -> Iterator[str]:
    """Yield the names of the files of these sections, as the registry has them."""
    for number in sections:
        yield f"stack1/raw/{number:02d}.tif"
        if labels:
            yield f"stack1/labels/labels{number:08d}.png"


def read_sstem_image(folder: Path, number: int) -> npt.NDArray[np.generic]:
    """Return the image (Y, X) of one section.

    Raises
    ------
    InputError
        If the file is missing or cannot be read.
    """
    return read_section(folder / "stack1" / "raw" / f"{number:02d}.tif")


def read_sstem_section(folder: Path, number: int) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.uint8]]:
    """Return image (Y, X) and class labels (Y, X) uint8 of one section.

    Raises
    ------
    InputError
        If a file is missing, cannot be read or has values that the set does not define.
    """
    path = folder / "stack1" / "labels" / f"labels{number:08d}.png"
    return read_sstem_image(folder, number), merged_to_classes(read_section(path), path)
