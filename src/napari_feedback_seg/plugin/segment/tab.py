"""The tab that segments the open image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QProgressBar, QWidget

from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.forms.layer_chooser import LayerChooser
from napari_feedback_seg.plugin.forms.options_form import OptionsForm
from napari_feedback_seg.plugin.forms.row import button, chooser, column, row, say, sentence
from napari_feedback_seg.plugin.segment.batch_panel import BatchPanel
from napari_feedback_seg.plugin.segment.beside_frame import BesideFrame
from napari_feedback_seg.plugin.segment.compare import ComparePanel
from napari_feedback_seg.plugin.segment.export import ExportButton
from napari_feedback_seg.plugin.segment.legend import Legend
from napari_feedback_seg.plugin.segment.measure import MeasurePanel
from napari_feedback_seg.plugin.segment.model_box import ModelBox
from napari_feedback_seg.plugin.segment.pixel_size import PixelSizeNote
from napari_feedback_seg.plugin.segment.what_box import WhatBox
from napari_feedback_seg.plugin.session.jobs import State

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session

DEVICES = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}


class SegmentTab(QWidget):
    """Choose an image, a model and what to segment; press Segment."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._make_widgets()
        self._lay_out()
        self.image_box.changed.connect(self._choose_image)
        self.device_box.activated.connect(self._choose_device)
        self.options_form.changed.connect(session.segmenting.set_options)
        self.segment_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(session.jobs.cancel)
        self.undo_button.clicked.connect(session.last_run.undo)
        self.split_button.clicked.connect(session.last_run.show_split)
        session.changed.connect(self._draw)
        for part in ("image", "settings", "segmenting", "job"):
            self._draw(part)

    # --- widgets

    def _make_widgets(self) -> None:
        session = self._session
        self.image_box = LayerChooser(
            lambda: session.images,
            tooltip="<qt>The image to segment (Alt+I); it follows the active layer of the viewer</qt>",
        )
        self.models = ModelBox(session)
        self.device_box = chooser(
            "What the network runs on (Alt+D); Automatic takes a GPU where there is one"
        )
        for device, name in DEVICES.items():
            self.device_box.addItem(name, device)
        self.what_box = WhatBox(session)
        self.pixel_note = PixelSizeNote(session)
        self.options_form = OptionsForm(session.segmenting.options)
        self.segment_button = button("&Segment", "Segment what is chosen above: Ctrl+Return in the dock")
        self.segment_button.setShortcut("Ctrl+Return")
        self.segment_button.setMinimumWidth(120)
        self.cancel_button = button("&Cancel", "Stop after the next step; sections that are done stay")
        self.undo_button = button("U&ndo", "Bring back the result before the last run, or that of the run")
        self.split_button = button(
            "Before | &after", "Show the result before the last run and after it, side by side"
        )
        self.progress = QProgressBar()
        self.status = sentence()
        self.beside = BesideFrame(session)
        self.legend = Legend(session)
        self.measure_panel = MeasurePanel(session)
        self.compare_panel = ComparePanel(session)
        self.compare_fold = Fold("Compare with a ground truth", self.compare_panel)
        self.export_button = ExportButton(session, self.measure_panel.least_box.value)
        self.batch_panel = BatchPanel(session)
        self.batch_fold = Fold("Many files", self.batch_panel)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, widget in (
            ("&Image", self.image_box.native),
            ("&Model", self.models),
            ("&Device", self.device_box),
            ("&What", self.what_box),
        ):
            form.addRow(name, widget)
        form.insertRow(2, self.models.fold)
        self.models.setFocusProxy(self.models.chooser)
        self.settings_fold = Fold("Settings", self.options_form)
        column(
            self,
            form,
            self.pixel_note,
            self.settings_fold,
            row(self.segment_button, self.cancel_button),
            self.progress,
            self.status,
            row(self.undo_button, self.split_button),
            self.beside,
            self.legend,
            self.measure_panel,
            self.export_button,
            self.compare_fold,
            self.batch_fold,
            margin=6,
        ).addStretch(1)

    # --- what a person does

    def _choose_image(self) -> None:
        self._session.image = self.image_box.value

    def _choose_device(self, index: int) -> None:
        self._session.device = self.device_box.itemData(index)
        self._session.tell("settings")

    def segment(self) -> None:
        """Segment what is chosen."""
        self._session.segmenting.segment()

    # --- what is shown

    def _draw(self, part: str) -> None:
        session = self._session
        if part in ("image", "layers"):
            self.image_box.draw(session.image)
            self.image_box.enabled = bool(session.images)
        elif part == "settings":
            self.device_box.setCurrentIndex(self.device_box.findData(session.device))
        elif part == "segmenting":
            self.options_form.value = session.segmenting.options
        if part in ("job", "result", "segmenting", "status"):
            self._draw_job()

    def _draw_job(self) -> None:
        jobs, last = self._session.jobs, self._session.last_run
        busy, cancelling = jobs.busy, jobs.state is State.CANCELLING
        self.segment_button.setEnabled(not busy)
        self.segment_button.setText("Working..." if busy else "&Segment")
        self.segment_button.setShortcut("Ctrl+Return")  # which setText takes away
        self.cancel_button.setText("Cancelling..." if cancelling else "&Cancel")
        self.cancel_button.setEnabled(busy and not cancelling)
        self.undo_button.setText("Redo" if last.undone else "U&ndo")
        self.undo_button.setShortcut("Alt+N")  # there is no N in Redo
        for each in (self.undo_button, self.split_button):
            each.setEnabled(last.writer is not None)
        self.progress.setVisible(busy)
        self.progress.setRange(0, jobs.total)
        self.progress.setValue(jobs.done)
        say(self.status, jobs.in_words if busy else self._session.status)
