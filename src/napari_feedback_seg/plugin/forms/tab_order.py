"""The Tab key goes through a panel as the eye does."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qtpy.QtWidgets import QLayout


def order_tabs(panel: QWidget) -> None:
    """Let Tab go through a panel in the order of its layouts, in whatever order the widgets were made."""
    for one, other in pairwise(_in_order(panel)):
        QWidget.setTabOrder(one, other)


def _in_order(widget: QWidget) -> Iterator[QWidget]:
    if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None:
        yield widget
        return
    layout = widget.layout()
    if layout is not None:
        yield from _of_layout(layout)


def _of_layout(layout: QLayout) -> Iterator[QWidget]:
    items = [layout.itemAt(index) for index in range(layout.count())]
    if isinstance(layout, QFormLayout):  # whose items come in the order in which they were added
        roles = (
            QFormLayout.ItemRole.LabelRole,
            QFormLayout.ItemRole.FieldRole,
            QFormLayout.ItemRole.SpanningRole,
        )
        items = [layout.itemAt(row, role) for row in range(layout.rowCount()) for role in roles]
    for item in items:
        if item is None:
            continue
        if item.widget() is not None:
            yield from _in_order(item.widget())
        elif item.layout() is not None:
            yield from _of_layout(item.layout())
