"""Segment image files: what is read, what is written, and under which name."""

from __future__ import annotations

import glob
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.events import SectionDone, TileDone
from napari_feedback_seg.io import IMAGE_SUFFIXES, check_output, label_writer, open_image, probability_writer
from napari_feedback_seg.segmentation.predict import segment_section, segment_stack
from napari_feedback_seg.segmentation.prediction import merge_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np

    from napari_feedback_seg.io import EMImage
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.prediction import SegmentOptions


@dataclass(frozen=True)
class FileJob:
    """An image file and what is written for it.

    Attributes
    ----------
    source, labels : Path
        The image and its labels.
    probabilities, first_round : Path or None
        Written too, if given.
    """

    source: Path
    labels: Path
    probabilities: Path | None = None
    first_round: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are written."""
        return tuple(filter(None, (self.labels, self.probabilities, self.first_round)))


@dataclass(frozen=True)
class FileTile:
    """A tile of a file has been predicted.

    Attributes
    ----------
    job : FileJob
        The file.
    section, sections : int
        Index of the section, and sections in the file.
    done, total : int
        Tiles done, and tiles in all, of the section.
    """

    job: FileJob
    section: int
    sections: int
    done: int
    total: int


@dataclass(frozen=True)
class FileDone:
    """The outputs of a file are written.

    Attributes
    ----------
    job : FileJob
        The file.
    seconds : float
        How long it took.
    device : str
        What it was computed on.
    messages : tuple of str
        Sentences that the user should read.
    """

    job: FileJob
    seconds: float
    device: str
    messages: tuple[str, ...]


@dataclass(frozen=True)
class FileFailed:
    """A file could not be segmented; nothing was written for it, and the next one follows.

    Attributes
    ----------
    job : FileJob
        The file.
    error : InputError
        What is wrong with it.
    """

    job: FileJob
    error: InputError


def plan(
    inputs: Sequence[str], output: Path, *, probabilities: bool = False, first_round: bool = False
) -> list[FileJob]:
    """Return what to segment and where to write it.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders (their images, sorted) and globs.
    output : Path
        A TIFF file, or a folder that exists, for one image; a folder for several. In a folder,
        ``a.tif`` gives ``a-labels.tif``.
    probabilities, first_round : bool
        Whether these are written too, with ``-probabilities`` and ``-first-round`` in their names.

    Raises
    ------
    ValueError
        If the inputs and the output do not go together.
    InputError
        If a folder or a glob holds no image.
    """
    sources = [source for each in inputs for source in _expand(each)]
    sources = list(dict.fromkeys(sources))
    single = len(sources) == 1 and not any(Path(each).is_dir() for each in inputs)
    into_folder = output.is_dir() or not single
    named_as_tiff = output.suffix.lower() in (".tif", ".tiff")
    if not single and not output.is_dir() and (named_as_tiff or output.exists()):
        raise ValueError(f"Several images need a folder to be written to, and '{output}' names a file.")
    if not into_folder and not named_as_tiff:
        raise ValueError(
            f"Outputs are TIFF files, and '{output}' is not named as one: name it something.tif, or name a "
            "folder that exists."
        )
    jobs = []
    for source in sources:
        stem = str(output / source.stem) if into_folder else str(output.with_suffix(""))
        labels = Path(f"{stem}-labels.tif") if into_folder else output
        jobs.append(
            FileJob(
                source,
                labels,
                Path(f"{stem}-probabilities.tif") if probabilities else None,
                Path(f"{stem}-first-round.tif") if first_round else None,
            )
        )
    written = [path for job in jobs for path in job.outputs]
    twice = sorted({str(path) for path in written if written.count(path) > 1})
    if twice:
        raise ValueError(f"Two images would both be written to '{twice[0]}'. Give them other names.")
    for path in written:
        if any(_same(path, source) for source in sources):
            raise ValueError(f"'{path}' is an input and would be written to. Choose another output.")
    return jobs


def segment_files(
    jobs: Sequence[FileJob], model: Model, options: SegmentOptions, *, overwrite: bool = False
) -> Generator[FileTile | FileDone | FileFailed, None, None]:
    """Segment image files one after the other, section by section.

    A job says what is written, whatever ``options`` says of probabilities and the first
    round. The file's own pixel size is used where ``options`` has none, and the outputs carry
    the size that was used. All outputs are checked before any work is done. A file that
    cannot be read is reported and passed over.

    Raises
    ------
    OutputError
        If an output is there already or cannot be written.
    ModelError, DeviceError
        If the model or the device fails.
    """
    for job in jobs:
        for path in job.outputs:
            check_output(path, overwrite)
    if model.card.spec.rounds < 2 and any(job.first_round for job in jobs):
        raise OutputError(f"The model {model.card.name} looks once: it has no first round to write.")
    for job in jobs:
        try:
            yield from _segment_file(job, model, options, overwrite)
        except InputError as error:
            yield FileFailed(job, error)


def _segment_file(
    job: FileJob, model: Model, options: SegmentOptions, overwrite: bool
) -> Generator[FileTile | FileDone, None, None]:
    started = time.perf_counter()
    image = open_image(job.source)
    said = list(image.messages)
    options = replace(options, probabilities=bool(job.probabilities), first_round=bool(job.first_round))
    if options.pixel_size_nm is None and image.pixel_size_nm is not None:
        options = replace(options, pixel_size_nm=image.pixel_size_nm)
        if abs(image.pixel_size_nm / model.card.pixel_size_nm - 1) > 0.01:
            said.append(
                f"Its pixels are {image.pixel_size_nm:g} nm, as the file says, and the model's "
                f"{model.card.pixel_size_nm:g} nm: it was rescaled for the model, and the result back."
            )
    messages: list[tuple[str, ...]] = []
    device = ""
    with ExitStack() as writers:
        write = _writers(writers, job, image, model, options.pixel_size_nm, overwrite)
        for event in _sections(image, model, options):
            if isinstance(event, TileDone):
                yield FileTile(job, event.section, len(image.sections), event.done, event.total)
            elif isinstance(event, SectionDone):
                for name, write_section in write.items():
                    write_section(getattr(event.prediction, name))
                messages.append(event.prediction.messages)
                device = event.prediction.device
    said += merge_messages(messages)
    yield FileDone(job, time.perf_counter() - started, device, tuple(said))


def _sections(
    image: EMImage, model: Model, options: SegmentOptions
) -> Generator[TileDone | SectionDone, None, None]:
    if len(image.shape) == 2:
        prediction = yield from segment_section(image.sections[0], model, options)
        yield SectionDone(0, prediction)
    else:
        yield from segment_stack(image.sections, model, options)


def _writers(
    stack: ExitStack,
    job: FileJob,
    image: EMImage,
    model: Model,
    pixel_size_nm: float | None,
    overwrite: bool,
) -> dict[str, Callable[[np.ndarray], None]]:
    """Return what writes the next section of each array of a prediction."""
    settings: dict[str, Any] = {
        "pixel_size_nm": pixel_size_nm,
        "flavour": "ome" if image.flavour == "ome" else "imagej",
        "overwrite": overwrite,
    }
    classes = model.card.classes
    write = {}
    for name, path in (("labels", job.labels), ("first_round", job.first_round)):
        if path:
            write[name] = stack.enter_context(label_writer(path, image.shape, classes=classes, **settings))
    if job.probabilities:
        names = [each.name for each in classes]
        writer = probability_writer(job.probabilities, image.shape, names, **settings)
        write["probabilities"] = stack.enter_context(writer)
    return write


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES)
    elif glob.has_magic(text) and not path.exists():
        found = sorted(Path(each) for each in glob.glob(text, recursive=True) if Path(each).is_file())
    else:
        return [path]
    if not found:
        raise InputError(f"'{text}' holds no TIFF, PNG or JPEG image.")
    return found


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute() or (one.exists() and other.exists() and one.samefile(other))
