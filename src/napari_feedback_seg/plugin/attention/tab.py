"""The tab in which a person points at a pixel and sees where the network looked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QProgressBar, QWidget

from napari_feedback_seg.plugin.attention.matrix import MatrixTable
from napari_feedback_seg.plugin.attention.text import change_text, found_text, meaning
from napari_feedback_seg.plugin.forms.layer_chooser import LayerChooser
from napari_feedback_seg.plugin.forms.options_form import OptionsForm
from napari_feedback_seg.plugin.forms.row import button, chooser, column, row, say, sentence
from napari_feedback_seg.plugin.segment.legend import color_icon
from napari_feedback_seg.plugin.session.attention.view import AttentionOptions, View
from napari_feedback_seg.plugin.session.jobs import State

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class AttentionTab(QWidget):
    """Pick a pixel; see its attention, that of its class, and what the feedback changed."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._attention = session.attention
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._draw_classes()
        self._draw()

    def _make_widgets(self) -> None:
        self.about, self.found, self.meaning = sentence(), sentence(), sentence()
        self.counts, self.status = sentence(), sentence()
        self.pick_button = button(
            "&Pick", "Click or drag in the image: the map follows. No brush paints then"
        )
        self.pick_button.setCheckable(True)
        self.hide_button = button("&Hide", "Hide the layers of attention for now, to see what is below")
        self.hide_button.setCheckable(True)
        self.clear_button = button("&Clear", "Delete the layers of attention")
        self.form = OptionsForm(self._attention.options)
        self.class_box = chooser(
            "The class whose pixels are averaged, as the network sees it in this tile (Alt+L)"
        )
        self.truth_box = LayerChooser(
            lambda: self._attention.truths,
            none="none",
            tooltip="<qt>Labels that are right, to count what the feedback made right or wrong (Alt+G)</qt>",
        )
        self.matrix_title = sentence("How much the class of the row looks at that of the column:")
        self.matrix = MatrixTable()
        self.progress = QProgressBar()
        self.cancel_button = button("Cancel", "Stop computing the map")

    def _lay_out(self) -> None:
        self.more = QFormLayout()
        self.more.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.more.addRow("C&lass", self.class_box)
        self.more.addRow("&Ground truth", self.truth_box.native)
        column(
            self,
            self.about,
            row(self.pick_button, self.hide_button, self.clear_button),
            self.found,
            self.form,
            self.more,
            self.meaning,
            self.counts,
            self.matrix_title,
            self.matrix,
            row(self.progress, self.cancel_button),
            self.status,
            margin=9,
        ).addStretch(1)

    def _connect(self) -> None:
        attention = self._attention
        self.pick_button.clicked.connect(attention.set_picking)
        self.hide_button.clicked.connect(attention.hide)
        self.clear_button.clicked.connect(attention.clear)
        self.form.changed.connect(self._set)
        self.class_box.activated.connect(self._choose_class)
        self.truth_box.changed.connect(attention.choose_truth)
        self.cancel_button.clicked.connect(self._session.jobs.cancel)
        self._session.changed.connect(self._on_changed)

    def _set(self, options: AttentionOptions) -> None:
        self._attention.set(
            view=options.view,
            centred=options.centred,
            strongest=options.strongest,
            label=self.class_box.currentData() or 0,
        )

    def _choose_class(self, index: int) -> None:
        self._attention.set(label=self.class_box.itemData(index))

    # --- what is shown

    def _on_changed(self, part: str) -> None:
        if part == "model":
            self._draw_classes()
        if part in ("attention", "model", "job", "layers"):
            self._draw()

    def _draw_classes(self) -> None:
        card, chosen = self._session.card, self.class_box.currentText()
        self.class_box.clear()
        for each in card.classes if card else ():
            self.class_box.addItem(color_icon(each.color), each.name, each.value)
        self.class_box.setCurrentIndex(max(0, self.class_box.findText(chosen)))

    def _draw(self) -> None:
        attention, options = self._attention, self._attention.options
        reason, found = attention.why_not, attention.found
        say(self.about, reason or "")
        self.pick_button.setEnabled(not reason)
        self.pick_button.setChecked(attention.picking)
        for widget in (self.hide_button, self.clear_button):
            widget.setEnabled(found is not None)
        self.hide_button.setChecked(attention.hidden)
        self.found.setText(found_text(found))
        self.found.setVisible(not reason)
        self.form.value = options
        self.form.widgets["view"].enabled = found is not None
        say(self.meaning, meaning(options.view) if found is not None else "")
        self.more.setRowVisible(self.class_box, options.view is View.CLASS)
        self.more.setRowVisible(self.truth_box.native, options.view is View.CHANGED)
        self.truth_box.draw(attention.truth)
        say(self.counts, change_text(attention.change) if attention.change is not None else "")
        summed = options.view in (View.CLASS, View.RECEIVED)
        summary = found.summary if found is not None and summed else None
        if summary is not None and found is not None:
            self.matrix.show_matrix(summary.matrix, found.tile.classes)
        for widget in (self.matrix_title, self.matrix):
            widget.setVisible(summary is not None)
        self._draw_job()

    def _draw_job(self) -> None:
        jobs, state = self._session.jobs, self._attention.state
        for widget in (self.progress, self.cancel_button):
            widget.setVisible(state is not State.IDLE)
        self.cancel_button.setEnabled(state is not State.CANCELLING)
        self.progress.setRange(0, jobs.total)
        self.progress.setValue(jobs.done)
        say(self.status, self._attention.status)
