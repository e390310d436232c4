"""A button for each class that can be painted, and what was painted of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QKeySequence
from qtpy.QtWidgets import (
    QAction,
    QButtonGroup,
    QColorDialog,
    QGridLayout,
    QInputDialog,
    QLabel,
    QPushButton,
    QShortcut,
    QWidget,
)

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.plugin.forms.row import column, sentence
from napari_feedback_seg.plugin.segment.legend import color_icon
from napari_feedback_seg.plugin.session.correct.painted.counts import summed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.session import Session

ERASER = "eraser"
_MOST_CHORDS = 9


class ClassButtons(QWidget):
    """Choose what to paint: a class, or the eraser; and see how much of each is painted."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.buttons: dict[int, QPushButton] = {}
        self.counts: dict[int, QLabel] = {}
        self.mutes: dict[int, QPushButton] = {}
        self._classes: tuple[tuple[LabelClass, ...], tuple[LabelClass, ...]] | None = None
        self._shortcuts: list[QShortcut] = []
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self.add_button = QPushButton("Add a class...")
        self.add_button.setToolTip("A class that the model does not know yet, by name and colour")
        self.add_button.clicked.connect(self._ask)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setHorizontalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        column(self, self._grid)

    def redraw(self) -> None:
        """Show the classes that there are, and the pixels and strokes of each."""
        corrections = self._session.correcting.corrections
        self._show_classes(corrections.classes, corrections.added)
        counts, muted = summed(corrections.counts.values()), self._session.instant.teaching.muted_classes
        for value, label in self.counts.items():
            found = counts.get(value)
            strokes = f"{found.strokes} stroke{'s' * (found.strokes != 1)}" if found else ""
            label.setText(f"{strokes}, {found.pixels:,} px" if found else "")
            if value in self.mutes:
                self.mutes[value].setVisible(found is not None or value in muted)
                show_muted(self.mutes[value], value in muted)
        self.show_tool()

    def show_tool(self) -> None:
        """Show by the button that is down what a stroke would be of; none is down with no tool in hand."""
        in_hand = self._session.correcting.in_hand
        self._group.setExclusive(False)
        for value, button in self.buttons.items():
            button.setChecked(value == in_hand)
        self._group.setExclusive(True)

    def _show_classes(self, classes: Sequence[LabelClass], added: Collection[LabelClass]) -> None:
        """Make the buttons anew if the classes are others; those that were added can be removed."""
        if (tuple(classes), tuple(added)) == self._classes:
            return
        self._classes = tuple(classes), tuple(added)
        for widget in (*self.buttons.values(), *self.counts.values(), *self.mutes.values()):
            self._grid.removeWidget(widget)
            widget.deleteLater()
        for shortcut in self._shortcuts:
            shortcut.deleteLater()
        self.buttons, self.counts, self.mutes, self._shortcuts = {}, {}, {}, []
        rows = [(each.value, each.name, each.color) for each in classes] + [(UNLABELLED, ERASER, "#ffffff")]
        for row, (value, name, color) in enumerate(rows):
            button = QPushButton(color_icon(color), name)
            button.setCheckable(True)
            button.setStyleSheet("text-align: left; padding: 2px 4px")
            button.clicked.connect(partial(self._session.correcting.paint_with, value))
            self._group.addButton(button)
            chord = row + 1 if value != UNLABELLED else 0
            if chord <= _MOST_CHORDS:
                shortcut = QShortcut(QKeySequence(f"Alt+{chord}"), self)
                shortcut.activated.connect(button.click)
                self._shortcuts.append(shortcut)
            what = f"Paint {name} (label {value})" if value != UNLABELLED else "Take corrections back"
            button.setToolTip(f"{what}, Alt+{chord}" if chord <= _MOST_CHORDS else what)
            if value in {each.value for each in added}:
                self._let_remove(button, value, name)
            count = sentence()
            count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._grid.addWidget(button, row, 0)
            self._grid.addWidget(count, row, 1)
            self.buttons[value], self.counts[value] = button, count
            if value != UNLABELLED:
                self.mutes[value] = self._mute_button(value, name)
                self._grid.addWidget(self.mutes[value], row, 2)
        self._grid.addWidget(self.add_button, len(rows), 0)

    def _mute_button(self, value: int, name: str) -> QPushButton:
        mute = mute_button(f"Do not learn from the strokes of {name}; they stay right where they are")
        mute.clicked.connect(lambda on: self._session.instant.mute_class(value, on))
        mute.setVisible(False)
        return mute

    def _let_remove(self, button: QPushButton, value: int, name: str) -> None:
        remove = QAction(f"Remove {name}", button)
        remove.triggered.connect(lambda: self._session.correcting.remove_class(value))
        button.addAction(remove)
        button.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        button.setToolTip(f"{button.toolTip()}; right click to remove the class")

    def _ask(self) -> None:
        name, there = QInputDialog.getText(self, "Add a class", "Name of the class:")
        name, correcting = name.strip(), self._session.correcting
        if not there or not name:
            return
        color = QColor(correcting.corrections.free_color)
        if name not in {each.name for each in correcting.corrections.classes}:  # or it is refused
            color = QColorDialog.getColor(color, self, f"Colour of {name}")
        if color.isValid():
            correcting.add_class(name, color.name())


def mute_button(tip: str) -> QPushButton:
    """Return a small button that stays down while strokes are muted, and is as wide then as before."""
    button = QPushButton()
    width = button.fontMetrics().horizontalAdvance("muted") + 4  # which Qt leaves beside words
    button.setStyleSheet(f"padding: 1px 2px; min-width: {width}px")
    button.setCheckable(True)
    button.setToolTip(f"<qt>{tip}</qt>")
    show_muted(button, False)
    return button


def show_muted(button: QPushButton, muted: bool) -> None:
    """Let a button show whether its strokes are muted."""
    button.setChecked(muted)
    button.setText("muted" if muted else "mute")
