"""Labelled sections in a folder, what their labels mean, and their folds."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.classes import EM_CLASSES, UNLABELLED, LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import EMImage, images_in, open_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUFFIXES = (".tif", ".tiff", ".png")  # no JPEG: what it loses, labels cannot spare
FOLDS = 5
RARE = 0.5
"""How likely a rare class is, against a frequent one, where a label leaves it open."""


@dataclass(frozen=True)
class Dataset:
    """Sections with labels. A label is a code: the set of classes that the pixel can be.

    In most sets a code is one class. A set in which only mitochondria were labelled has one code for
    mitochondria and one for "anything else", which leaves membrane, synapse and cytoplasm open.

    Attributes
    ----------
    name : str
        What a person reads.
    images : tuple of array
        One (Y, X) image a section, any real dtype.
    labels : tuple of array
        One (Y, X) uint8 image of codes a section; 0 is unlabelled.
    classes : tuple of LabelClass
        The classes of the labels.
    codes : mapping of int to tuple of int, optional
        Code to the values of the classes that it allows. If not given, a code is the value of a class.
    pixel_size_nm : float or None
        Size of a pixel in nm, where it is known.
    test : tuple of int
        Sections that are for reporting only.
    licence, citation : str
        What weights trained on the data must carry.
    cells : tuple of array
        One (Y, X) image of cell numbers a section, 0 where nobody knows; empty if there are none.
    """

    name: str
    images: tuple[npt.NDArray[np.generic], ...]
    labels: tuple[npt.NDArray[np.uint8], ...]
    classes: tuple[LabelClass, ...] = EM_CLASSES
    pixel_size_nm: float | None = None
    test: tuple[int, ...] = ()
    licence: str = ""
    citation: str = ""
    codes: Mapping[int, tuple[int, ...]] | None = None
    cells: tuple[npt.NDArray[np.integer[Any]], ...] = ()

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Which classes a code allows: (256, classes). A code that says nothing allows none."""
        codes = self.codes or {each.value: (each.value,) for each in self.classes}
        table = np.zeros((256, len(self.classes)), bool)
        values = [each.value for each in self.classes]
        for code, allowed in codes.items():
            table[code, [values.index(value) for value in allowed]] = True
        table[table.all(axis=1)] = False
        return table

    @property
    def beliefs(self) -> npt.NDArray[np.float32]:
        """How likely a class is where a code leaves it open: (256, classes), 0 where it cannot be.

        A class that is possible has 1, with two exceptions. Where mitochondria and cytoplasm are both
        open, mitochondria have a half. Otherwise nothing speaks against small dark spots. Where a set
        labels no synapses, its membrane may be one, with a half. Otherwise such a set teaches that there
        are none.
        """
        possible, names = self.possible, [each.name for each in self.classes]
        beliefs = possible.astype(np.float32)
        alone = possible.sum(axis=1) == 1
        if {"mitochondria", "cytoplasm"} <= set(names):
            mitochondria, cytoplasm = names.index("mitochondria"), names.index("cytoplasm")
            beliefs[possible[:, mitochondria] & possible[:, cytoplasm], mitochondria] = RARE
        if {"membrane", "synapse"} <= set(names):
            membrane, synapse = names.index("membrane"), names.index("synapse")
            if not (alone & possible[:, synapse]).any():
                beliefs[alone & possible[:, membrane], synapse] = RARE
        return beliefs

    @property
    def labelled(self) -> tuple[LabelClass, ...]:
        """The classes that have a code of their own, so that they can be learnt and scored."""
        alone = self.possible[self.possible.sum(axis=1) == 1].any(axis=0)
        return tuple(each for each, known in zip(self.classes, alone, strict=True) if known)

    def digest(self) -> str:
        """Return the SHA-256 of all images and labels, in hexadecimal."""
        found = hashlib.sha256()
        for array in (*self.images, *self.labels):
            found.update(f"{array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def fold(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the training and the validation sections of one of five folds.

        Fold 0 validates on the last fifth of the sections that are not for testing, fold 1
        on the fifth before it, and so on; neighbouring sections stay together.

        Raises
        ------
        InputError
            If there is no such fold, or too few sections to hold some back.
        """
        sections = [number for number in range(len(self.images)) if number not in self.test]
        if len(sections) < 2:
            raise InputError(
                f"{self.name} has {len(sections)} section for training and validation; at least 2 are needed."
            )
        parts = np.array_split(np.array(sections), min(FOLDS, len(sections)))
        if not 0 <= index < len(parts):
            raise InputError(f"{self.name} has folds 0 to {len(parts) - 1}; there is no fold {index}.")
        validation = parts[-1 - index].tolist()
        return tuple(number for number in sections if number not in validation), tuple(validation)


def load_set(folder: Path, *, cells: bool = False) -> Dataset:
    """Read a labelled set: ``image/``, ``label/`` and ``dataset.json``, and cell numbers in ``ids/``.

    ``dataset.json`` says ``name``, ``pixel_size_nm``, ``codes`` (label value to a list of class names),
    and, if known, ``licence``, ``citation`` and ``test`` (names of sections that are for reporting only).

    Parameters
    ----------
    folder : Path
        The folder of the set.
    cells : bool
        Read the cell numbers too, where there are any.

    Raises
    ------
    InputError
        If a file is missing or cannot be read, a label has no code, or shapes differ.
    """
    said = _description(folder / "dataset.json")
    codes = _codes(said, folder / "dataset.json")
    images, labels = _files(folder / "image"), _files(folder / "label")
    _check_names(folder, images, labels)
    opened = [_open_section(path) for path in images.values()]
    numbers = _files(folder / "ids") if cells and (folder / "ids").is_dir() else {}
    size = said.get("pixel_size_nm")
    test = set(said.get("test", ()))
    dataset = Dataset(
        str(said.get("name", folder.name)),
        tuple(image.sections[0] for image in opened),
        tuple(_values(labels[name], {UNLABELLED, *codes}) for name in images),
        pixel_size_nm=float(size) if size else _common_size(opened),
        test=tuple(z for z, name in enumerate(images) if name in test),
        licence=str(said.get("licence", "")),
        citation=str(said.get("citation", "")),
        codes=codes,
        cells=tuple(
            _cell_numbers(numbers[name]) if name in numbers else np.zeros(image.sections[0].shape, np.uint16)
            for name, image in zip(images, opened, strict=True)
        )
        if numbers
        else (),
    )
    check_shapes(dataset, folder)
    return dataset


def _description(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(said, dict) or not isinstance(said.get("codes"), dict):
        raise InputError(f'{path} must be a JSON object with "codes": label value to a list of classes.')
    return said


def _codes(said: dict[str, Any], path: Path) -> dict[int, tuple[int, ...]]:
    """Return the codes of a description, without those that allow no class."""
    values = {each.name: each.value for each in EM_CLASSES}
    found: dict[int, tuple[int, ...]] = {}
    for text, names in said["codes"].items():
        if not str(text).isdigit() or int(text) > 255 or not isinstance(names, list):
            raise InputError(
                f"{path}: the code {text!r} must be a number from 0 to 255 with a list of classes."
            )
        if unknown := [name for name in names if name not in values]:
            raise InputError(
                f"{path}: {unknown[0]!r} in code {text} is no class; the classes are {', '.join(values)}."
            )
        if int(text) == UNLABELLED and names:
            raise InputError(f"{path}: code 0 is unlabelled, so its list must be empty.")
        if names:
            found[int(text)] = tuple(sorted(values[name] for name in set(names)))
    if not found:
        raise InputError(f"{path}: no code names a class.")
    return found


def load_folder(folder: Path) -> Dataset:
    """Read ``images/`` and ``labels/``, two folders of TIFF or PNG files of the same names.

    The pixel size is what the images say, if they all say the same. Label values are
    1 membrane, 2 mitochondria, 3 synapse, 4 cytoplasm; 0 is unlabelled.

    Raises
    ------
    InputError
        If a folder, a file or a class is missing, or shapes differ.
    """
    images, labels = _files(folder / "images"), _files(folder / "labels")
    _check_names(folder, images, labels)
    opened = [_open_section(path) for path in images.values()]
    dataset = Dataset(
        folder.name,
        tuple(image.sections[0] for image in opened),
        tuple(_values(labels[name], {UNLABELLED, *(each.value for each in EM_CLASSES)}) for name in images),
        pixel_size_nm=_common_size(opened),
    )
    check_shapes(dataset, folder)
    return dataset


def _common_size(images: Sequence[EMImage]) -> float | None:
    """Return the pixel size that all images have, None if none says it.

    Raises
    ------
    InputError
        If some say it and others do not, or they say different ones.
    """
    sizes = [
        math.sqrt(image.pixel_size.y * image.pixel_size.x) if image.pixel_size else None for image in images
    ]
    for image, size in zip(images, sizes, strict=True):
        if not math.isclose(sizes[0] or 0, size or 0, rel_tol=0.01):
            first, other = (f"{each:g} nm" if each else "none" for each in (sizes[0], size))
            raise InputError(
                f"The pixel sizes of a data set must be the same: '{images[0].path}' says {first}, "
                f"'{image.path}' {other}. Save them with the same size."
            )
    return sizes[0]


def read_section(path: Path) -> npt.NDArray[np.generic]:
    """Return the one (Y, X) image of a file.

    Raises
    ------
    InputError
        If the file cannot be read or is no single grey image.
    """
    return _open_section(path).sections[0]


def _open_section(path: Path, *, labels: bool = False) -> EMImage:
    image = open_image(path, labels=labels)
    if len(image.sections) != 1:
        raise InputError(f"'{path}' must hold one section (Y, X); its shape is {image.shape}.")
    return image


def check_shapes(dataset: Dataset, folder: Path) -> None:
    """Raise InputError unless every label image has the shape of its section."""
    for number, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
        if image.shape != label.shape:
            raise InputError(
                f"{folder}: section {number} is {image.shape}, its labels are {label.shape}; make them equal."
            )


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            f"There is no folder {folder}. A data set has images/ and labels/ with the same names."
        )
    files = images_in(folder, SUFFIXES)
    found = {path.stem: path for path in files}
    if len(found) < len(files):
        raise InputError(f"{folder} holds two files of one name that differ only in their ending.")
    if not found:
        raise InputError(f"{folder} holds no TIFF or PNG file.")
    return found


def _cell_numbers(path: Path) -> npt.NDArray[np.integer[Any]]:
    numbers = _open_section(path, labels=True).sections[0]
    if numbers.dtype.kind not in "ui":
        raise InputError(f"'{path}' must hold cell numbers; it is {numbers.dtype}.")
    return numbers


def _check_names(folder: Path, images: dict[str, Path], labels: dict[str, Path]) -> None:
    if set(images) != set(labels):
        alone = sorted(set(images) ^ set(labels))
        raise InputError(
            f"{folder}: its images and its labels must have the same names; alone: {', '.join(alone[:5])}."
        )


def _values(path: Path, allowed: set[int]) -> npt.NDArray[np.uint8]:
    label = _open_section(path, labels=True).sections[0]
    values = set(np.unique(label).tolist())
    if not values <= allowed:
        odd = ", ".join(str(value) for value in sorted(values - allowed)[:5])
        raise InputError(f"{path} has values that are no class ({odd}); allowed are {sorted(allowed)}.")
    return label.astype(np.uint8)
