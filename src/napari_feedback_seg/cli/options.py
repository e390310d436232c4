"""What several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", "-m", help="Name of a model, or a model file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Overlap = Annotated[float, typer.Option(help="Overlap of neighbouring tiles, 0 to below 1.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Pixel size of the images in nm, if the file does not say.")
]
Flips = Annotated[bool, typer.Option("--flips", help="Average over flips and turns: slower, steadier.")]
Half = Annotated[bool, typer.Option("--half", help="Store the convolutions in 16 bits: half the file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
