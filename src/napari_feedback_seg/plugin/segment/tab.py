"""The tab that segments the open image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.segment.compare import ComparePanel
from napari_feedback_seg.plugin.segment.export import ExportButton
from napari_feedback_seg.plugin.segment.legend import Legend
from napari_feedback_seg.plugin.segment.measure import MeasurePanel
from napari_feedback_seg.plugin.segment.model_box import ModelBox, narrow
from napari_feedback_seg.plugin.segment.pixel_size import PixelSizeNote
from napari_feedback_seg.plugin.segment.what_box import WhatBox
from napari_feedback_seg.plugin.session.jobs import State

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session

DEVICES = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}


class SegmentTab(QWidget):
    """Choose an image, a model and what to segment; press Segment."""

    def __init__(self, state: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = self._state = state
        self._make_widgets()
        self._lay_out()
        self._connect()
        for part in ("image", "settings", "segmenting", "job"):
            self._draw(part)

    # --- widgets

    def _make_widgets(self) -> None:
        self.image_box = QComboBox()
        self.image_box.setToolTip("The image to segment; it follows the layer that is active in the viewer")
        narrow(self.image_box)
        self.models = ModelBox(self._state)
        self.device_box = QComboBox()
        for device, name in DEVICES.items():
            self.device_box.addItem(name, device)
        self.device_box.setToolTip("Automatic takes a GPU where there is one")
        narrow(self.device_box)
        self.what_box = WhatBox(self._state)
        self.pixel_note = PixelSizeNote(self._state)
        self.overlap_box = DecimalBox()
        self.overlap_box.setRange(0, 0.9)
        self.overlap_box.setSingleStep(0.05)
        self.overlap_box.setToolTip(
            "How much of a tile its neighbour covers too: more is smoother and slower"
        )
        self.flips_box = QCheckBox("Average over flips and turns (8 x slower)")
        self.probabilities_box = QCheckBox("Also a layer of probabilities a class")
        self.segment_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.legend = Legend(self._state)
        self.measure_panel = MeasurePanel(self._state)
        self.compare_panel = ComparePanel(self._state)
        self.compare_fold = Fold("Compare with a ground truth", self.compare_panel)
        self.export_button = ExportButton(self._state, self.measure_panel.least)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, widget in (
            ("&Image", self.image_box),
            ("&Model", self.models),
            ("&Device", self.device_box),
            ("&What", self.what_box),
        ):
            form.addRow(name, widget)
        form.insertRow(2, self.models.fold)
        self.models.setFocusProxy(self.models.chooser)
        settings = QWidget()
        more = QFormLayout(settings)
        more.setContentsMargins(0, 0, 0, 0)
        more.addRow("&Overlap", self.overlap_box)
        more.addRow("Pi&xel size", self.pixel_note.box)
        more.addRow(self.flips_box)
        more.addRow(self.probabilities_box)
        self.settings_fold = Fold("Settings", settings)
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment_button, 1)
        buttons.addWidget(self.cancel_button)
        self.layout_ = QVBoxLayout(self)
        self.layout_.addLayout(form)
        self.layout_.addWidget(self.pixel_note)
        self.layout_.addWidget(self.settings_fold)
        self.layout_.addLayout(buttons)
        self.layout_.addWidget(self.progress)
        self.layout_.addWidget(self.status)
        self.layout_.addWidget(self.legend)
        self.layout_.addWidget(self.measure_panel)
        self.layout_.addWidget(self.export_button)
        self.layout_.addWidget(self.compare_fold)
        self.layout_.addStretch(1)

    def _connect(self) -> None:
        self.image_box.activated.connect(self._choose_image)
        self.device_box.activated.connect(self._choose_device)
        self.overlap_box.valueChanged.connect(self._set_options)
        self.flips_box.toggled.connect(self._set_options)
        self.probabilities_box.toggled.connect(self._set_options)
        self.segment_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(self._session.jobs.cancel)
        self.export_button.exported.connect(self._session.note)
        self._session.changed.connect(self._draw)

    # --- what a person does

    def _choose_image(self, index: int) -> None:
        self._session.image = self._session.images[index]

    def _choose_device(self, index: int) -> None:
        self._session.device = self.device_box.itemData(index)

    def _set_options(self) -> None:
        self._session.segmenting.set(
            overlap=round(self.overlap_box.value(), 3),
            flips=self.flips_box.isChecked(),
            probabilities=self.probabilities_box.isChecked(),
        )

    def segment(self) -> None:
        """Segment what is chosen."""
        self._session.segmenting.segment()

    # --- what is shown

    def _draw(self, part: str) -> None:
        session = self._session
        if part in ("image", "layers"):
            images = session.images
            self.image_box.clear()
            self.image_box.addItems([layer.name for layer in images])
            if session.image in images:
                self.image_box.setCurrentIndex(images.index(session.image))
            self.image_box.setEnabled(bool(images))
        elif part == "settings":
            self.device_box.setCurrentIndex(self.device_box.findData(session.device))
        elif part == "segmenting":
            self._draw_options()
        elif part == "status":
            self.status.setText(session.status)
        elif part == "job":
            self._draw_job()

    def _draw_options(self) -> None:
        options = self._session.segmenting.options
        for widget in (self.overlap_box, self.flips_box, self.probabilities_box):
            widget.blockSignals(True)
        self.overlap_box.setValue(options.overlap)
        self.flips_box.setChecked(options.flips)
        self.probabilities_box.setChecked(options.probabilities)
        for widget in (self.overlap_box, self.flips_box, self.probabilities_box):
            widget.blockSignals(False)

    def _draw_job(self) -> None:
        jobs = self._session.jobs
        busy, cancelling = jobs.state is not State.IDLE, jobs.state is State.CANCELLING
        self.segment_button.setEnabled(not busy)
        self.segment_button.setText("Working..." if busy else "Segment")
        self.cancel_button.setText("Cancelling..." if cancelling else "Cancel")
        self.cancel_button.setEnabled(busy and not cancelling)
        self.progress.setVisible(busy)
        self.progress.setRange(0, jobs.total)
        self.progress.setValue(jobs.done)
        if not busy:
            self.status.setText(self._session.status)
        elif jobs.total:
            tiles = " tiles" if self._session.segmenting.state is not State.IDLE else ""
            left = f", about {duration(jobs.seconds_left)} left" if jobs.seconds_left >= 0 else ""
            self.status.setText(f"{jobs.title}: {jobs.done} of {jobs.total}{tiles}{left}")
        else:
            self.status.setText(f"{jobs.title}: getting ready")

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        self.measure_panel.cleanup()
        self.compare_panel.cleanup()


def duration(seconds: float) -> str:
    """Return a time as a person reads it."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"
