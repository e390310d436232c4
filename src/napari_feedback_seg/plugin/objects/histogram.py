"""How a measure is spread over the objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.objects.table import heading, shown

if TYPE_CHECKING:
    from napari_feedback_seg.objects.table import Table

_HEIGHT, _BINS, _COLOUR = 110, 24, "#2f93d2"


class Histogram(QWidget):
    """Bars: how many objects have a measure within each part of its range."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        # No PlotWidget: it makes menus that outlive it.
        plot = pyqtgraph.GraphicsLayoutWidget()
        plot.setBackground(None)
        plot.setFixedHeight(_HEIGHT)
        plot.setMinimumWidth(60)
        self._box = plot.addViewBox(row=0, col=1, enableMenu=False, enableMouse=False)
        plot.addItem(pyqtgraph.AxisItem("left", linkView=self._box), row=0, col=0)
        plot.addItem(pyqtgraph.AxisItem("bottom", linkView=self._box), row=1, col=1)
        self.bars = pyqtgraph.BarGraphItem(x0=[], x1=[], height=[], brush=_COLOUR)
        self._box.addItem(self.bars)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.legend)
        layout.addWidget(plot)

    def show_measure(self, table: Table | None, column: str) -> None:
        """Show a column of a table; nothing if it has none."""
        values = np.asarray(table[column], float) if table is not None and column in table.columns else None
        values = values[np.isfinite(values)] if values is not None else np.zeros(0)
        self.setVisible(bool(len(values)))
        if not len(values):
            return
        counts, edges = np.histogram(values, _BINS)
        self.bars.setOpts(x0=edges[:-1], x1=edges[1:], height=counts)
        self._box.setXRange(float(edges[0]), float(edges[-1]))
        self._box.setYRange(0, int(counts.max()))
        name = heading(column).replace("\n", ", ")
        self.legend.setText(
            f"{name}: median {shown(float(np.median(values)))}, mean {shown(float(values.mean()))}"
        )
