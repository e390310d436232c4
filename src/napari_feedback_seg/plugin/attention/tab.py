"""The tab in which a person points at a pixel and sees where the network looked for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_feedback_seg.errors import FeedbackSegError, InputError
from napari_feedback_seg.plugin.attention.matrix import MatrixPlot
from napari_feedback_seg.plugin.attention.picking import Picker, picked_pixel
from napari_feedback_seg.plugin.attention.text import HINT, UNITS, change_text, pixel_text
from napari_feedback_seg.plugin.attention.truth_box import TruthBox
from napari_feedback_seg.plugin.attention.work import Request, Shown, Source, look, source_of, why_not
from napari_feedback_seg.plugin.forms.options_form import narrow
from napari_feedback_seg.plugin.layers.attention import AttentionLayers
from napari_feedback_seg.plugin.layers.image import displayed_section
from napari_feedback_seg.plugin.segment.legend import color_icon

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Image

    from napari_feedback_seg.attention_maps.maps import SectionAttention
    from napari_feedback_seg.attention_maps.tile import AttentionSummary, BlockDone, TileAttention
    from napari_feedback_seg.plugin.session.state import DockState


class AttentionTab(QWidget):
    """Pick a pixel; see its attention, that of its class, and what the feedback changed."""

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._picker = Picker(state.viewer, self.pick, self._stop_picking)
        self._engine: tuple[Source, SectionAttention] | None = None
        self._wanted: Request | None = None
        self._working = False
        self._shown: Shown | None = None
        self._summary: tuple[TileAttention, AttentionSummary] | None = None
        self._watched: Image | None = None
        self._version = 0
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._watch_image()
        self._refresh_model()

    # --- widgets

    def _make_widgets(self) -> None:
        self.about = QLabel()
        self.pick_button = QPushButton("Pick")
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("Click or drag in the image: the map follows")
        self.recentre_button = QPushButton("Recentre")
        self.recentre_button.setToolTip(
            "Lay a tile around the picked pixel, instead of taking the segmentation's nearest one; "
            "the next click takes the segmentation's again"
        )
        self.found = QLabel(HINT)
        self.units = QLabel(UNITS)
        self.class_box = QComboBox()
        self.class_box.setToolTip("The class whose pixels are averaged, as the network sees it in this tile")
        narrow(self.class_box)
        self.class_button = QPushButton("Class map")
        self.class_button.setToolTip("Where the pixels of this class looked, on average over the tile")
        self.received_button = QPushButton("Received")
        self.received_button.setToolTip("How much each place was looked at by all pixels of the tile")
        self.matrix_title = QLabel("How much the class at the left looks at the class above:")
        self.matrix = MatrixPlot()
        self.truth_box = TruthBox(self._state)
        self.change_button = QPushButton("What the feedback changed")
        self.change_button.setToolTip(
            "Both rounds of this tile, the pixels that differ, and a map of how much"
        )
        self.counts = QLabel()
        self.progress = QProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self.status = QLabel()
        for label in (self.about, self.found, self.units, self.matrix_title, self.counts, self.status):
            label.setWordWrap(True)
        for each in (self.matrix_title, self.matrix, self.counts, self.progress, self.cancel_button):
            each.setVisible(False)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.about)
        layout.addLayout(_row(self.pick_button, self.recentre_button))
        layout.addWidget(self.found)
        layout.addLayout(_row(self.class_box, self.class_button, self.received_button))
        layout.addWidget(self.matrix_title)
        layout.addWidget(self.matrix)
        truth = QLabel("&Ground truth")
        truth.setBuddy(self.truth_box)
        layout.addLayout(_row(truth, self.truth_box))
        layout.addWidget(self.change_button)
        layout.addWidget(self.counts)
        layout.addLayout(_row(self.progress, self.cancel_button))
        layout.addWidget(self.status)
        layout.addWidget(self.units)
        layout.addStretch(1)

    def _connect(self) -> None:
        state = self._state
        self.pick_button.toggled.connect(self._toggle_pick)
        self.recentre_button.clicked.connect(self._recentre)
        self.class_button.clicked.connect(self._show_class)
        self.received_button.clicked.connect(self._show_received)
        self.change_button.clicked.connect(self._show_change)
        self.cancel_button.clicked.connect(state.jobs.cancel)
        state.model_changed.connect(self._refresh_model)
        state.image_changed.connect(self._watch_image)
        state.layers_changed.connect(self._forget_deleted)
        state.jobs.progressed.connect(self._show_progress)
        state.jobs.ended.connect(self._after_job)

    # --- what is chosen

    def _refresh_model(self) -> None:
        card = self._state.card
        reason = why_not(self._state)
        self.about.setText(reason or "")
        self.about.setVisible(bool(reason))
        for label in (self.found, self.units):
            label.setVisible(not reason)
        if self._shown is not None and self._shown.source.entry != self._state.entry:
            self._layers(self._shown).hide()
            self._forget_tile(f"The model is now {self._state.model_name}. Pick a pixel again.")
        self.pick_button.setEnabled(not reason)
        if reason:
            self.pick_button.setChecked(False)
        chosen = self.class_box.currentText()
        self.class_box.clear()
        for each in card.classes if card else ():
            self.class_box.addItem(color_icon(each.color), each.name, each.value)
        self.class_box.setCurrentIndex(max(0, self.class_box.findText(chosen)))
        self._enable()

    def _watch_image(self) -> None:
        """Notice when the pixels of the image are replaced."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self._forget_engine)
        self._watched = self._state.image
        if self._watched is not None:
            self._watched.events.data.connect(self._forget_engine)

    # --- picking

    def _toggle_pick(self, on: bool) -> None:
        viewer, image = self._state.viewer, self._state.image
        self._picker.switch(on)
        if on and image is not None and self._wanted is None and not self._state.jobs.busy:
            self._ask(Request(image, displayed_section(viewer, image), None))

    def _stop_picking(self) -> None:
        self.pick_button.setChecked(False)

    def pick(self, position: Any, dragging: bool = False) -> None:
        """Show the attention of the pixel at a position of the world.

        While dragging, a position beside the image is passed over without a word.
        """
        viewer, image = self._state.viewer, self._state.image
        try:
            section, y, x = picked_pixel(viewer, image, position)
        except FeedbackSegError as error:
            if not dragging:
                self._say(str(error))
            return
        assert image is not None
        self._ask(Request(image, section, (y, x)))

    def _recentre(self) -> None:
        if self._shown is not None:
            source, pixel = self._shown.source, self._shown.pixel
            self._ask(Request(source.image, source.section, (pixel.y, pixel.x), recentre=True))

    def _ask(self, request: Request) -> None:
        self._wanted = request
        self._answer()

    def _answer(self) -> None:
        """Show what is wanted, or have its tile computed first."""
        request, jobs = self._wanted, self._state.jobs
        if request is None:
            return
        try:
            source = source_of(request, self._state)
        except FeedbackSegError as error:
            self._wanted = None
            self._say(str(error))
            return
        engine = self._engine[1] if self._engine is not None and self._engine[0] == source else None
        if engine is not None and request.pixel is None:
            self._wanted = None
            return
        if engine is not None and request.pixel is not None:
            tile = engine.kept(*request.pixel, recentre=request.recentre)
            if tile is not None:
                self._wanted = None
                self._show(source, tile, *request.pixel)
                return
        if jobs.busy:
            if not self._working:
                self.status.setText(f"{jobs.title} is still running: the map comes when it is done.")
            return
        self._run(
            look(request, source, engine, self._state),
            f"Attention of {request.image.name}",
            partial(self._keep, source, self._version),
        )

    def _keep(self, source: Source, version: int, engine: SectionAttention) -> None:
        if version == self._version:  # else its pixels were replaced meanwhile
            self._engine = (source, engine)

    # --- jobs

    def _run(self, work: Callable[[], Any], title: str, on_done: Callable[[Any], None]) -> None:
        if not self._state.jobs.run(
            work, title=title, on_done=on_done, on_failed=self._failed, on_stopped=self._stopped
        ):
            return
        self._working = True
        self.status.setText(f"{title}...")
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.cancel_button.setVisible(True)

    def _failed(self, error: Exception) -> None:
        self._wanted = None
        self.status.setText(str(error))

    def _stopped(self) -> None:
        self._wanted = None
        self.status.setText("Cancelled.")

    def _after_job(self) -> None:
        if self._working:
            self._working = False
            self.progress.setVisible(False)
            self.cancel_button.setVisible(False)
            if self.status.text().endswith("..."):
                self.status.setText("")
        self._answer()

    def _show_progress(self, done: int, total: int, _: float) -> None:
        if self._working:
            self.progress.setRange(0, total)
            self.progress.setValue(done)

    def _say(self, sentence: str) -> None:
        self.status.setText(sentence)
        show_warning(sentence)

    # --- what is shown

    def _layers(self, shown: Shown) -> AttentionLayers:
        return AttentionLayers(self._state.viewer, shown.source.image, shown.source.section, shown.tile.frame)

    def _show(self, source: Source, tile: TileAttention, y: int, x: int) -> None:
        pixel = tile.pixel(y, x)
        other = self._shown is None or self._shown.tile is not tile
        self._shown = Shown(source, tile, pixel)
        layers = self._layers(self._shown)
        layers.show_map("pixel", "attention", pixel.map)
        layers.show_tile()
        layers.show_pixel(pixel)
        stack = source.image.ndim == 3
        self.found.setText(pixel_text(pixel, tile, source.section if stack else None))
        self.status.setText("")
        if other:
            self._show_matrix(None)
            self.counts.setVisible(False)
        self._enable()

    def _show_class(self) -> None:
        self._summarise(self._show_class_map)

    def _show_received(self) -> None:
        self._summarise(self._show_received_map)

    def _show_class_map(self, shown: Shown, summary: AttentionSummary) -> None:
        name = self.class_box.currentText()
        values = summary.class_maps.get(self.class_box.currentData())
        if values is None:
            self._say(f"The network sees no {name} in this tile. Choose another class, or another tile.")
            return
        self._layers(shown).show_map("class", f"attention of {name}", values)
        self.status.setText(f"Shown: where {name} looked, the mean over its pixels in this tile.")

    def _show_received_map(self, shown: Shown, summary: AttentionSummary) -> None:
        self._layers(shown).show_map("received", "attention received", summary.received)
        self.status.setText("Shown: how much each place was looked at, the mean over all pixels of the tile.")

    def _summarise(self, then: Callable[[Shown, AttentionSummary], None]) -> None:
        """Add the attention of the tile up, unless that is done, and go on with it."""
        shown = self._shown
        if shown is None:
            return
        if self._summary is not None and self._summary[0] is shown.tile:
            then(shown, self._summary[1])
            return

        def done(summary: AttentionSummary) -> None:
            self._summary = (shown.tile, summary)
            if self._shown is None or self._shown.tile is not shown.tile:
                self._say("Another tile was picked meanwhile. Ask for its map again.")
                return
            self._show_matrix(summary)
            self.status.setText("")
            then(self._shown, summary)

        def work() -> Generator[BlockDone, None, AttentionSummary]:
            return shown.tile.summarise()

        self._run(work, f"Adding up the attention of {shown.source.image.name}", done)

    def _show_matrix(self, summary: AttentionSummary | None) -> None:
        if summary is not None and self._shown is not None:
            self.matrix.show_matrix(summary.matrix, self._shown.tile.classes)
        for each in (self.matrix_title, self.matrix):
            each.setVisible(summary is not None)

    def _show_change(self) -> None:
        shown = self._shown
        if shown is None:
            return
        try:
            change = shown.tile.change(self.truth_box.labels(shown.source.section))
        except InputError as error:
            self._say(str(error))
            return
        layers, classes = self._layers(shown), shown.tile.classes
        layers.show_map("disagreement", "disagreement of rounds", change.disagreement)
        layers.show_labels("round 1", "round 1", change.first, classes, visible=False)
        layers.show_labels("round 2", "round 2", change.second, classes, visible=False)
        layers.show_labels("changed", "changed by feedback", change.changed, classes)
        self.counts.setText(change_text(change))
        self.counts.setVisible(True)
        self.status.setText(
            "The disagreement is the share of the probability, 0 to 1, that went to another class."
        )

    def _enable(self) -> None:
        for button in (self.recentre_button, self.class_button, self.received_button, self.change_button):
            button.setEnabled(self._shown is not None)

    # --- what is forgotten

    def _forget_deleted(self) -> None:
        layers = self._state.viewer.layers
        if self._wanted is not None and self._wanted.image not in layers:
            asked, self._wanted = self._wanted, None
            if self._working:
                self._state.jobs.cancel()
            if asked.pixel is not None:
                self._say("The image was deleted while its attention was computed: that was stopped.")
        if self._engine is not None and self._engine[0].image not in layers:
            self._engine = None
        if self._shown is not None and self._shown.source.image not in layers:
            self._forget_tile(HINT)

    def _forget_engine(self, _: Any = None) -> None:
        self._engine = None
        self._version += 1
        if self._shown is not None:
            self._layers(self._shown).hide()
        self._forget_tile(HINT)

    def _forget_tile(self, text: str) -> None:
        self._shown, self._summary = None, None
        self.found.setText(text)
        self.status.setText("")
        self._show_matrix(None)
        self.counts.setVisible(False)
        self._enable()

    def cleanup(self) -> None:
        """Let go of the viewer, the image and the features; may be called again."""
        self._picker.switch(False)
        if self._watched is not None:
            self._watched.events.data.disconnect(self._forget_engine)
        self._watched, self._wanted, self._engine = None, None, None
        self._shown, self._summary = None, None


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 1 if isinstance(widget, QComboBox | QProgressBar) else 0)
    return row
