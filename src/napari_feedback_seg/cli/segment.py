"""``feedback-seg segment``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_feedback_seg.cli.adapt import check_strokes, with_strokes
from napari_feedback_seg.cli.options import (
    VOLUMES,
    Dashboard,
    Device,
    Flips,
    KeepSpecks,
    Model,
    NewClass,
    Overlap,
    Overwrite,
    PixelSides,
    Precision,
    Scheduler,
    Workers,
    pixel_sides,
    voxel_sides,
)
from napari_feedback_seg.cli.volume import block_of, region_of, segment_one_volume
from napari_feedback_seg.io import check_output, file_keys
from napari_feedback_seg.io.volume import is_volume
from napari_feedback_seg.terminal import err, out, progress_bar, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from napari_feedback_seg.segmentation.file_jobs import FileJob


def segment(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...", help="Images (TIFF, PNG, MRC, ...), folders, globs in quotes; or a Zarr volume."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file for one input, a folder for several; OUT.zarr for an OME-Zarr.",
        ),
    ] = None,
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
            metavar="TOP:BOTTOM,LEFT:RIGHT",
            help="Segment these rows and columns; the rest is labelled 0. Of a volume Z0:Z1,TOP:BOTTOM,"
            "LEFT:RIGHT; its output is that large.",
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
    keep_specks: KeepSpecks = False,
    strokes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE CORRECTIONS | CELLS.strokes",
            help="Learn from strokes on mistakes first: an image and its corrections, once or several times; "
            "or what 'feedback-seg adapt' wrote. If IMAGE is one of IN, the corrections are right there, and "
            "what is around them is put right, too.",
        ),
    ] = None,
    new_class: NewClass = None,
    overwrite: Overwrite = False,
    level: Annotated[
        int | None,
        typer.Option(
            help="Resolution of an OME-Zarr, 0 the finest; the one nearest to the model's if not given.",
            rich_help_panel=VOLUMES,
        ),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            metavar="SECTIONS,ROWS,COLUMNS",
            help="Size of a block, such as 1,2048,2048.",
            rich_help_panel=VOLUMES,
        ),
    ] = None,
    slab: Annotated[
        int,
        typer.Option(
            min=1,
            help="Normalise so many sections alike, by the middle one; more than 1 suits FIB-SEM.",
            rich_help_panel=VOLUMES,
        ),
    ] = 1,
    into: Annotated[
        bool,
        typer.Option(
            "--into", help="Write the labels into the OME-Zarr that is segmented.", rich_help_panel=VOLUMES
        ),
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    dashboard: Dashboard = False,
) -> None:
    """Segment images into labels: 1 membrane, 2 mitochondria, 3 synapse, 4 cytoplasm.

    Labels are TIFF files, or an OME-Zarr where OUT ends in .zarr. One that was begun goes on where it was.
    """
    with reporting(
        "What was finished stays; nothing half-written was left. The same command goes on with a volume."
    ):
        try:
            check_strokes(strokes or (), new_class)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        if into or is_volume(output or "") or any(is_volume(each) for each in images):
            if sections is not None or first_round:
                what = "--sections" if sections is not None else "--first-round"
                raise typer.BadParameter(f"{what} is for files. Of a volume give a region: --region 3:6,:,:")
            from napari_feedback_seg.models.library import load_model

            try:
                sides = voxel_sides(pixel_size)
                wanted: dict[str, Any] = {
                    "level": level,
                    "region": region_of(region),
                    "pixel_size_nm": sides,
                    "rescale": rescale,
                    "block": block_of(block),
                    "slab": slab,
                    "into": into,
                    "overwrite": overwrite,
                }
                how = {
                    "device": device,
                    "precision": precision,
                    "overlap": overlap,
                    "flips": flips,
                    "remove_specks": not keep_specks,
                    "probabilities": probabilities,
                }
                adapted, _ = with_strokes(
                    load_model(model),
                    strokes or (),
                    new_class,
                    device=device,
                    size=None if sides is None else (sides[-2], sides[-1]),
                    rescale=rescale,
                )
                where = {"workers": workers, "scheduler": scheduler, "dashboard": dashboard}
                segment_one_volume(images, output, adapted, wanted, how, where)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            return
        if output is None:
            raise typer.BadParameter("Name what to write: -o labels.tif, a folder, or labels.zarr.")
        from napari_feedback_seg.segmentation.events import FileDone, FileFailed
        from napari_feedback_seg.segmentation.file_jobs import made_by, plan
        from napari_feedback_seg.segmentation.files import segment_files
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
                remove_specks=not keep_specks,
            )
            numbers = _numbers(sections)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        from napari_feedback_seg.models.library import find_model, load_model
        from napari_feedback_seg.models.model_file import read_card

        # What can be refused without torch is refused first: its import takes seconds.
        file = find_model(model)
        noted = made_by(
            read_card(file).name,
            hashlib.sha256(file.read_bytes()).hexdigest(),
            options,
            rescale=rescale,
            sections=numbers,
            strokes=" ".join(strokes or ()),
        )
        jobs = [replace(job, made_by=noted) for job in jobs]
        if not (overwrite or strokes):  # the files of strokes may have changed
            jobs = _left(jobs)
        for job in jobs:
            for path in job.outputs:
                check_output(path, overwrite)
        if not jobs:
            return
        try:
            adapted, painted = with_strokes(
                load_model(file),
                strokes or (),
                new_class,
                [job.source for job in jobs],
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
                    progress.stop()  # or the line would be glued to the bar
                    for message in event.messages:
                        err.print(f"[yellow]{name}:[/yellow] {escape(message)}", soft_wrap=True)
                    for path in event.job.outputs:
                        out.print(f"wrote {escape(str(path))}", soft_wrap=True)
                    out.print(f"{name}: {event.seconds:.1f} s on {event.device}", soft_wrap=True)
                    progress.start()
                else:
                    number = f"{jobs.index(event.job) + 1} of {len(jobs)}: " if len(jobs) > 1 else ""
                    text = f"{number}{name}, section {event.section + 1} of {event.sections}"
                    total, done = event.total * event.sections, event.section * event.total + event.done
                    progress.update(bar, total=total, completed=done, description=text)
        if failed:
            err.print(f"{failed} of {len(jobs)} images could not be segmented.", soft_wrap=True)
            raise typer.Exit(1)


def _left(jobs: list[FileJob]) -> list[FileJob]:
    """Return what is not done yet, and say what is."""
    for job in jobs:
        if job.is_done:
            name = escape(str(job.labels))
            out.print(
                f"kept {name}: made by this model and settings (--overwrite makes it anew)", soft_wrap=True
            )
    return [job for job in jobs if not job.is_done]


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
