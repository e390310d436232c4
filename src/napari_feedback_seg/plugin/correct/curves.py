"""A small plot of a fine-tune while it goes on."""

from __future__ import annotations

import numpy as np
import pyqtgraph

from napari_feedback_seg.plugin.forms.plot import Plot
from napari_feedback_seg.plugin.session.correct.fine_tuning import Losses

_TRAINING, _HELD_OUT = "#2f93d2", "#dd7a00"
_HEIGHT = 90


class Curves(Plot):
    """Training loss and held-out loss over the steps, each on a scale from 0 to its highest value."""

    def __init__(self) -> None:
        super().__init__(_HEIGHT)
        self.axes.setYRange(0, 1)
        self.curves = tuple(
            pyqtgraph.PlotDataItem(
                pen=pyqtgraph.mkPen(color, width=2),
                connect="finite",
                symbol=symbol,
                symbolSize=5,
                symbolBrush=color,
                symbolPen=None,
            )
            for color, symbol in ((_TRAINING, None), (_HELD_OUT, "o"))
        )
        for curve in self.curves:
            self.axes.addItem(curve)
        self.show_losses(Losses())

    def show_losses(self, losses: Losses) -> None:
        """Show the losses of a fine-tune."""
        second = "held-out loss" if losses.is_held_out else "loss on all corrections"
        self.axes.setXRange(0, losses.total)
        labels = []
        for curve, color, name, points in zip(
            self.curves,
            (_TRAINING, _HELD_OUT),
            ("training loss", second),
            (losses.training, losses.held_out),
            strict=True,
        ):
            # A gap after each part, so that no line goes over from one to the next.
            gaps = [(step + 0.5, np.nan) for step in losses.breaks]
            steps, values = np.array(sorted([*points, *gaps]), float).reshape(-1, 2).T
            highest = max((loss for _, loss in points), default=0.0) or 1.0
            curve.setData(steps, values / highest)
            last = f" {points[-1][1]:.2f}" if points else ""
            labels.append(f"<span style='color: {color}'>■</span> {name}{last}")
        self.legend.setText("&nbsp; ".join(labels))
