"""``feedback-seg measure``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_feedback_seg.cli.options import Overwrite, PixelSides, pixel_sides
from napari_feedback_seg.terminal import err, out, reporting

if TYPE_CHECKING:
    from napari_feedback_seg.segmentation.measure import Measures


def measure(
    labels: Annotated[list[Path], typer.Argument(help="Labels: image files, or OME-Zarr.")],
    table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write areas and profiles, of each section, too.")
    ] = None,
    pixel_size: PixelSides = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the area of each class: how much of what is segmented, and in µm²."""
    with reporting():
        from napari_feedback_seg.classes import EM_CLASSES
        from napari_feedback_seg.errors import InputError
        from napari_feedback_seg.io import check_output, open_image, replacing
        from napari_feedback_seg.io.volume import is_volume
        from napari_feedback_seg.segmentation.measure import COLUMNS, measure_labels
        from napari_feedback_seg.volumes.labelled import open_labelled

        try:
            sides = pixel_sides(pixel_size)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        if table is not None:
            check_output(table, overwrite)
        rows: list[tuple[str, ...]] = [("file", *COLUMNS)]
        for path in labels:
            source, classes = path, EM_CLASSES
            if is_volume(path):
                volume = open_labelled(str(path))
                source, classes = Path(volume.path), volume.classes
            image = open_image(source, labels=True)
            sections = image.sections if len(image.shape) == 3 else image.sections[0]
            size = sides or image.pixel_size_nm
            try:
                found = measure_labels(sections, size, classes=classes)
            except InputError as error:
                raise InputError(f"'{path}': {error}") from error
            if size is None:
                err.print(
                    f"[yellow]{escape(str(path))}:[/yellow] The file does not say its pixel size: areas "
                    "are in pixels. If you know it, give it (--pixel-size).",
                    soft_wrap=True,
                )
            if len(labels) > 1:
                out.print(escape(str(path)), soft_wrap=True)
            out.print(area_table(found))
            rows += [(str(path), *row) for row in list(csv.reader(io.StringIO(found.to_text(","))))[1:]]
        if table is not None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            with replacing(table, overwrite) as temporary:
                temporary.write_text(text.getvalue(), encoding="utf-8", newline="\n")
            out.print(f"wrote {escape(str(table))}", soft_wrap=True)


def area_table(measures: Measures) -> Table:
    """Return the area of each class, of all sections together."""
    together = [row for row in measures.rows if row.section is None]
    known = together[0].um2 is not None
    table = Table("class", "area", "µm²" if known else "pixels", box=None)
    for row in together:
        table.add_row(
            escape(row.name),
            f"{row.percent or 0:.1f}%",
            f"{row.um2:.2f}" if row.um2 is not None else f"{row.pixels:,}",
        )
    return table
