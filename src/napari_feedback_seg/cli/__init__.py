"""The command line: ``feedback-seg``, a file a command.

Exit codes: 0 done, 1 failed, 2 wrong use. torch takes seconds to import: each command
imports what it needs when it runs, so that help is quick.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
from typing import Annotated

import typer

from napari_feedback_seg import __version__
from napari_feedback_seg.cli.adapt import StrokesCommand, adapt
from napari_feedback_seg.cli.attention import attention
from napari_feedback_seg.cli.demo import demo
from napari_feedback_seg.cli.evaluate import evaluate
from napari_feedback_seg.cli.finetune import finetune
from napari_feedback_seg.cli.info import info
from napari_feedback_seg.cli.measure import measure
from napari_feedback_seg.cli.models import models_app
from napari_feedback_seg.cli.objects import objects
from napari_feedback_seg.cli.reproduce import reproduce
from napari_feedback_seg.cli.run import run
from napari_feedback_seg.cli.segment import segment
from napari_feedback_seg.cli.train import train
from napari_feedback_seg.terminal import out

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Segment EM sections into membrane, mitochondria, synapse and cytoplasm with feedback attention.",
)
app.command(cls=StrokesCommand)(segment)
for command in (adapt, attention, objects, measure, evaluate, train, finetune, reproduce, run, demo, info):
    app.command()(command)
app.add_typer(models_app, name="models")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # the name of a file may hold what they cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Being ended is being stopped: what is half-written goes, as after Ctrl-C.
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # ended; terminal closed; Ctrl-Break on Windows
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # which nohup asks for
            signal.signal(number, signal.default_int_handler)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it has to say, our errors say better
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
