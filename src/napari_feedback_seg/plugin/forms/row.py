"""Buttons, sentences and choosers, and how they are laid out where the dock is narrow."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_feedback_seg.plugin.forms.options_form import narrow

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout


def button(words: str, tip: str) -> QPushButton:
    """Return a button that says what it does, and the key of its words (Alt and the letter behind &)."""
    made = QPushButton(words)
    key = f" (Alt+{words[words.index('&') + 1].upper()})" if "&" in words else ""
    made.setToolTip(f"<qt>{escape(tip)}{key}</qt>")  # as rich text it is wrapped
    return made


def sentence(words: str = "") -> QLabel:
    """Return a label whose words are wrapped."""
    made = QLabel(words)
    made.setWordWrap(True)
    return made


def say(label: QLabel, words: str) -> None:
    """Show words in a label, and no label without any."""
    label.setText(words)
    label.setVisible(bool(words))


def scroll_to(widget: QWidget) -> None:
    """Scroll to a widget as soon as what has changed around it is laid out."""

    def scroll() -> None:
        area = widget.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None and widget.isVisible():
            area.ensureWidgetVisible(widget)

    QTimer.singleShot(0, widget, scroll)


def copy_text(words: str) -> None:
    """Put words on the clipboard."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(words)


def chooser(tip: str) -> QComboBox:
    """Return a chooser that may be narrower than its entries."""
    made = QComboBox()
    made.setToolTip(f"<qt>{tip}</qt>")
    narrow(made)
    return made


def fill(box: QComboBox, items: dict[str, object], chosen: object) -> None:
    """Offer these items, of which one is chosen; nothing is told of it."""
    box.blockSignals(True)
    if [(box.itemText(n), box.itemData(n)) for n in range(box.count())] != list(items.items()):
        box.clear()
        for name, item in items.items():
            box.addItem(name, item)
    box.setCurrentIndex(max(0, box.findData(chosen)) if items else -1)
    box.blockSignals(False)


def column(parent: QWidget, *items: QWidget | QLayout, margin: int = 0) -> QVBoxLayout:
    """Lay widgets and rows out below each other."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(margin, margin * 2 // 3, margin, margin * 2 // 3)
    for item in items:
        if isinstance(item, QWidget):
            layout.addWidget(item)
        else:
            layout.addLayout(item)
    return layout


def row(*widgets: QWidget) -> QWidget:
    """Return widgets beside each other, as many as there is room for."""
    made = QWidget()
    layout = QFlowLayout(made)  # within another layout, PySide6 before 6.11 takes its items for deleted
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setHorizontalSpacing(4)
    layout.setVerticalSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return made
