"""Write a result to a folder, with all that it takes to make it or to open it again."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.io import (
    is_device,
    label_writer,
    new_folder,
    open_image,
    probability_writer,
    read_pages,
    replacing,
)
from napari_feedback_seg.segmentation.command_line import command_lines
from napari_feedback_seg.segmentation.measure import Meter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence

RUN_SUFFIX = "-run.json"
"""What the name of the record ends with; opening that file opens the result."""

EDITS_SUFFIX = "-edits.json"
"""What the name of a file of edits ends with."""

FORMAT = "napari-feedback-seg run"
FORMAT_VERSION = 1
_CARD = "name description data spec tile pixel_size_nm parent licence citation version".split()
_LONGEST_NAME = 50


@dataclass(frozen=True)
class Result:
    """A result, as its layers hold it.

    Attributes
    ----------
    labels : array-like
        (Y, X) or (Z, Y, X) uint8; a lazy stack is read section by section.
    record : mapping
        What made it, as plain JSON: ``image`` (its name), ``classes``, ``model``,
        ``model_file``, ``model_sha256``, ``settings``, ``pixel_size_nm``, ``runs``.
    layers : mapping
        What the layers look like and where they lie, as plain JSON: ``labels``, a list
        ``probabilities`` in the order of the probabilities below, ``corrections`` if there are any, and
        ``image`` if it is there, with its ``shape`` and its ``reader``.
    probabilities : mapping
        Arrays of the labels' shape under the names of their classes.
    corrections : array-like, optional
        Of the labels' shape: the class that a person gave to a pixel, 0 for none.
    pixel_size_nm : (float, float), optional
        Height and width of a pixel.
    spacing_nm : float, optional
        Distance of the sections of a stack.
    image_path : str, optional
        The file that the image was opened from.
    strokes : str
        What tells the strokes that were learnt from others, if any were.
    save_strokes : callable, optional
        Writes what was learnt of them to a file.
    objects : sequence of mapping
        How objects of it were found, as plain JSON, in that order: ``what``, ``options``,
        ``from_probabilities``, ``in_cells`` and ``near``, the classes to which distances are measured.
    save_objects : mapping
        What writes the objects to files, by the ends of their names, such as ``mitochondria.tif``.
    """

    labels: Any
    record: Mapping[str, Any]
    layers: Mapping[str, Any]
    probabilities: Mapping[str, Any] = field(default_factory=dict)
    corrections: Any = None
    pixel_size_nm: tuple[float, float] | None = None
    spacing_nm: float | None = None
    image_path: str | None = None
    strokes: str = ""
    save_strokes: Callable[[Path], object] | None = None
    objects: Sequence[Mapping[str, Any]] = ()
    save_objects: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The image's name, as files can bear it."""
        return file_name(str(self.record["image"]))

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes of the labels."""
        return tuple(LabelClass(**each) for each in self.record["classes"])


@dataclass(frozen=True)
class SectionExported:
    """A section is written.

    Attributes
    ----------
    done, total : int
        Sections written so far, and sections in all.
    """

    done: int
    total: int


@dataclass(frozen=True)
class Exported:
    """A result that was read back.

    Attributes
    ----------
    labels : ndarray
        (Y, X) or (Z, Y, X) uint8.
    probabilities : tuple of ndarray
        Of the shape of the labels, in the order of ``layers["probabilities"]``.
    corrections : ndarray or None
        As in :class:`Result`.
    record, layers, image_path
        As in :class:`Result`.
    edits : mapping
        The files of edits of objects, by what these are.
    """

    labels: np.ndarray
    probabilities: tuple[np.ndarray, ...]
    corrections: np.ndarray | None
    record: dict[str, Any]
    layers: dict[str, Any]
    image_path: str | None
    edits: Mapping[str, Path]


def export(
    result: Result, folder: str | os.PathLike[str], edited: Collection[int] = (), least: float | None = None
) -> Generator[SectionExported, None, Path]:
    """Write a result to a new folder; yield an event for each section.

    The folder gets ``NAME-labels.tif``, ``NAME-probabilities.tif`` and
    ``NAME-corrections.tif`` if there are any, ``NAME.strokes`` if something was learnt of them at once,
    ``NAME-measures.csv``, the files of objects if any were found, and the record ``NAME-run.json``. It
    appears when all of that is written.

    Parameters
    ----------
    result : Result
        What to write.
    folder : path-like
        Where to; it must not be there yet.
    edited : collection of int
        Sections that a person has painted in, for the record.
    least : float, optional
        Least size of a profile in the table, as for
        :func:`~napari_feedback_seg.segmentation.measure.measure`.

    Returns
    -------
    Path
        The record.

    Raises
    ------
    OutputError
        If the folder is there already or cannot be written.
    InputError
        If nothing is segmented.
    """
    name, shape = result.name, tuple(result.labels.shape)
    files = {"labels": f"{name}-labels.tif", "measures": f"{name}-measures.csv"}
    if result.probabilities:
        files["probabilities"] = f"{name}-probabilities.tif"
    if result.corrections is not None:
        files["corrections"] = f"{name}-corrections.tif"
    if result.save_strokes is not None:
        files["strokes"] = f"{name}.strokes"
    files |= {end: f"{name}-{end}" for end in result.save_objects}
    meter = Meter(result.classes, result.pixel_size_nm, least)
    stack = len(shape) == 3
    count = shape[0] if stack else 1
    with new_folder(folder) as unfinished:
        with ExitStack() as writers:
            write_labels = writers.enter_context(
                label_writer(
                    unfinished / files["labels"],
                    shape,
                    classes=result.classes,
                    pixel_size_nm=result.pixel_size_nm,
                    spacing_nm=result.spacing_nm,
                )
            )
            if result.probabilities:
                write_probabilities = writers.enter_context(
                    probability_writer(
                        unfinished / files["probabilities"],
                        shape,
                        list(result.probabilities),
                        pixel_size_nm=result.pixel_size_nm,
                        spacing_nm=result.spacing_nm,
                    )
                )
            if result.corrections is not None:
                write_corrections = writers.enter_context(
                    label_writer(
                        unfinished / files["corrections"],
                        shape,
                        classes=result.classes,
                        pixel_size_nm=result.pixel_size_nm,
                        spacing_nm=result.spacing_nm,
                    )
                )
            for z in range(count):
                # A copy: the table and the file agree, whatever is painted in the meantime.
                section = np.array(result.labels[z] if stack else result.labels)
                write_labels(section)
                meter.add(z, section)
                if result.probabilities:
                    planes = [each[z] if stack else each for each in result.probabilities.values()]
                    write_probabilities(np.stack([np.asarray(plane) for plane in planes]))
                if result.corrections is not None:
                    corrected = np.array(result.corrections[z] if stack else result.corrections)
                    corrected[~np.isin(corrected, [each.value for each in result.classes])] = 0
                    write_corrections(corrected.astype(np.uint8))
                yield SectionExported(z + 1, count)
        meter.result(stack).write_csv(unfinished / files["measures"])
        if result.save_strokes is not None:
            result.save_strokes(unfinished / files["strokes"])
        for end, save in result.save_objects.items():
            save(unfinished / files[end])
        run = {
            **_run(result, shape, edited),
            "files": files,
            "probabilities": {each: str(array.dtype) for each, array in result.probabilities.items()},
            "measures": {"pixel_um2": meter.pixel_um2, "least_profile_px": meter.least_pixels},
            "result": dict(result.record),
            "strokes": result.strokes,
            "objects": [dict(each) for each in result.objects],
            "layers": dict(result.layers),
        }
        with replacing(unfinished / f"{name}{RUN_SUFFIX}") as temporary:
            temporary.write_text(json.dumps(run, indent=2, default=str) + "\n", encoding="utf-8")
    return Path(folder) / f"{name}{RUN_SUFFIX}"


def file_name(name: str) -> str:
    """Return a name that a file can bear on any system."""
    composed = unicodedata.normalize("NFC", name)  # macOS gives ö in two characters
    plain = re.sub(r"[^\w.+-]+", "-", composed)[:_LONGEST_NAME].strip("-.")
    return f"_{plain}" if is_device(plain) else plain or "image"


def _run(result: Result, shape: tuple[int, ...], edited: Collection[int]) -> dict[str, Any]:
    """Return the head of the record: what a person looks for in it."""
    record, path = result.record, result.image_path
    notes = []
    if path is None or not _holds(path, shape):
        whence = "came from no file" if path is None else "is not in its file as it was segmented"
        notes.append(f"The image {whence}: save it as {result.name}.tif before you run the command line.")
        path = None
    commands = command_lines(record, shape, path, result.name, bool(result.probabilities), result.strokes)
    if len(commands) > 1:
        notes.append("The result is of several runs; where they overlap, the later one counts.")
    if edited:
        notes.append("It was corrected by hand after that, which no command line repeats.")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "image": {"name": record["image"], "path": result.image_path},
        "shape": list(shape),
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "commands": commands,
        "notes": notes,
        "messages": list(record.get("messages", ())),
        "sections_edited_by_hand": sorted(edited),
        "model": {
            "name": record.get("model"),
            "file": record.get("model_file"),
            "sha256": record.get("model_sha256"),
            "card": _card(record.get("model_file")),
        },
    }


def _holds(path: str, shape: tuple[int, ...]) -> bool:
    """Return whether the command line can read an image of this shape from a file."""
    try:
        return open_image(path).shape == shape
    except InputError:
        return False


def _card(path: str | None) -> dict[str, Any] | None:
    """Return what the model's card says, if its file is still there."""
    from napari_feedback_seg.models.model_file import read_card

    try:
        card = read_card(path or "").to_json()
    except ModelError:
        return None
    means = {part: scores.get("mean_iou") for part, scores in card["scores"].items()}
    return {**{name: card[name] for name in _CARD}, "mean_iou": means}


def _text(path: str | os.PathLike[str]) -> str:
    """Return the text of a record, without the byte-order mark that editors on Windows put before it."""
    return Path(path).read_text(encoding="utf-8-sig")


def is_export(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is the record of a result."""
    try:
        return bool(json.loads(_text(path))["format"] == FORMAT)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def read_export(path: str | os.PathLike[str]) -> Exported:
    """Read a result that :func:`export` has written.

    Parameters
    ----------
    path : path-like
        The record, ``NAME-run.json``.

    Raises
    ------
    InputError
        If it is no such record, or one of its files is missing or damaged.
    """
    path = Path(path)
    try:
        run = json.loads(_text(path))
        if run["format"] != FORMAT:
            raise ValueError(f"its format is {run['format']}")
        if run["format_version"] > FORMAT_VERSION:
            raise InputError(f"'{path}' was written by a newer version. Update napari-feedback-seg.")
        shape, files, layers, record = run["shape"], run["files"], run["layers"], run["result"]
        kinds = [np.dtype(each) for each in run["probabilities"].values()]
        names = [Path(files[each]).name for each in ("labels", *(("probabilities",) if kinds else ()))]
        corrected = Path(files["corrections"]).name if "corrections" in files else None
        image_path = run["image"]["path"]
        ends = {each["what"]: f"{file_name(each['what'])}{EDITS_SUFFIX}" for each in run.get("objects", ())}
        edits = {what: path.with_name(files[end]) for what, end in ends.items() if end in files}
        record.pop("digests", None)  # of an export by an older version
        if len(shape) not in (2, 3) or not all(isinstance(each, int) and each > 0 for each in shape):
            raise ValueError(f"its shape is {shape}")
        if len(layers["probabilities"]) != len(kinds) or not isinstance(layers["labels"], dict):
            raise ValueError("its layers are incomplete")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"'{path}' cannot be read as the record of a result ({error}). Copy the whole folder again."
        ) from error
    labels, *_ = _read_planes(path.with_name(names[0]), shape, [np.dtype(np.uint8)])
    probabilities = _read_planes(path.with_name(names[1]), shape, kinds) if kinds else ()
    corrections = None
    if corrected is not None:
        (corrections,) = _read_planes(path.with_name(corrected), shape, [np.dtype(np.uint8)])
    return Exported(labels, probabilities, corrections, record, layers, image_path, edits)


def _read_planes(path: Path, shape: list[int], dtypes: list[np.dtype[Any]]) -> tuple[np.ndarray, ...]:
    """Read a file of sections into an array for each of their channels."""
    height, width = shape[-2:]
    sections = shape[0] if len(shape) == 3 else 1
    arrays = tuple(np.zeros((sections, height, width), dtype) for dtype in dtypes)
    pages = itertools.product(range(sections), arrays)
    for page in read_pages(path):
        z, array = next(pages, (0, page[:0]))
        if page.shape != array.shape[1:]:
            raise InputError(
                f"'{path}' is not the file that its record tells of. Copy the whole folder again."
            )
        array[z] = page
    if next(pages, None) is not None:
        raise InputError(f"'{path}' is incomplete. Copy the whole folder again.")
    return tuple(array.reshape(shape) for array in arrays)
