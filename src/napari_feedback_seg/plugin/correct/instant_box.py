"""Answers to strokes: on or off, what they changed, and which stroke did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QFrame, QGridLayout, QPushButton, QToolButton, QWidget

from napari_feedback_seg.plugin.correct.class_buttons import mute_button, show_muted
from napari_feedback_seg.plugin.correct.text import changes, reason, unknown, why
from napari_feedback_seg.plugin.forms.row import button, column, row, say, sentence

if TYPE_CHECKING:
    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.plugin.session.session import Session

FLASH_MS = 1500
"""How long what has changed is outlined."""

MOST_REASONS = 5

_WITHOUT = "Show what the model says without the strokes"


class InstantBox(QFrame):
    """Shows what the strokes have changed, and why; says whether they are answered at once."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._shown = 0
        self._listed: list[tuple[str, str]] = []
        self.mutes: dict[str, QPushButton] = {}
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.on_box = QCheckBox("Answer at once")
        self.on_box.setToolTip(
            "<qt>Each stroke also corrects similar places, here and on all segmented sections, "
            "in about a second. The model stays as it is.</qt>"
        )
        self.changes, self.unknown, self.why = sentence(), sentence(), sentence()
        self.before_button = button("Without strokes", _WITHOUT)
        self.why_button = button("Why?", "Click on a place in the image to see which strokes changed it")
        for each in (self.before_button, self.why_button):
            each.setCheckable(True)
        self.rows = QWidget()
        self._grid = QGridLayout(self.rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)
        self._grid.setHorizontalSpacing(2)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(session.instant.end_flash)
        buttons = row(self.before_button, self.why_button)
        column(self, self.on_box, self.changes, buttons, self.unknown, self.why, self.rows, margin=6)
        self.on_box.clicked.connect(session.instant.set_on)
        self.before_button.clicked.connect(session.instant.show_before)
        self.why_button.clicked.connect(session.instant.set_picking)
        session.changed.connect(self._on_changed)
        session.instant.wake()
        self.redraw()

    def _on_changed(self, part: str) -> None:
        if part in ("instant", "job", "model", "image"):
            self.redraw()

    def redraw(self) -> None:
        """Show how it is."""
        instant, corrections = self._session.instant, self._session.correcting.corrections
        self.on_box.setChecked(instant.on)
        say(self.changes, instant.status or changes(instant.shown.changed_pixels, corrections.classes))
        self.before_button.setEnabled(instant.can_show_before and not self._session.jobs.busy)
        self.before_button.setChecked(instant.shows_before)
        text = unknown(instant.shown.unknown)
        self.before_button.setToolTip(f"<qt>{_WITHOUT}. {text}</qt>" if text else f"<qt>{_WITHOUT}</qt>")
        say(self.unknown, text if instant.shows_before else "")
        self.why_button.setEnabled(instant.on and self._session.result is not None)
        self.why_button.setChecked(instant.picking)
        if instant.shown.outlines != self._shown:
            self._shown = instant.shown.outlines
            self._timer.start(FLASH_MS)
        self._show_why()

    def _show_why(self) -> None:
        instant, classes = self._session.instant, self._session.correcting.corrections.classes
        found = instant.why.speak_for[:MOST_REASONS] if instant.why is not None else ()
        text = "Click on a place in the image." if instant.picking and instant.why is None else ""
        if instant.why is not None:
            text = why(instant.why)
        say(self.why, text)
        rows = [(each.stroke, reason(each.stroke, each.moved, classes)) for each in found]
        muted = [
            each
            for each in instant.teaching.muted
            if not any(other.stroke.lies_on(each.section[1], *each.centre) for other in found)
        ]
        rows += [(each, reason(each, 0, classes)) for each in muted]
        if [(stroke.key, words) for stroke, words in rows] != self._listed:
            self._listed = [(stroke.key, words) for stroke, words in rows]
            self._list(rows)
        for stroke, _ in rows:
            show_muted(self.mutes[stroke.key], instant.teaching.is_muted(stroke))
        self.rows.setVisible(bool(rows))

    def _list(self, rows: list[tuple[Stroke, str]]) -> None:
        self.mutes = {}
        while self._grid.count():
            widget = self._grid.takeAt(0).widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for number, (stroke, words) in enumerate(rows):
            self._add_row(number, stroke, words)

    def _add_row(self, number: int, stroke: Stroke, words: str) -> None:
        instant = self._session.instant
        go, mute = QToolButton(), mute_button("Do not learn from this stroke; it stays right where it is")
        go.setText("go")
        go.setToolTip("Go to this stroke")
        self.mutes[stroke.key] = mute
        go.clicked.connect(lambda _: instant.go_to(stroke))
        mute.clicked.connect(lambda on: instant.mute(stroke, on))
        for place, widget in enumerate((sentence(words), go, mute)):
            self._grid.addWidget(widget, number, place)
