"""``feedback-seg segment`` for volumes: OME-Zarr in or out."""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from napari_feedback_seg.terminal import err, out, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.models.model import Model


def segment_one_volume(
    images: Sequence[str],
    output: Path | None,
    model: Model,
    wanted: dict[str, Any],
    how: dict[str, Any],
    where: dict[str, Any],
) -> None:
    """Segment a volume into an OME-Zarr, and show how far it is.

    Raises
    ------
    ValueError
        If the options do not go together.
    """
    from napari_feedback_seg.segmentation.prediction import SegmentOptions
    from napari_feedback_seg.volumes.events import BlockDone, BlockFailed, VolumeOpened
    from napari_feedback_seg.volumes.segment import VolumeOptions, prepare_volume, start

    if len(images) != 1:
        raise ValueError("One volume is segmented at a time: name one store, file or folder.")
    source = images[0]
    if wanted["into"]:
        output = output or Path(source)
    if output is None or (output.suffix != ".zarr" and not wanted["into"]):
        raise ValueError("The labels of a volume are an OME-Zarr: name the output something.zarr (-o).")
    name = escape(Path(source.rstrip("/")).name)
    job, said = prepare_volume(source, output, model, VolumeOptions(**wanted), SegmentOptions(**how))
    messages: dict[str, int] = {}
    failed = 0
    begun, before = time.monotonic(), 0
    with progress_bar() as progress, closing(start(job, said, **where)) as events:
        bar = progress.add_task(f"{name}, opening", total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                result = stop.value
                break
            if isinstance(event, VolumeOpened):
                begun, before = time.monotonic(), event.done
                progress.reset(bar, total=event.total, completed=event.done, description=name)
                for message in event.messages:
                    err.print(f"[yellow]{name}:[/yellow] {escape(message)}", soft_wrap=True)
                if event.done:
                    out.print(f"{event.done} of {event.total} blocks were done before.")
            elif isinstance(event, BlockDone):
                for message in event.messages:
                    messages[message] = messages.get(message, 0) + 1
                pace = (event.done - before) / max(1e-3, time.monotonic() - begun)
                progress.update(bar, completed=event.done, description=f"{name}, {pace:.2g} blocks/s")
            elif isinstance(event, BlockFailed):
                failed += 1
                err.print(f"[red]Block {event.block}:[/red] {escape(str(event.error))}", soft_wrap=True)
    for message, times in list(messages.items())[:_MOST_MESSAGES]:
        err.print(f"[yellow]{name}:[/yellow] {escape(message)} ({times} blocks)", soft_wrap=True)
    if len(messages) > _MOST_MESSAGES:
        err.print(f"... and {len(messages) - _MOST_MESSAGES} more such sentences.")
    if failed:
        err.print(
            f"{failed} of {result.total} blocks could not be segmented; the others are done. Run the same "
            "command again to try these once more.",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    out.print(f"wrote {escape(str(job.output / 'labels' / 'feedback-seg'))}", soft_wrap=True)
    out.print(f"{name}: {result.total} blocks, {result.seconds:.1f} s on {result.device}", soft_wrap=True)


_MOST_MESSAGES = 20


def region_of(text: str | None) -> tuple[slice | None, ...] | None:
    """Return what ``--region`` says of a volume: Z0:Z1,TOP:BOTTOM,LEFT:RIGHT; ``:`` is all of an axis.

    Raises
    ------
    ValueError
        If it is no such thing.
    """
    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if len(parts) == 2:
        parts = [":", *parts]
    found = [re.fullmatch(r"(\d{0,9}):(\d{0,9})", part, re.ASCII) for part in parts]
    if len(found) != 3 or not all(found):
        raise ValueError(
            "The region of a volume reads Z0:Z1,TOP:BOTTOM,LEFT:RIGHT, like 10:20,0:512,100:400, not "
            f"{text!r}."
        )
    return tuple(
        slice(int(each[1] or 0), int(each[2]) if each[2] else None) for each in found if each is not None
    )


def block_of(text: str | None) -> tuple[int, ...] | None:
    """Return what ``--block`` says: sections, rows and columns.

    Raises
    ------
    ValueError
        If it is no such thing.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6},\d{1,6},\d{1,6}", text.replace(" ", ""), re.ASCII):
        raise ValueError(f"A block reads SECTIONS,ROWS,COLUMNS, like 1,2048,2048, not {text!r}.")
    return tuple(map(int, text.split(",")))
