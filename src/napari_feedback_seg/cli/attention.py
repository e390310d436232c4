"""``feedback-seg attention``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Device, Overlap, Overwrite, PixelSides, Precision, pixel_sides
from napari_feedback_seg.terminal import out, reporting


def attention(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A TIFF, PNG or JPEG image.")],
    at: Annotated[
        list[str],
        typer.Option(
            "--at", metavar="Y,X", help="Row and column of the pixel. Repeat it for others in the same tile."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The TIFF to write.")],
    section: Annotated[
        int | None, typer.Option(help="Section of a stack, counted from 0 as napari's slider does.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name of a model, or a model file; again to compare several."),
    ] = None,
    figure: Annotated[
        bool, typer.Option("--figure", help="Also write a picture beside OUT, as in the paper's Figure 4.")
    ] = False,
    truth: Annotated[
        Path | None, typer.Option(metavar="LABELS", help="Correct labels of IMAGE, for the picture.")
    ] = None,
    recentre: Annotated[
        bool,
        typer.Option(
            "--recentre", help="Centre the tile on the pixel instead of using the segmentation's grid."
        ),
    ] = False,
    overlap: Overlap = 0.25,
    pixel_size: PixelSides = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Write where the second round looked for a pixel, in times the average place."""
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise typer.BadParameter(f"The map is a TIFF file: name it something.tif, not '{output}'.")
    if not 0 <= overlap < 1:
        raise typer.BadParameter(f"--overlap is a fraction from 0 to below 1, like 0.25, not {overlap}.")
    pixels = tuple(_pixel(each) for each in at)
    try:
        size = pixel_sides(pixel_size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if truth is not None and not figure:
        raise typer.BadParameter("--truth is for the picture: give --figure too.")
    with reporting():
        from napari_feedback_seg.attention_maps.files import AttentionJob, write_attention
        from napari_feedback_seg.io import open_image
        from napari_feedback_seg.models.library import load_model
        from napari_feedback_seg.segmentation.files import about_pixel_size

        picture = output.with_suffix(".png") if figure else None
        try:
            job = AttentionJob(image, pixels, output, section, picture, truth, recentre)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        models = [load_model(each) for each in model or ["default"]]
        found = write_attention(
            job,
            models,
            overwrite=overwrite,
            overlap=overlap,
            pixel_size_nm=size,
            device=device,
            precision=precision,
        )
        for sentence in about_pixel_size(open_image(image), models[0]) if size is None else ():
            out.print(escape(sentence), soft_wrap=True)
        for name, pixel in found:
            places = ", ".join(
                f"{each.times:.1f} at {each.y},{each.x} ({each.label_class.name})" for each in pixel.strongest
            )
            out.print(
                f"{escape(name)}: the pixel {pixel.y},{pixel.x} is {pixel.label_class.name}. Where it looked "
                f"most, in times the average place: {places}",
                soft_wrap=True,
            )
        for path in filter(None, (output, picture)):
            out.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _pixel(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*", text)
    if not found:
        raise typer.BadParameter(f"--at is a row and a column, like 120,340, and not '{text}'.")
    return int(found[1]), int(found[2])
