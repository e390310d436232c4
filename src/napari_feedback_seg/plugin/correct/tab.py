"""The tab in which a person corrects the result, and the model learns from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.correct.class_buttons import ClassButtons
from napari_feedback_seg.plugin.correct.curves import Curves
from napari_feedback_seg.plugin.correct.finetuned import FinetunedModels
from napari_feedback_seg.plugin.correct.looking import Looking
from napari_feedback_seg.plugin.correct.text import missing, summed, where
from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.session.corrections import CorrectionStore
from napari_feedback_seg.plugin.session.learning import Learning
from napari_feedback_seg.plugin.session.recovery import Recovery

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.state import DockState

BRUSH = 8


class CorrectTab(QWidget):
    """Paint over mistakes, fine-tune, look at what changed, save the model."""

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, self._stopping = state, False
        self.store = CorrectionStore(state, self)
        self.models = FinetunedModels(state, self)
        self.recovery = Recovery(state, self.store, self.models, self)
        self.learning = Learning(state, self.store, self.models, self.recovery, self)
        self.looking = Looking(state, self.store, self.learning.options, self)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._refresh()

    # --- widgets

    def _make_widgets(self) -> None:
        self.model_label = QLabel()
        self.model_label.setWordWrap(True)
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Go back to the model before the last fine-tune, and to what it said")
        self.redo_button = QPushButton("Redo")
        self.redo_button.setToolTip("Take the fine-tuned model again")
        self.classes = ClassButtons()
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.look_button = QPushButton("Where to look next")
        self.look_button.setToolTip("Go to where the model is least sure and nothing is corrected yet")
        self.steps_box = QSpinBox()
        self.steps_box.setRange(1, 100_000)
        self.rate_box = DecimalBox()
        self.rate_box.setDecimals(5)
        self.rate_box.setRange(0.00001, 1.0)
        self.rate_box.setSingleStep(0.0005)
        self.rehearsal_box = DecimalBox()
        self.rehearsal_box.setRange(0, 1000)
        self.rehearsal_box.setToolTip("How much to keep what the model was sure of; 0 for not at all")
        self.tune_button = QPushButton("Fine-tune")
        self.tune_button.setToolTip("Let the model learn from all corrections of this image")
        self.keep_button = QPushButton("Stop, keep the best")
        self.back_button = QPushButton("Stop, go back")
        self.progress = QProgressBar()
        self.curves = Curves()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.before_button = QPushButton("Show what it said before")
        self.before_button.setCheckable(True)
        self.rest_button = QPushButton("Segment the rest")
        self.save_button = QPushButton("Save the model as...")
        self.offer = QFrame()
        self.offer.setFrameShape(QFrame.Shape.StyledPanel)
        self.offer_label = QLabel()
        self.offer_label.setWordWrap(True)
        self.restore_button = QPushButton("Restore")
        self.discard_button = QPushButton("Discard")

    def _lay_out(self) -> None:
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(6, 4, 6, 4)
        offer.addWidget(self.offer_label)
        offer.addLayout(_row(self.restore_button, self.discard_button))
        settings = QWidget()
        form = QFormLayout(settings)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("&Steps", self.steps_box)
        form.addRow("&Learning rate", self.rate_box)
        form.addRow("Re&hearsal", self.rehearsal_box)
        self.settings_fold = Fold("Settings", settings)
        self.running = QWidget()
        running = QVBoxLayout(self.running)
        running.setContentsMargins(0, 0, 0, 0)
        running.addWidget(self.progress)
        running.addLayout(_row(self.keep_button, self.back_button))
        layout = QVBoxLayout(self)
        layout.addWidget(self.offer)
        layout.addWidget(self.classes)
        layout.addWidget(self.note)
        layout.addWidget(self.look_button)
        layout.addWidget(self.settings_fold)
        layout.addWidget(self.tune_button)
        layout.addWidget(self.running)
        layout.addWidget(self.curves)
        layout.addWidget(self.status)
        layout.addLayout(_row(self.before_button, self.rest_button))
        layout.addWidget(self.model_label)
        layout.addLayout(_row(self.undo_button, self.redo_button, self.save_button))
        layout.addStretch(1)

    def _connect(self) -> None:
        state = self._state
        self.classes.chosen.connect(self.paint_with)
        self.classes.wanted.connect(self.add_class)
        self.classes.unwanted.connect(self.remove_class)
        self.store.changed.connect(self._refresh)
        self.models.changed.connect(self._refresh)
        state.model_changed.connect(self._refresh)
        state.result_changed.connect(self._refresh)
        state.image_changed.connect(self._forget_status)
        state.jobs.started.connect(self._show_running)
        state.jobs.progressed.connect(self._show_progress)
        state.jobs.ended.connect(self._show_idle)
        self.recovery.changed.connect(self._show_offer)
        self.restore_button.clicked.connect(self.recovery.restore)
        self.discard_button.clicked.connect(self.recovery.discard)
        self.look_button.clicked.connect(self.looking.next_place)
        self.looking.said.connect(self.status.setText)
        self.tune_button.clicked.connect(self.fine_tune)
        self.keep_button.clicked.connect(self.learning.stop_and_keep)
        self.back_button.clicked.connect(self._state.jobs.cancel)
        for button in (self.keep_button, self.back_button):
            button.clicked.connect(self._show_stopping)
        self.learning.said.connect(self.status.setText)
        self.learning.part.connect(self.curves.begin_part)
        self.learning.step.connect(self.curves.add_training)
        self.learning.check.connect(self.curves.add_held_out)
        self.learning.swapped.connect(self._refresh)
        self.before_button.toggled.connect(self.learning.show_before)
        self.rest_button.clicked.connect(self.learning.segment_rest)
        self.undo_button.clicked.connect(self.learning.undo)
        self.redo_button.clicked.connect(self.learning.redo)
        self.save_button.clicked.connect(self._ask_for_name)
        defaults = self.learning.config()
        self.steps_box.setValue(defaults.steps)
        self.rate_box.setValue(defaults.learning_rate)
        self.rehearsal_box.setValue(defaults.rehearsal)

    # --- what a person does

    def paint_with(self, value: int) -> None:
        """Take napari's brush in hand, on the corrections, with a class; 0 takes corrections back."""
        new = self.store.layer is None
        try:
            layer = self.store.make_layer()
        except FeedbackSegError as error:
            self._fail(error)
            return
        viewer = self._state.viewer
        viewer.layers.selection.active = layer
        layer.visible = True
        layer.selected_label = value
        if new:
            layer.brush_size = BRUSH
        layer.mode = "paint"
        self.classes.check(value)

    def add_class(self, name: str, color: str) -> None:
        """Add a class that the model does not know, and paint with it."""
        try:
            new = self.store.add_class(name, color)
        except FeedbackSegError as error:
            self._fail(error)
            return
        self._state.result_changed.emit()  # the result knows it now
        self.paint_with(new.value)

    def remove_class(self, value: int) -> None:
        """Take an added class away again, if nothing is painted with it."""
        try:
            self.store.remove_class(value)
        except FeedbackSegError as error:
            self._fail(error)

    def fine_tune(self) -> None:
        """Let the model learn from the corrections."""
        self.store.look()
        if self.store.odd_values:
            show_warning(missing(self.store.counts, self.store.classes, self.store.odd_values))
            return
        config = self.learning.config(
            steps=self.steps_box.value(),
            learning_rate=self.rate_box.value(),
            rehearsal=self.rehearsal_box.value(),
        )
        self.before_button.setChecked(False)
        try:
            if self.learning.start(config):
                self.curves.clear()
        except FeedbackSegError as error:
            self._fail(error)

    def save_as(self, name: str) -> None:
        """Save the model in use to the library."""
        try:
            self.models.save_as(name)
        except FeedbackSegError as error:
            self._fail(error)
            return
        self.recovery.note_model(None)
        show_info(f"The model '{name}' is in your models folder now.")

    def _ask_for_name(self) -> None:
        name, there = QInputDialog.getText(
            self, "Save the model", "Name in your models folder:", text=self.models.current
        )
        if there:
            self.save_as(name.strip())

    # --- what is shown

    def _refresh(self, *_: Any) -> None:
        store, image = self.store, self._state.image
        self.classes.show_classes(store.classes, store.added)
        self.classes.show_counts(summed(store.counts))
        stack = image is not None and image.ndim > 2
        text = store.problem or missing(store.counts, store.classes, store.odd_values)
        text = f"{text} {store.hint}".strip()
        self.note.setText(where(store.counts, stack) + text if image is not None else "Open an image first.")
        unsaved = " (not saved yet)" if self.models.unsaved else ""
        self.model_label.setText(f"Model in use: {self.models.current}{unsaved}")
        if not self.learning.shows_before and self.before_button.isChecked():
            self.before_button.setChecked(False)
        self._show_offer()
        self._show_idle()

    def _show_offer(self) -> None:
        self.offer_label.setText(self.recovery.offer)
        self.offer.setVisible(bool(self.recovery.offer))

    def _show_running(self, title: str) -> None:
        self._show_idle()
        self.progress.setRange(0, 0)

    def _show_progress(self, done: int, total: int, seconds_left: float) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        left = f", about {max(1, round(seconds_left))} s left" if seconds_left >= 0 else ""
        if self.learning.running and total and not self._stopping:
            self.status.setText(f"{self.learning.what}: step {done} of {total}{left}")

    def _forget_status(self) -> None:
        if not self.learning.running:
            self.status.clear()

    def _show_stopping(self) -> None:
        self._stopping = True
        self.status.setText("Stopping after this step...")
        self.keep_button.setEnabled(False)
        self.back_button.setEnabled(False)

    def _show_idle(self) -> None:
        busy, models = self._state.jobs.busy, self.models
        if not busy:
            self._stopping = False
            self.keep_button.setEnabled(True)
            self.back_button.setEnabled(True)
        self.before_button.setEnabled(self.learning.can_show_before and not busy)
        self.undo_button.setEnabled(models.earlier is not None and not busy)
        self.redo_button.setEnabled(models.later is not None and not busy)
        self.save_button.setEnabled(models.unsaved and not busy)
        self.rest_button.setEnabled(self.store.predicted != {} and not busy)
        self.running.setVisible(busy)
        self.keep_button.setVisible(self.learning.running)
        self.back_button.setText("Stop, go back" if self.learning.running else "Cancel")
        self.tune_button.setEnabled(not busy)
        self.curves.setVisible(bool(self.curves.training) or self.learning.running)

    def _fail(self, error: Exception) -> None:
        self.status.setText(str(error))
        show_error(str(error))

    def cleanup(self) -> None:
        """Let go of layers and files; may be called again."""
        for part in (self.recovery, self.looking, self.learning, self.store):
            part.cleanup()


def _row(*widgets: QWidget) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, 1)
    return layout
