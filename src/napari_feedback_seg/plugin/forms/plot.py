"""A small plot with a legend above it."""

from __future__ import annotations

import pyqtgraph
from qtpy.QtWidgets import QWidget

from napari_feedback_seg.plugin.forms.row import column, sentence


class Plot(QWidget):
    """Axes without a menu and without a mouse.

    Parameters
    ----------
    height : int
        In pixels.
    left : bool
        Whether there is a scale on the left, too.
    """

    def __init__(self, height: int, *, left: bool = False) -> None:
        super().__init__()
        self.legend = sentence()
        plot = pyqtgraph.GraphicsLayoutWidget()  # no PlotWidget: it makes menus that outlive it
        plot.setBackground(None)
        plot.setFixedHeight(height)
        plot.setMinimumWidth(60)
        self.axes = plot.addViewBox(row=0, col=1, enableMenu=False, enableMouse=False)
        if left:
            plot.addItem(pyqtgraph.AxisItem("left", linkView=self.axes), row=0, col=0)
        plot.addItem(pyqtgraph.AxisItem("bottom", linkView=self.axes), row=1, col=1)
        column(self, self.legend, plot)
