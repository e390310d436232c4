"""A row of buttons that goes on below where the dock is narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from superqt import QFlowLayout

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def row(*widgets: QWidget) -> QFlowLayout:
    """Return a layout of widgets beside each other, as many as there is room for."""
    layout = QFlowLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setHorizontalSpacing(4)
    layout.setVerticalSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return layout
