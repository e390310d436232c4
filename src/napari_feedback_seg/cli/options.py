"""What several commands take."""

from __future__ import annotations

import math
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", "-m", help="Name of a model, or a model file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Overlap = Annotated[float, typer.Option(help="Overlap of neighbouring tiles, 0 to below 1.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Pixel size of the images in nm, instead of what the files say.")
]
PixelSides = Annotated[
    str | None,
    typer.Option(
        metavar="NM",
        help="Pixel size of the images in nm, instead of what the file says; 8x4: height x width.",
    ),
]
KeepSpecks = Annotated[
    bool, typer.Option("--keep-specks", help="Keep mitochondria that are too small to be any (0.01 µm²).")
]
Flips = Annotated[bool, typer.Option("--flips", help="Average over flips and turns: slower, steadier.")]
Precision = Annotated[
    str, typer.Option(help="Number format: auto (fastest on the device), bf16, fp16 or fp32.")
]
NewClass = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=#RRGGBB", help="A class that the model lacks; it gets the next free value."),
]
Half = Annotated[bool, typer.Option("--half", help="Store the convolutions in 16 bits: half the file.")]
VOLUMES = "Volumes (OME-Zarr)"
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes on this computer. Default: one per GPU if there are several.",
        rich_help_panel=VOLUMES,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="TCP://HOST:8786", help="Address of a running dask cluster.", rich_help_panel=VOLUMES
    ),
]
Dashboard = Annotated[
    bool, typer.Option("--dashboard", help="Print the address of dask's dashboard.", rich_help_panel=VOLUMES)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


def pixel_sides(text: str | None) -> float | tuple[float, float] | None:
    """Return what :data:`PixelSides` says: a side, or height and width, in nm.

    Raises
    ------
    ValueError
        If it is no such thing.
    """
    how = (
        "A pixel size in nm reads like 4.6, or 8x4 for height x width (40x4x4 is for volumes), and is above 0"
    )
    sides = _sides(text, 2, how)
    return None if sides is None else sides[0] if len(sides) == 1 else (sides[0], sides[1])


def voxel_sides(text: str | None) -> tuple[float, ...] | None:
    """Return what ``--pixel-size`` says of a volume: height and width, or z, height and width, in nm.

    Raises
    ------
    ValueError
        If it is no such thing.
    """
    sides = _sides(text, 3, "The pixel size of a volume in nm reads like 4.6, 8x4 or 40x4x4 (z x y x x)")
    return sides * 2 if sides is not None and len(sides) == 1 else sides


def _sides(text: str | None, most: int, how: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        sides = tuple(float(each) for each in text.lower().split("x"))
    except ValueError:
        sides = ()
    if not 1 <= len(sides) <= most or not all(0 < side < math.inf for side in sides):
        raise ValueError(f"{how}, not {text!r}.")
    return sides
