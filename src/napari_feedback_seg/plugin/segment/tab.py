"""The tab that segments the open image."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
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

from napari_feedback_seg.errors import FeedbackSegError, InputError, in_words
from napari_feedback_seg.events import SectionDone
from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, em_sections
from napari_feedback_seg.plugin.layers.results import Result
from napari_feedback_seg.plugin.segment.compare import ComparePanel
from napari_feedback_seg.plugin.segment.export import ExportButton
from napari_feedback_seg.plugin.segment.legend import Legend
from napari_feedback_seg.plugin.segment.measure import MeasurePanel
from napari_feedback_seg.plugin.segment.model_box import ModelBox, narrow
from napari_feedback_seg.plugin.segment.pixel_size import PixelSizeNote
from napari_feedback_seg.plugin.segment.what_box import WhatBox
from napari_feedback_seg.plugin.session.runs import Run, run_record, write_section
from napari_feedback_seg.segmentation.prediction import SegmentOptions, merge_messages

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_feedback_seg.plugin.session.state import DockState

DEVICES = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}


class SegmentTab(QWidget):
    """Choose an image, a model and what to segment; press Segment."""

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._result: Result | None = None
        self._image: Image | None = None
        self._chosen: list[int] = []
        self._options_used = SegmentOptions()
        self._messages: dict[int, tuple[str, ...]] = {}
        self._device = ""
        self._size_used: tuple[float, float] | None = None
        self._shape: tuple[int, ...] = ()
        self._overlap_set = -1.0
        self._started = 0.0
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._refresh_settings()
        self._refresh_images()
        self._show_idle()

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
        state = self._state
        self.image_box.activated.connect(self._choose_image)
        self.device_box.activated.connect(self._choose_device)
        self.segment_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(self._cancel)
        self.export_button.exported.connect(self.status.setText)
        state.image_changed.connect(self._refresh_images)
        state.image_replaced.connect(self._stop_if_replaced)
        state.layers_changed.connect(self._refresh_images)
        state.layers_changed.connect(self._stop_without_image)
        state.settings_changed.connect(self._refresh_settings)
        state.jobs.started.connect(self._show_busy)
        state.jobs.progressed.connect(self._show_progress)
        state.jobs.ended.connect(self._show_idle)

    # --- what is chosen

    def _refresh_settings(self) -> None:
        self.device_box.setCurrentIndex(self.device_box.findData(self._state.device))
        if self._state.settings.overlap != self._overlap_set:  # else what was typed in the panel stays
            self._overlap_set = self._state.settings.overlap
            self.overlap_box.setValue(self._overlap_set)

    def _refresh_images(self) -> None:
        images = self._state.images
        self.image_box.clear()
        for layer in images:
            self.image_box.addItem(layer.name)
        if self._state.image in images:
            self.image_box.setCurrentIndex(images.index(self._state.image))
        self.image_box.setEnabled(bool(images))

    def _choose_image(self, index: int) -> None:
        self._state.image = self._state.images[index]

    def _choose_device(self, index: int) -> None:
        self._state.device = self.device_box.itemData(index)

    # --- the run

    def segment(self) -> None:
        """Segment what is chosen."""
        if self._state.jobs.busy:
            show_warning(f"{self._state.jobs.title} is still running. Wait for it, or cancel it first.")
            return
        try:
            # Without an image the active layer says what is wrong.
            sections = em_sections(self._state.image or self._state.viewer.layers.selection.active)
            if self._state.image is None:
                raise InputError("There is no EM image that is complete. Open one, or wait for the sample.")
            chosen, region = self.what_box.part(sections)
            options = self._options(region)
        except FeedbackSegError as error:
            self._fail(error)
            return
        image = self._state.image
        assert image is not None
        self._state.segmenting.emit()
        self._image, self._result = image, None
        self._messages = {-1: sections.messages}
        self._chosen, self._options_used = chosen, options
        self._size_used, self._shape = self.pixel_note.size, tuple(sections.data.shape)
        self._started = time.perf_counter()
        self._state.jobs.run(
            Run(sections, chosen, options, partial(self._state.load_model, self._state.entry)),
            title=f"Segmenting {image.name}",
            on_event=self._take,
            on_done=self._finish,
            on_failed=self._fail_quietly,
            on_stopped=self._stopped,
        )

    def _options(self, region: tuple[slice, slice] | None) -> SegmentOptions:
        return SegmentOptions(
            device=self._state.device,
            overlap=round(self.overlap_box.value(), 3),
            pixel_size_nm=self.pixel_note.to_rescale_from,
            region=region,
            flips=self.flips_box.isChecked(),
            probabilities=self.probabilities_box.isChecked(),
        )

    def _take(self, event: Any) -> None:
        from napari_feedback_seg.models.model import Model

        if isinstance(event, Model):
            assert self._image is not None
            record = run_record(event, self._options_used, self._size_used)
            self._result = Result(
                self._state.viewer, self._image, self._shape, event.card.classes, record, self._chosen
            )
        elif isinstance(event, SectionDone) and self._result is not None:
            if write_section(self._state, self._result, event):
                self._messages[event.section] = event.prediction.messages
                self._device = event.prediction.device

    def _finish(self, _: Any) -> None:
        seconds = time.perf_counter() - self._started
        said = [*self._said()]
        if self._result is not None and self._result.layer is not None:
            self._result.layer.metadata[RESULT_KEY]["messages"] = said
        self.status.setText("\n".join([f"Done in {seconds:.1f} s on {self._device}.", *said]))
        for message in said:
            show_info(message)
        self._forget()

    def _said(self) -> list[str]:
        first = self._messages.pop(-1, ())
        order = sorted(self._messages)
        merged = _numbered([self._messages[z] for z in order], order)
        return [*first, *merged, *(self._result.messages if self._result else ())]

    def _fail(self, error: Exception) -> None:
        self.status.setText(str(error))
        show_error(str(error))

    def _fail_quietly(self, error: Exception) -> None:
        self.status.setText(f"{in_words(error)}{self._kept()}")
        self._state.refresh_models()
        self._forget()

    def _stopped(self) -> None:
        self.status.setText(f"Cancelled.{self._kept()}")
        self._forget()

    def _kept(self) -> str:
        done = len([z for z in self._messages if z >= 0])
        return f" {done} of {len(self._chosen)} sections are done and stay." if done else ""

    def _forget(self) -> None:
        self._image, self._result, self._messages = None, None, {}

    def _cancel(self) -> None:
        self._state.jobs.cancel()
        self.cancel_button.setText("Cancelling...")
        self.cancel_button.setEnabled(False)

    def _stop_if_replaced(self) -> None:
        if self._image is not None and self._image == self._state.image:
            self._image = None
            self._state.jobs.cancel()
            show_warning("The image was replaced while it was segmented: the segmentation was stopped.")

    def _stop_without_image(self) -> None:
        if self._image is not None and self._image not in self._state.viewer.layers:
            self._image = None
            self._state.jobs.cancel()
            show_warning("The image was deleted while it was segmented: the segmentation was stopped.")

    # --- what is shown of it

    def _show_busy(self, title: str) -> None:
        self.segment_button.setEnabled(False)
        self.segment_button.setText("Working...")
        self.cancel_button.setText("Cancel")
        self.cancel_button.setEnabled(True)
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.status.setText(f"{title}: getting ready")

    def _show_progress(self, done: int, total: int, seconds_left: float) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        tiles = " tiles" if self._image is not None else ""
        left = f", about {_duration(seconds_left)} left" if seconds_left >= 0 else ""
        self.status.setText(f"{self._state.jobs.title}: {done} of {total}{tiles}{left}")

    def _show_idle(self) -> None:
        if self.status.text().startswith(self._state.jobs.title):  # nobody has said how it ended
            self.status.clear()
        self.segment_button.setEnabled(True)
        self.segment_button.setText("Segment")
        self.cancel_button.setText("Cancel")
        self.cancel_button.setEnabled(False)
        self.progress.setVisible(False)

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        self._forget()
        self.measure_panel.cleanup()
        self.compare_panel.cleanup()


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _numbered(messages: list[tuple[str, ...]], sections: list[int]) -> tuple[str, ...]:
    """Return the messages of some sections of a stack, each once."""
    everything: list[tuple[str, ...]] = [()] * (max(sections) + 1 if sections else 0)
    if len(sections) == len(everything):
        return merge_messages(messages)
    if len(sections) == 1:
        return messages[0]
    for section, said in zip(sections, messages, strict=True):
        everything[section] = said
    return merge_messages(everything)
