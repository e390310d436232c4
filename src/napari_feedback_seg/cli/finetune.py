"""``feedback-seg finetune``."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_feedback_seg.cli.options import Device, Half, NewClass, Overwrite, PixelSides, pixel_sides
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.terminal import err, out, progress_bar, reporting

if TYPE_CHECKING:
    from napari_feedback_seg.correction.events import FinetuneResult
    from napari_feedback_seg.correction.finetune import FineTuning

KEPT = "What was learnt is kept in a checkpoint: the same command goes on from there."


class Keep(StrEnum):
    """When the new model is written."""

    IF_BETTER = "if-better"
    ALWAYS = "always"
    NEVER = "never"


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or a model file.")],
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="TIFF or PNG file, a section or a stack; or a folder.")
    ],
    corrections: Annotated[
        Path,
        typer.Argument(
            metavar="CORRECTIONS",
            help="Class values in the shape of the image, 0 where nothing is corrected; or a folder.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NEW", help="The new model, a .safetensors file.")
    ],
    keep: Annotated[
        Keep, typer.Option(help="When to write the new model: if it is recommended, always, or never.")
    ] = Keep.IF_BETTER,
    new_class: NewClass = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 60,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 5e-4,
    rehearsal: Annotated[
        float, typer.Option(help="How strongly to keep what was right; 0 for not at all.")
    ] = 9.0,
    hold_out: Annotated[
        float, typer.Option(help="Share of the corrected regions to judge by; 0 for none.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(help="Seed of the patches and of the held-out corrections.")] = 0,
    device: Device = "auto",
    pixel_size: PixelSides = None,
    rescale: Annotated[
        bool, typer.Option("--rescale/--no-rescale", help="Resample an image to the model's pixel size.")
    ] = True,
    half: Half = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a model on corrections, compare it with the old one, and recommend which to use."""
    with reporting(KEPT):
        from napari_feedback_seg.correction.classes import new_classes
        from napari_feedback_seg.correction.config import FinetuneConfig
        from napari_feedback_seg.io import check_output
        from napari_feedback_seg.models.library import load_model
        from napari_feedback_seg.models.model_file import SUFFIX, save_model

        if output.suffix != SUFFIX:
            raise typer.BadParameter(f"A model's file name ends in {SUFFIX}, and '{output}' does not.")
        check_output(output, overwrite)
        parent = load_model(model)
        try:
            size = pixel_sides(pixel_size)
            config = FinetuneConfig(
                steps=steps,
                learning_rate=learning_rate,
                rehearsal=rehearsal,
                hold_out=hold_out,
                seed=seed,
                new_classes=new_classes(new_class or (), parent.card),
            )
        except (FeedbackSegError, ValueError) as error:
            raise typer.BadParameter(str(error)) from error
        from napari_feedback_seg.correction.files import read_corrected
        from napari_feedback_seg.correction.finetune import FineTuning

        classes = (*parent.card.classes, *config.new_classes)
        sections, said = read_corrected(image, corrections, classes, pixel_size_nm=size, rescale=rescale)
        for sentence in said:
            err.print(f"[yellow]Note:[/yellow] {escape(sentence)}", soft_wrap=True)
        checkpoint = output.with_name(f".{output.stem}.finetune.pt")
        result = _watch(FineTuning(parent, sections, config, device=device, checkpoint=checkpoint))
        _report(result)
        recommended = result.recommendation == "keep"
        if keep is Keep.NEVER or (keep is Keep.IF_BETTER and not recommended):
            to = out if keep is Keep.NEVER else err
            to.print(
                "The new model is not written. The same command with --keep always writes it, without "
                "learning again.",
                soft_wrap=True,
            )
            raise typer.Exit(0 if keep is Keep.NEVER else 1)
        path = save_model(result.tuned, output, half=half, overwrite=overwrite)
        with suppress(OSError):
            checkpoint.unlink(missing_ok=True)
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _watch(tuning: FineTuning) -> FinetuneResult:
    from napari_feedback_seg.correction.events import FinetuneCheck

    events = tuning.run()
    with progress_bar() as progress:
        bar = progress.add_task("preparing", total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                result: FinetuneResult = stop.value
                return result
            if isinstance(event, FinetuneCheck):
                classes = ", ".join(f"{name} {value:.0%}" for name, value in event.iou.items())
                which = "held-out loss" if event.held_out else "loss"
                text = f"step {event.done}: {which} {event.loss:.3f}, IoU {classes}; kept {event.kept:.1%}"
                progress.console.print(escape(text), soft_wrap=True)
            else:
                progress.update(bar, total=event.total, completed=event.done, description=event.what)


def _report(result: FinetuneResult) -> None:
    """Print the scores before and after, and the recommendation."""
    which = "held-out corrections" if result.held_out else "the corrections"
    table = Table(f"IoU on {which}", "before", "after", title_justify="left", box=None)
    before, after = result.before.iou, result.after.iou
    for name in after:
        table.add_row(escape(name), f"{before[name]:.0%}", f"{after[name]:.0%}")
    out.print(table)
    for sentence in result.problems:
        err.print(escape(sentence), soft_wrap=True)
    out.print(escape(result.sentence), soft_wrap=True)
    out.print(f"{result.seconds:.0f} s")
