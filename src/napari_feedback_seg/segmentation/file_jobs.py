"""Image files to segment: which they are, what is written for each, and what made it. No torch."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import file_keys, images_in, made_by_in, split_key
from napari_feedback_seg.segmentation.prediction import pixel_sides

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    pixel_size_nm : tuple of float, optional
        Height and width of a pixel as a person says them of this file.
    made_by : str
        What the outputs note of what made them.
    """

    source: Path
    labels: Path
    probabilities: Path | None = None
    first_round: Path | None = None
    pixel_size_nm: tuple[float, float] | None = None
    made_by: str = ""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are written."""
        return tuple(filter(None, (self.labels, self.probabilities, self.first_round)))

    @property
    def is_done(self) -> bool:
        """Whether all of them are there, and made as they would be made now."""
        return all(path.exists() and made_by_in(path) == self.made_by for path in self.outputs)


def plan(
    inputs: Sequence[str], output: Path, *, probabilities: bool = False, first_round: bool = False
) -> list[FileJob]:
    """Return what to segment and where to write it.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders (their images, sorted) and globs. Labels that this package wrote are passed over.
    output : Path
        A TIFF file or a folder for one image; a folder for several. In a folder,
        ``a.tif`` gives ``a-labels.tif``.
    probabilities, first_round : bool
        Whether these are written too, with ``-probabilities`` and ``-first-round`` in their names.

    Raises
    ------
    ValueError
        If the inputs and the output do not go together.
    InputError
        If a folder or a glob holds no image, or a file holds labels that this package wrote.
    """
    sources = [source for each in inputs for source in _expand(each)]
    sources = list(dict.fromkeys(sources))
    single = len(sources) == 1 and not any(Path(each).is_dir() for each in inputs)
    into_folder = output.is_dir() or not single or not output.suffix
    named_as_tiff = output.suffix.lower() in (".tif", ".tiff")
    if not single and not output.is_dir() and (named_as_tiff or output.exists()):
        raise ValueError(f"Several images need a folder to be written to, and '{output}' names a file.")
    if not into_folder and not named_as_tiff:
        raise ValueError(
            f"Outputs are TIFF files, and '{output}' is not named as one: name it something.tif, or name a "
            "folder."
        )
    jobs = []
    for source in sources:
        stem = str(output / _stem(source)) if into_folder else str(output.with_suffix(""))
        labels = Path(f"{stem}-labels.tif") if into_folder else output
        jobs.append(
            FileJob(
                source,
                labels,
                Path(f"{stem}-probabilities.tif") if probabilities else None,
                Path(f"{stem}-first-round.tif") if first_round else None,
            )
        )
    read = set().union(*map(file_keys, sources))
    taken: dict[object, Path] = {}
    for job in jobs:
        for path in job.outputs:
            keys = file_keys(path)
            other = next((taken[key] for key in keys if key in taken), None)
            if other is not None:
                raise ValueError(
                    f"'{other.name}' and '{job.source.name}' would both be written to '{path}'. Give them "
                    "other names, or segment them into different folders."
                )
            if keys & read:
                raise ValueError(f"'{path}' is an input and would be written to. Choose another output.")
            taken |= dict.fromkeys(keys, job.source)
    return jobs


def made_by(
    model: str,
    digest: str,
    options: SegmentOptions,
    *,
    rescale: bool = True,
    sections: Sequence[int] | None = None,
    strokes: str = "",
) -> str:
    """Return what a file is to note of what made it: equal texts, equal labels of an image.

    Parameters
    ----------
    model, digest : str
        Name of the model, and SHA-256 of its file.
    options : SegmentOptions
        How it segments.
    rescale : bool
        Whether an image is resampled to the model's pixel size.
    sections : sequence of int, optional
        The sections that are segmented, all if not given.
    strokes : str
        What tells the strokes that the model was adapted to from others.
    """
    size = options.pixel_size_nm if rescale else None
    about = {
        "model": model,
        "model_sha256": digest,
        "overlap": options.overlap,
        "flips": options.flips,
        "remove_specks": options.remove_specks,
        "rescale": rescale,
        "pixel_size_nm": pixel_sides(size) if size else None,
        "region": [[each.start, each.stop] for each in options.region] if options.region else None,
        "sections": None if sections is None else list(sections),
        "strokes": strokes,
    }
    return json.dumps(about)


def model_in(noted: str) -> str:
    """Return the name of the model that a file notes; empty if it notes none."""
    try:
        return str(json.loads(noted)["model"])
    except (ValueError, LookupError, TypeError):
        return ""


def _stem(source: Path) -> str:
    """Return what the outputs of a file are named after; of a data set in a file, after both."""
    file, key = split_key(source)
    return "-".join([file.stem, *key.strip("/").split("/")]) if key else file.stem


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = images_in(path)
    elif glob.has_magic(text) and not path.exists():
        found = sorted(Path(each) for each in glob.glob(text, recursive=True) if Path(each).is_file())
    elif made_by_in(path):
        raise InputError(f"'{text}' holds what was segmented, and is no image. Name the image itself.")
    else:
        return [path]
    found = [each for each in found if not made_by_in(each)]
    if not found:
        raise InputError(f"'{text}' holds no image: no TIFF, PNG, JPEG, MRC, DM or HDF5 file.")
    return found
