"""Buttons, sentences, and rows that go on below where the dock is narrow."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QPushButton
from superqt import QFlowLayout

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


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


def row(*widgets: QWidget) -> QFlowLayout:
    """Return a layout of widgets beside each other, as many as there is room for."""
    layout = QFlowLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setHorizontalSpacing(4)
    layout.setVerticalSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return layout
