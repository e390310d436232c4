"""``feedback-seg segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Device, Flips, Model, Overlap, Overwrite, PixelSize
from napari_feedback_seg.terminal import err, out, progress_bar, reporting


def segment(
    images: Annotated[
        list[str], typer.Argument(metavar="IN...", help="TIFF or PNG files, folders, or globs in quotes.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="A file for one input, a folder for several."),
    ],
    model: Model = "default",
    device: Device = "auto",
    overlap: Overlap = 0.25,
    pixel_size: PixelSize = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each class.")
    ] = False,
    first_round: Annotated[
        bool, typer.Option("--first-round", help="Also write the labels of the first round.")
    ] = False,
    flips: Flips = False,
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
                overlap=overlap,
                pixel_size_nm=pixel_size,
                flips=flips,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        from napari_feedback_seg.models.library import load_model

        failed = 0
        with progress_bar() as progress:
            bar = progress.add_task("loading", total=None)
            for event in segment_files(jobs, load_model(model), options, overwrite=overwrite):
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
