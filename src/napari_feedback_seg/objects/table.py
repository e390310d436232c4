"""A table of measures: columns with units and a sentence each, as text and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.io import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import KeysView, Mapping

TEXTS = {
    "object": "Number of the object, its label in the image",
    "cell": "Number of the cell; of an object, the cell that most of it lies in, 0 if none",
    "volume": "Volume",
    "area": "Area of the profile",
    "voxels": "Voxels, or pixels in a section",
    "surface": "Area of the surface, from the crossings of lines in 13 directions (Crofton)",
    "perimeter": "Length of the outline, from the crossings of lines in 4 directions (Crofton)",
    "diameter": "Diameter of a ball of the same volume, or a disc of the same area",
    "feret": "Largest distance between two points of the object (maximum Feret diameter)",
    "elongation": "Longest over shortest axis of the ellipsoid, or ellipse, of the same moments; 1 is round",
    "orientation": "Angle of the longest axis, counterclockwise from the rows of the image, 0 to 180",
    "axis_z": "Direction of the longest axis: its z component, as a unit vector",
    "axis_y": "Direction of the longest axis: its y component",
    "axis_x": "Direction of the longest axis: its x component",
    "centroid_z": "Mean section, counted from 0",
    "centroid_y": "Mean row, counted from 0",
    "centroid_x": "Mean column, counted from 0",
    "z_from": "First section, counted from 0",
    "z_to": "Last section",
    "y_from": "First row",
    "y_to": "Last row",
    "x_from": "First column",
    "x_to": "Last column",
    "border": "1 if it touches the border of the image, and so may be cut off; else 0",
    "mean_grey": "Mean grey value of the image",
    "distance": "Shortest distance to the class; empty if the class is out of reach",
    "mesh_volume": "Volume that the mesh encloses",
    "mesh_surface": "Area of the mesh",
    "count": "Number of objects",
    "fraction": "Part of the cell that the objects fill, 0 to 1",
    "density": "Objects per area or volume of what is segmented",
    "segmented": "Part of the image that is segmented, 0 to 1",
}
"""What stands in a column, by the beginning of its name; its end is the unit."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length, by name; a unit is the end of the name, as in ``area_um2``.

    >>> table["area_um2"].mean()
    >>> pandas.DataFrame(dict(table))

    Parameters
    ----------
    columns : mapping of str to ndarray
        The columns; ``len(table)`` counts the rows.
    """

    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def keys(self) -> KeysView[str]:
        """Return the names of the columns, so that ``dict(table)`` holds them."""
        return self.columns.keys()

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> Table:
        """Return a table that has these columns, too."""
        return Table({**self.columns, **columns})

    def row(self, index: int) -> tuple[Any, ...]:
        """Return the values of a row."""
        return tuple(column[index].item() for column in self.columns.values())

    def to_text(self, delimiter: str = "\t", decimal: str = ".") -> str:
        """Return the table with a line of headings.

        A program reads numbers by the decimal sign of its language: with ``decimal=","`` take
        ``delimiter=";"``.
        """
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(self.columns)
        for index in range(len(self)):
            writer.writerow(plain(value, decimal) for value in self.row(index))
        return text.getvalue()

    def write_csv(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, decimal_comma: bool = False
    ) -> None:
        """Write the table as CSV; with decimal commas, with semicolons between the columns.

        Raises
        ------
        OutputError
            If the file is there already or cannot be written, a full disk included.
        """
        with replacing(path, overwrite) as temporary:
            text = self.to_text(";", ",") if decimal_comma else self.to_text(",")
            temporary.write_text(text, encoding="utf-8", newline="\n")


def describe(name: str) -> str:
    """Return what stands in a column."""
    stem = next((each for each in sorted(TEXTS, key=len, reverse=True) if name.startswith(each)), None)
    return TEXTS[stem] if stem else ""


def plain(value: Any, decimal: str = ".") -> str:
    """Return a number with six digits, and nothing for what is unknown."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}".replace(".", decimal)
    return str(int(value)) if isinstance(value, bool) else str(value)
