"""The tab in which a person corrects the result, and the model learns from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QInputDialog, QMessageBox, QProgressBar, QWidget

from napari_feedback_seg.plugin.correct.class_buttons import ClassButtons
from napari_feedback_seg.plugin.correct.curves import Curves
from napari_feedback_seg.plugin.correct.instant_box import InstantBox
from napari_feedback_seg.plugin.correct.proposal import ProposalBox
from napari_feedback_seg.plugin.correct.text import missing, where
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.forms.options_form import OptionsForm
from napari_feedback_seg.plugin.forms.row import button, column, row, say, scroll_to, sentence
from napari_feedback_seg.plugin.session.jobs import State

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class CorrectTab(QWidget):
    """Paint over mistakes, fine-tune, look at what changed, save the model."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._redraw()

    # --- widgets

    def _make_widgets(self) -> None:
        self.model_label = sentence()
        self.undo_button = button(
            "Undo", "Go back to the model before the last Fine-tune or Make it permanent, and what it says"
        )
        self.redo_button = button("Redo", "Take the model that was undone again, and what it says")
        self.offer = QFrame()
        self.offer.setFrameShape(QFrame.Shape.StyledPanel)
        self.offer_label = sentence()
        self.restore_button = button("Restore", "Put back what was kept")
        self.discard_button = button("Discard...", "Delete what was kept; you are asked before")
        self.classes = ClassButtons(self._session)
        self.note = sentence()
        self.instant_box = InstantBox(self._session)
        self.look_button = button(
            "Where to look next", "Go to where the model is least sure and nothing is corrected yet"
        )
        self.place_label = sentence()
        self.form = OptionsForm(self._session.correcting.config)
        self.permanent_button = button(
            "Make it permanent",
            "Make a model that knows by itself what the strokes taught, for other images too. "
            "It takes seconds.",
        )
        self.tune_button = button(
            "Fine-tune",
            "Train the model on all corrections of this image: takes a minute or so. You see before and "
            "after, and choose. Worth a try where strokes do not help enough.",
        )
        self.keep_button = button("Stop, keep the best", "End early, and take the best that was found")
        self.back_button = button("Stop, go back", "End early; the model stays as it was")
        self.progress = QProgressBar()
        self.curves = Curves()
        self.status = sentence()
        self.proposal_box = ProposalBox(self._session.correcting)
        self.before_button = button(
            "Show what it said before", "Switch between this model and the one before"
        )
        self.before_button.setCheckable(True)
        self.rest_button = button(
            "Segment the rest", "Segment the sections that the model in use has not segmented yet"
        )
        self.save_button = button("Save the model as...", "Put the model into your models folder")

    def _lay_out(self) -> None:
        column(self.offer, self.offer_label, row(self.restore_button, self.discard_button), margin=6)
        self.settings_fold = Fold("Settings", self.form)
        self.running = QWidget()
        column(self.running, self.progress, row(self.keep_button, self.back_button))
        column(
            self,
            self.model_label,
            row(self.undo_button, self.redo_button),
            self.offer,
            self.classes,
            self.note,
            self.instant_box,
            self.look_button,
            self.place_label,
            self.settings_fold,
            row(self.permanent_button, self.tune_button),
            self.running,
            self.curves,
            self.status,
            self.proposal_box,
            self.before_button,
            self.rest_button,
            self.save_button,
            margin=9,
        ).addStretch(1)

    def _connect(self) -> None:
        session, correcting = self._session, self._session.correcting
        self.look_button.clicked.connect(correcting.doubt.next_place)
        self.form.changed.connect(correcting.set_config)
        self.permanent_button.clicked.connect(session.permanent.make)
        self.tune_button.clicked.connect(correcting.fine_tune)
        for each in (self.permanent_button, self.tune_button):  # whose progress, or refusal, is further down
            each.clicked.connect(lambda: scroll_to(self.status))
        self.keep_button.clicked.connect(partial(correcting.stop, keep_best=True))
        self.back_button.clicked.connect(partial(correcting.stop, keep_best=False))
        self.before_button.clicked.connect(correcting.show_before)
        self.undo_button.clicked.connect(correcting.undo)
        self.redo_button.clicked.connect(correcting.redo)
        self.rest_button.clicked.connect(correcting.segment_rest)
        self.save_button.clicked.connect(self._ask_for_name)
        self.restore_button.clicked.connect(correcting.journal.restore)
        self.discard_button.clicked.connect(self._ask_to_discard)
        session.changed.connect(self._on_changed)

    def _ask_for_name(self) -> None:
        name, there = QInputDialog.getText(
            self, "Save the model", "Name in your models folder:", text=self._session.model_name
        )
        if there:
            self._session.correcting.save_as(name.strip())

    def _ask_to_discard(self) -> None:
        journal = self._session.correcting.journal
        answer = QMessageBox.question(self, "Discard what was kept?", journal.warning)
        if answer == QMessageBox.StandardButton.Yes:
            journal.discard()

    # --- what is shown

    def _on_changed(self, part: str) -> None:
        if part == "job":
            self._redraw_job()
        elif part == "tool":
            self.classes.show_tool()
        elif part in ("correcting", "instant", "image", "layers", "model", "result"):
            self._redraw()

    def _redraw(self) -> None:
        session, correcting = self._session, self._session.correcting
        corrections, image = correcting.corrections, session.image
        self.classes.redraw()
        text = corrections.problem or missing(corrections.counts, corrections.classes, corrections.unknown)
        stack = image is not None and image.ndim > 2
        note = f"{where(corrections.counts, stack)}{text}"
        self.note.setText(note if image is not None else "Open an image first.")
        unsaved = " (not saved yet)" if correcting.models.unsaved else ""
        self.model_label.setText(f"Model in use: {session.model_name}{unsaved}")
        self.offer_label.setText(correcting.journal.offer)
        self.offer.setVisible(bool(correcting.journal.offer))
        say(self.status, correcting.status)
        say(self.place_label, correcting.doubt.text)
        self.form.value = correcting.config
        self.curves.show_losses(correcting.losses)
        self.proposal_box.redraw()
        self._redraw_job()

    def _redraw_job(self) -> None:
        jobs, correcting = self._session.jobs, self._session.correcting
        busy, tuning = jobs.busy, correcting.is_tuning
        stopping = jobs.state is State.CANCELLING
        self.progress.setRange(0, jobs.total)
        self.progress.setValue(jobs.done)
        self.running.setVisible(busy)
        self.keep_button.setVisible(tuning)
        self.keep_button.setEnabled(not stopping)
        self.back_button.setEnabled(not stopping)
        self.back_button.setText("Stopping..." if stopping else "Stop, go back" if tuning else "Cancel")
        self.before_button.setVisible(correcting.proposal is None)  # else it has buttons for that
        self.before_button.setEnabled(correcting.can_show_before and not busy)
        self.before_button.setChecked(correcting.shows_before)
        self.undo_button.setEnabled(correcting.models.earlier is not None and not busy)
        self.redo_button.setEnabled(correcting.models.later is not None and not busy)
        self.save_button.setEnabled(correcting.models.unsaved and not busy)
        self.rest_button.setEnabled(self._session.result is not None and bool(correcting.rest) and not busy)
        self.permanent_button.setEnabled(not busy)
        self.tune_button.setEnabled(not busy)
        self.look_button.setEnabled(not busy)
        self.curves.setVisible(bool(correcting.losses.training) or tuning)
        self.proposal_box.setEnabled(not busy)
