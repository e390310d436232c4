"""``feedback-seg objects``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Dashboard, Overwrite, PixelSides, Scheduler, Workers, pixel_sides
from napari_feedback_seg.terminal import err, out, progress_bar, reporting


def objects(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Labels, or what 'feedback-seg segment --probabilities' wrote."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The objects: a TIFF, or an OME-Zarr.",
        ),
    ],
    label: Annotated[
        str, typer.Option("--class", metavar="CLASS", help="Name of the class, or its label value.")
    ] = "mitochondria",
    cells: Annotated[
        bool, typer.Option("--cells", help="Number the cells that the membranes enclose instead.")
    ] = False,
    table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write the measures of each object.")
    ] = None,
    in_cells: Annotated[
        Path | None,
        typer.Option(metavar="CELLS", help="Numbered cells: the table says in which an object lies."),
    ] = None,
    cell_table: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Also write what each cell holds (needs --in-cells)."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="The EM image, for mean grey values.")
    ] = None,
    distance_to: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Also measure the distance to this class. May be repeated."),
    ] = None,
    through: Annotated[
        str, typer.Option(help="How objects go through a stack: auto, volume, overlap or none.")
    ] = "auto",
    split: Annotated[
        float | None, typer.Option(help="Cut at necks narrower than this part of the object; 0: nowhere.")
    ] = None,
    least: Annotated[
        float | None, typer.Option(metavar="NM", help="Diameter of the smallest object, in nm.")
    ] = None,
    gap: Annotated[int, typer.Option(help="Sections in a row that may be missing within an object.")] = 1,
    holes: Annotated[float, typer.Option(metavar="NM", help="Fill holes up to this diameter.")] = 0.0,
    smooth: Annotated[float, typer.Option(metavar="NM", help="Smooth the outlines by this width.")] = 0.0,
    close: Annotated[float, typer.Option(metavar="NM", help="Close cracks up to this width.")] = 0.0,
    open_up: Annotated[
        float, typer.Option("--open", metavar="NM", help="Cut threads and specks up to this width.")
    ] = 0.0,
    bias: Annotated[float, typer.Option(help="For cells: below 0.5 gives fewer, above more.")] = 0.5,
    pixel_size: PixelSides = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Distance of the sections in nm, instead of what the file says."),
    ] = None,
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Tables with decimal commas, and semicolons between.")
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    dashboard: Dashboard = False,
    overwrite: Overwrite = False,
) -> None:
    """Find single mitochondria, synapses or cells, number them, and measure each.

    Objects of an OME-Zarr go to an OME-Zarr, block by block: stopped, the same command goes on.
    """
    if output.suffix.lower() not in (".tif", ".tiff", ".zarr"):
        raise typer.BadParameter(
            f"The objects are a TIFF file or an OME-Zarr: name them something.tif or .zarr, not '{output}'."
        )
    volume = output.suffix == ".zarr"
    if not volume and (workers is not None or scheduler is not None or dashboard):
        raise typer.BadParameter("Workers are for volumes: name the output something.zarr.")
    if cell_table is not None and in_cells is None:
        raise typer.BadParameter("--cell-table says what lies in cells: give them (--in-cells).")
    with reporting("Nothing half-written was left."):
        from napari_feedback_seg.objects.files import ObjectsJob, write_objects
        from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, Through
        from napari_feedback_seg.volumes.events import BlockFailed, VolumeDone
        from napari_feedback_seg.volumes.objects import number_objects

        defaults = ObjectOptions()
        try:
            if spacing is not None and not 0 < spacing < float("inf"):
                raise ValueError(f"A distance of sections is a number of nm above 0, not {spacing}.")
            if through not in [each.value for each in Through]:
                raise ValueError(
                    f"Objects go through a stack by auto, volume, overlap or none, not {through!r}."
                )
            sides = pixel_sides(pixel_size)
            least_nm = defaults.least_nm if least is None else least
            options: ObjectOptions | CellOptions
            if cells:
                options = CellOptions(Through(through), bias, least_nm, gap)
            else:
                options = ObjectOptions(
                    Through(through),
                    least_nm=least_nm,
                    gap=gap,
                    split=defaults.split if split is None else split,
                    holes_nm=holes,
                    smooth_nm=smooth,
                    close_nm=close,
                    open_nm=open_up,
                )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        job = ObjectsJob(
            source,
            output,
            label,
            options,
            (sides, sides) if isinstance(sides, float) else sides,
            spacing,
            table,
            cell_table,
            image,
            in_cells,
            tuple(distance_to or ()),
            decimal_comma,
        )
        steps = (
            number_objects(
                job, overwrite=overwrite, workers=workers, scheduler=scheduler, dashboard=dashboard
            )
            if volume
            else write_objects(job, overwrite=overwrite)
        )
        with progress_bar() as progress, closing(steps):
            bar = progress.add_task("objects", total=None)
            while True:
                try:
                    event = next(steps)
                except StopIteration as stop:
                    found = stop.value
                    break
                for message in getattr(event, "messages", ()):
                    err.print(f"[yellow]{escape(source.name)}:[/yellow] {escape(message)}", soft_wrap=True)
                if isinstance(event, BlockFailed):
                    err.print(f"[red]Block {event.block}:[/red] {escape(str(event.error))}", soft_wrap=True)
                else:
                    progress.update(bar, total=event.total, completed=event.done)
        if isinstance(found, VolumeDone):
            err.print(
                f"{len(found.failed)} blocks could not be read, and so nothing was joined. Run the same "
                "command again to try these once more.",
                soft_wrap=True,
            )
            raise typer.Exit(1)
        for message in found.messages:
            err.print(f"[yellow]{escape(source.name)}:[/yellow] {escape(message)}", soft_wrap=True)
        name = "cells" if cells else label
        out.print(f"{found.count} {escape(name)}{_density(found)}", soft_wrap=True)
        for path in job.outputs:
            out.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _density(found: object) -> str:
    """Return how dense they lie, in words."""
    whole = getattr(found, "image", None)
    if whole is None or not found.count:  # type: ignore[attr-defined]
        return ""
    name = next(each for each in whole.columns if each.startswith("density"))
    unit = {"um3": "µm³", "um2": "µm²", "px": "pixel"}[name.rpartition("_")[2]]
    of = "what is segmented" if whole["segmented"][0] < 1 else "the image"
    return f", {whole[name][0]:.3g} per {unit}, {whole['fraction'][0]:.1%} of {of}"
