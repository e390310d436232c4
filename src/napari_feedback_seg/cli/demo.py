"""``feedback-seg demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.measure import area_table
from napari_feedback_seg.cli.options import Device, Model, Overwrite
from napari_feedback_seg.terminal import drain, out, reporting


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("demo"),
    model: Model = "default",
    device: Device = "auto",
    sample: Annotated[
        str, typer.Option(help="auto, sstem (the public data set, downloaded) or builtin (made by code).")
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment a sample section; write image, labels, probabilities and a picture."""
    with reporting():
        from napari_feedback_seg.evaluation.demo import run_demo

        if sample not in ("auto", "sstem", "builtin"):
            raise typer.BadParameter(f"--sample is auto, sstem or builtin, not {sample}.")
        started = time.perf_counter()
        result = drain(run_demo(output, model, device, sample, overwrite), "segmenting")
        for message in result.messages:
            out.print(escape(message), style="yellow", soft_wrap=True)
        out.print(area_table(result.measures))
        for path in result.written:
            out.print(f"wrote {escape(str(path))}", soft_wrap=True)
        out.print(f"{result.sample}, {result.device}: {time.perf_counter() - started:.1f} s")
