"""The result beside a ground truth: scores per class, confusion, and a layer of the errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_feedback_seg.metrics import compare
from napari_feedback_seg.plugin.layers import class_colormap, class_features, like, move
from napari_feedback_seg.plugin.measure import classes_of, current_result, stamp
from napari_feedback_seg.plugin.model_box import narrow

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.metrics import SectionCompared
    from napari_feedback_seg.plugin.state import DockState

ERRORS_KEY = "feedback-seg-errors"
"""In the metadata of a layer of errors: the name of the result that it is about."""


class ComparePanel(QWidget):
    """Compares the result of the image with another Labels layer.

    Attributes
    ----------
    scores : dict or None
        What the table shows, as :func:`~napari_feedback_seg.metrics.compare` gives it.
    """

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._result: Labels | None = None
        self._of: Any = None
        self._classes: Sequence[LabelClass] = ()
        self.scores: dict[str, Any] | None = None
        self.truth_box = QComboBox()
        self.truth_box.setToolTip("A Labels layer with the same classes; 0 is unlabelled and does not count")
        narrow(self.truth_box)
        self.compare_button = QPushButton("Compare")
        self.table = QTableWidget()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.copy_button = QPushButton("Copy")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("&Truth", self.truth_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        for widget in (self.compare_button, self.table, self.note, self.copy_button):
            layout.addWidget(widget)
        self.compare_button.clicked.connect(self.compare)
        self.copy_button.clicked.connect(self.copy)
        self.truth_box.activated.connect(self._refresh)
        state.result_changed.connect(self._refresh)
        state.layers_changed.connect(self._refresh)
        state.jobs.started.connect(self._refresh)
        state.jobs.ended.connect(self._refresh)
        self._show(None)
        self._refresh()

    def compare(self) -> None:
        """Compare the result with the chosen layer, off the GUI thread."""
        truth, result = self._truth(), current_result(self._state)
        if truth is None or result is None:
            return
        self._state.reading.emit()
        expected = truth.data[0] if truth.multiscale else truth.data
        found, classes = result.data, classes_of(result)

        def work() -> Generator[SectionCompared, None, dict[str, Any]]:
            return compare(expected, found, classes)

        if self._state.jobs.run(work, title=f"Comparing {result.name}", on_done=self._finish):
            self._show(None)
            self._result, self._classes, self._of = result, classes, self._stamp(result, truth)

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        clipboard = QApplication.clipboard()
        if self.scores is not None and clipboard is not None:
            heading, rows = _cells(self.scores, self._classes)
            clipboard.setText("\n".join("\t".join(row) for row in (heading, *rows)))

    def _stamp(self, result: Labels | None, truth: Labels | None) -> Any:
        """Return what tells a comparison from another one."""
        return (stamp(result), truth.unique_id) if result is not None and truth is not None else None

    def _choices(self) -> list[Labels]:
        result = current_result(self._state)
        return [
            layer
            for layer in reversed(self._state.viewer.layers)
            if isinstance(layer, Labels)
            and result is not None
            and layer != result
            and ERRORS_KEY not in layer.metadata
            and tuple(layer.data.shape) == tuple(result.data.shape)
        ]

    def _truth(self) -> Labels | None:
        return {layer.name: layer for layer in self._choices()}.get(self.truth_box.currentText())

    def _refresh(self) -> None:
        chosen = self.truth_box.currentText()
        self.truth_box.clear()
        for layer in self._choices():
            self.truth_box.addItem(layer.name)
        self.truth_box.setCurrentIndex(max(0, self.truth_box.findText(chosen)))
        if self.scores is not None and self._stamp(current_result(self._state), self._truth()) != self._of:
            self._show(None)
            self.note.setText("The result or the ground truth is another one now: compare again.")
            self.note.setVisible(True)
        there = self.truth_box.count() > 0
        self.truth_box.setEnabled(there)
        self.compare_button.setEnabled(there and not self._state.jobs.busy)
        self.compare_button.setToolTip(
            "" if there else "Open a Labels layer of the same shape as the result to compare it with"
        )

    def _finish(self, scores: dict[str, Any]) -> None:
        errors = scores.pop("errors")
        result, viewer = self._result, self._state.viewer
        if result is None or result not in viewer.layers:
            return
        self._show(scores)
        for layer in viewer.layers:
            if layer.metadata.get(ERRORS_KEY) == result.name and layer.data.shape == errors.shape:
                layer.data = errors
                move(layer, result)
                layer.colormap, layer.features = self._look()
                return
        active = viewer.layers.selection.active
        layer = Labels(
            errors,
            name=f"{result.name} errors",
            colormap=self._look()[0],
            features=self._look()[1],
            metadata={ERRORS_KEY: result.name},
            **like(result),
        )
        viewer.add_layer(layer)
        viewer.layers.selection.active = active

    def _look(self) -> tuple[Any, Any]:
        """Return colours and features of the errors."""
        return (
            class_colormap([replace(each, opacity=0.9) for each in self._classes]),
            class_features(self._classes),
        )

    def _show(self, scores: dict[str, Any] | None) -> None:
        self.scores = scores
        for widget in (self.table, self.note, self.copy_button):
            widget.setVisible(scores is not None)
        if scores is None:
            return
        heading, rows = _cells(scores, self._classes)
        self.table.setColumnCount(len(heading))
        self.table.setRowCount(len(rows))
        self.table.setHorizontalHeaderLabels(heading)
        for y, row in enumerate(rows):
            for x, text in enumerate(row):
                item = QTableWidgetItem(text)
                if x:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(y, x, item)
        left, top, below = (
            self.table.verticalHeader(),
            self.table.horizontalHeader(),
            self.table.horizontalScrollBar(),
        )
        assert left is not None
        assert top is not None
        assert below is not None
        left.hide()
        self.table.resizeColumnsToContents()
        self.table.resizeRowsToContents()
        heights = sum(self.table.rowHeight(row) for row in range(len(rows)))
        self.table.setFixedHeight(heights + top.sizeHint().height() + below.sizeHint().height() + 4)
        self.note.setText(_said(scores))


def _said(scores: dict[str, Any]) -> str:
    """Return what stands below the table."""
    sentences = [
        "IoU and Dice of each class; then what its pixels were taken for. Wrong pixels are in the layer of "
        "errors, in the colour of the class that they should be."
    ]
    cells, left_out = scores.get("cells"), scores["left_out"]
    if cells:
        sentences.append(
            f"Cells that the membranes enclose: variation of information {cells['vi_split']:.3f} (cut) "
            f"+ {cells['vi_merge']:.3f} (joined), adapted Rand error {cells['are']:.3f}."
        )
    if left_out:
        sentences.append(f"{left_out:.1%} of the ground truth is not segmented and does not count.")
    return " ".join(sentences)


def _cells(scores: dict[str, Any], classes: Sequence[LabelClass]) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the table, as text."""
    names = [each.name for each in classes]
    heading = ["Class", "IoU", "Dice", *(f"as {name}" for name in names)]
    rows = []
    for name, counts in zip(names, scores["confusion"], strict=True):
        total = sum(counts)
        shares = [f"{count / total:.1%}" if total else "" for count in counts[: len(names)]]
        rows.append([name, _percent(scores["iou"].get(name)), _percent(scores["dice"].get(name)), *shares])
    rows.append(["mean", _percent(scores["mean_iou"]), _percent(scores["mean_dice"]), *[""] * len(names)])
    return heading, rows


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
