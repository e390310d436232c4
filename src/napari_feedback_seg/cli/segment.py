"""``feedback-seg segment``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.adapt import with_strokes
from napari_feedback_seg.cli.options import (
    Device,
    Flips,
    Model,
    NewClass,
    Overlap,
    Overwrite,
    PixelSides,
    Precision,
    pixel_sides,
)
from napari_feedback_seg.io import file_keys
from napari_feedback_seg.terminal import err, out, progress_bar, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np


def segment(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Images (TIFF, PNG, MRC, ...), folders, or globs in quotes."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="A file for one input, a folder for several."),
    ],
    model: Model = "default",
    device: Device = "auto",
    precision: Precision = "auto",
    overlap: Overlap = 0.25,
    pixel_size: PixelSides = None,
    rescale: Annotated[
        bool,
        typer.Option(
            "--rescale/--no-rescale", help="Resample an image to the model's pixel size, and the result back."
        ),
    ] = True,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="TOP:BOTTOM,LEFT:RIGHT", help="Segment these rows and columns; the rest is labelled 0."
        ),
    ] = None,
    sections: Annotated[
        str | None,
        typer.Option(
            metavar="3-5,8", help="Segment these sections, counted from 0; the others are labelled 0."
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each class.")
    ] = False,
    first_round: Annotated[
        bool, typer.Option("--first-round", help="Also write the labels of the first round.")
    ] = False,
    flips: Flips = False,
    strokes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE CORRECTIONS | CELLS.strokes",
            help="Learn from strokes on mistakes first: an image and its corrections (IMAGE may be IN), once "
            "or several times; or what 'feedback-seg adapt' wrote.",
        ),
    ] = None,
    new_class: NewClass = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment images into label TIFFs: 1 membrane, 2 mitochondria, 3 synapse, 4 cytoplasm."""
    with reporting("Files that were finished stay; nothing half-written was left."):
        from napari_feedback_seg.segmentation.files import FileDone, FileFailed, plan, segment_files
        from napari_feedback_seg.segmentation.prediction import SegmentOptions

        try:
            jobs = plan(images, output, probabilities=probabilities, first_round=first_round)
            options = SegmentOptions(
                device=device,
                precision=precision,
                overlap=overlap,
                pixel_size_nm=pixel_sides(pixel_size),
                region=_region(region),
                flips=flips,
            )
            numbers = _numbers(sections)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        from napari_feedback_seg.models.library import load_model

        try:
            adapted, painted = with_strokes(
                load_model(model),
                strokes or (),
                new_class,
                device=device,
                size=options.pixel_size_nm,
                rescale=rescale,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        failed = 0
        with progress_bar() as progress:
            bar = progress.add_task("loading", total=None)
            events = segment_files(
                jobs,
                adapted,
                options,
                sections=numbers,
                rescale=rescale,
                overwrite=overwrite,
                painted={job.source: labels for job in jobs for labels in _painted_on(job.source, painted)},
            )
            for event in events:
                name = escape(event.job.source.name)
                if isinstance(event, FileFailed):
                    failed += 1
                    err.print(f"[red]Error:[/red] {name}: {escape(str(event.error))}", soft_wrap=True)
                elif isinstance(event, FileDone):
                    for message in event.messages:
                        err.print(f"[yellow]{name}:[/yellow] {escape(message)}", soft_wrap=True)
                    for path in event.job.outputs:
                        out.print(f"wrote {escape(str(path))}", soft_wrap=True)
                    out.print(f"{name}: {event.seconds:.1f} s on {event.device}", soft_wrap=True)
                else:
                    text = f"{name}, section {event.section + 1} of {event.sections}"
                    progress.update(bar, total=event.total, completed=event.done, description=text)
        if failed:
            err.print(f"{failed} of {len(jobs)} images could not be segmented.", soft_wrap=True)
            raise typer.Exit(1)


def _painted_on(
    source: Path, painted: Mapping[Path, Mapping[int, np.ndarray]]
) -> Iterator[Mapping[int, np.ndarray]]:
    """Yield what is painted on an image, under whatever name it was given."""
    keys = set(file_keys(source))
    for path, labels in painted.items():
        if keys & set(file_keys(path)):
            yield labels


def _region(text: str | None) -> tuple[slice, slice] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9}),(\d{1,9}):(\d{1,9})", text.replace(" ", ""), re.ASCII)
    if not found:
        raise ValueError(f"A region reads TOP:BOTTOM,LEFT:RIGHT in pixels, like 0:512,100:400, not {text!r}.")
    top, bottom, left, right = map(int, found.groups())
    if top >= bottom or left >= right:
        raise ValueError(f"A region goes from low to high and holds a pixel at least: {text!r} does not.")
    return slice(top, bottom), slice(left, right)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part, re.ASCII)
        if not found or int(found[1]) > int(found[2] or found[1]):
            raise ValueError(f"Sections read like 3-5,8, from low to high, not {text!r}.")
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    return numbers
