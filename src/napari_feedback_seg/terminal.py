"""What a person sees in a terminal: progress, tables, and errors as a sentence."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from napari_feedback_seg.errors import FeedbackSegError, in_words
from napari_feedback_seg.training.events import EpochDone, StepDone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@contextmanager
def reporting(on_stop: str | Callable[[], str] = "") -> Iterator[None]:
    """Turn what goes wrong into a sentence and exit code 1; ``on_stop`` is what Ctrl-C is answered with."""
    try:
        yield
    except FeedbackSegError as error:
        err.print(f"[red]Error:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        err.print(f"\nStopped. {escape(on_stop if isinstance(on_stop, str) else on_stop())}", soft_wrap=True)
        raise typer.Exit(1) from error
    except (OSError, MemoryError) as error:
        err.print(f"[red]Error:[/red] {escape(in_words(error))}", soft_wrap=True)
        raise typer.Exit(1) from error


def progress_bar() -> Progress:
    """Return a progress bar with the time left, on the error stream."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True)


def drain(events: Generator[Any, None, Any], what: str) -> Any:
    """Run a generator of tiles to its end behind a progress bar; return what it returns."""
    with progress_bar() as progress:
        bar = progress.add_task(what, total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value
            if hasattr(event, "total"):
                progress.update(
                    bar,
                    total=event.total,
                    completed=event.done,
                    description=f"{what}, section {event.section + 1}",
                )


def watch_training(events: Generator[Any, None, Any]) -> Any:
    """Run a training to its end, a line an epoch; return what it returns.

    Where there is no bar, as in a log file, there is also a line a minute.
    """
    quiet_until = 0.0
    with progress_bar() as progress:
        bar = progress.add_task("preparing", total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value
            if isinstance(event, StepDone):
                text = f"epoch {event.epoch}, loss {event.loss:.3f}"
                progress.update(bar, total=event.steps, completed=event.step, description=text)
                if not progress.console.is_terminal and time.monotonic() >= quiet_until:
                    quiet_until = time.monotonic() + 60
                    progress.console.print(f"{text}, step {event.step} of {event.steps}", soft_wrap=True)
            elif isinstance(event, EpochDone):
                classes = ", ".join(f"{name} {value:.1%}" for name, value in event.scores["iou"].items())
                left = timedelta(seconds=round(event.seconds_left))
                progress.console.print(
                    f"epoch {event.epoch}/{event.epochs}: loss {event.loss:.3f}, validation IoU {classes}, "
                    f"mean {event.scores['mean_iou'] or 0:.2%}{' (best)' if event.best else ''}; {left} left",
                    soft_wrap=True,
                )
            else:
                text = f"scoring section {event.section + 1}"
                progress.update(
                    bar,
                    total=getattr(event, "total", None),
                    completed=getattr(event, "done", 0),
                    description=text,
                )


def score_table(title: str, scores: dict[str, Any]) -> Table:
    """Return the scores of each class and of the cells, of the answer and of the first round."""
    table = Table(
        "", *map(escape, scores["iou"]), "mean", title=escape(title), title_justify="left", box=None
    )
    cells = []
    for output, each in (("", scores), (", first round", scores.get("first_round", {}))):
        for measure, key in (("IoU", "iou"), ("Dice", "dice")):
            if key in each:  # the scores of older cards have no Dice
                values = [*(each[key].get(name) for name in scores["iou"]), each[f"mean_{key}"]]
                table.add_row(
                    measure + output, *("" if value is None else f"{value:.2%}" for value in values)
                )
        if "cells" in each:
            split, merge, error = (each["cells"][key] for key in ("vi_split", "vi_merge", "are"))
            cells.append(
                f"cells{output}: VI split {split:.3f}, merge {merge:.3f} bit; Rand error {error:.3f}"
            )
    if cells:
        table.caption, table.caption_justify = "\n".join(cells), "left"
    return table


def network_name(spec: dict[str, Any]) -> str:
    """Return a network in a few words."""
    names = {"unet": "U-Net", "recurrent_unet": "recurrent U-Net", "feedback_unet": "feedback U-Net"}
    if spec["kind"] == "onnx":
        return "of another program, ONNX"
    kind = names.get(spec["kind"]) or f"feedback, {spec['mode'].replace('_', ' ')}"
    return f"{kind}, width {spec['width']}"


def spans(numbers: list[int]) -> str:
    """Return ``15-19`` for 15, 16, 17, 18, 19."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))
