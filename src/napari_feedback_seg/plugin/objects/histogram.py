"""How a measure is spread over the objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph

from napari_feedback_seg.plugin.forms.plot import Plot
from napari_feedback_seg.plugin.objects.table import heading, shown

if TYPE_CHECKING:
    from napari_feedback_seg.objects.table import Table

_HEIGHT, _BINS, _COLOUR = 110, 24, "#2f93d2"


class Histogram(Plot):
    """Bars: how many objects have a measure within each part of its range."""

    def __init__(self) -> None:
        super().__init__(_HEIGHT, left=True)
        self.bars = pyqtgraph.BarGraphItem(x0=[], x1=[], height=[], brush=_COLOUR)
        self.axes.addItem(self.bars)

    def show_measure(self, table: Table | None, column: str) -> None:
        """Show a column of a table; nothing if it has none."""
        values = np.asarray(table[column], float) if table is not None and column in table.columns else None
        values = values[np.isfinite(values)] if values is not None else np.zeros(0)
        self.setVisible(bool(len(values)))
        if not len(values):
            return
        counts, edges = np.histogram(values, _BINS)
        self.bars.setOpts(x0=edges[:-1], x1=edges[1:], height=counts)
        self.axes.setXRange(float(edges[0]), float(edges[-1]))
        self.axes.setYRange(0, int(counts.max()))
        name = heading(column).replace("\n", ", ")
        self.legend.setText(
            f"{name}: median {shown(float(np.median(values)))}, mean {shown(float(values.mean()))}"
        )
