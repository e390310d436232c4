"""Labels beside a ground truth: scores per class, confusion, and a layer of the errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
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
from napari_feedback_seg.plugin.forms.decimals import decimal_point
from napari_feedback_seg.plugin.forms.options_form import narrow
from napari_feedback_seg.plugin.layers.image import (
    DERIVED_PREFIX,
    RESULT_KEY,
    class_colormap,
    class_features,
    like,
    move,
)
from napari_feedback_seg.plugin.segment.measure import classes_of, current_result, is_result, stamp
from napari_feedback_seg.plugin.segment.unchanged import Unchanged, checksums, pixels
from napari_feedback_seg.plugin.segment.what_box import fill
from napari_feedback_seg.plugin.session.truth import Mask, guess_class, looks_like_mask

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari.viewer import Viewer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.metrics import SectionCompared
    from napari_feedback_seg.plugin.session.session import Session

ERRORS_KEY = "feedback-seg-errors"
"""In the metadata of a layer of errors: the name of the result that it is about."""

OUTDATED = "The labels or the ground truth have changed: compare again."


class ComparePanel(QWidget):
    """Compares a Labels layer, at first the result of the image, with another one.

    Attributes
    ----------
    scores : dict or None
        What the table shows, as :func:`~napari_feedback_seg.metrics.compare` gives it. It goes when
        what was compared changes.
    unchanged : Unchanged
        Tells when that is.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._at_hand: Labels | None = None
        self._result: Labels | None = None
        self._of: Any = None
        self._classes: Sequence[LabelClass] = ()
        self._outdated = False
        self.unchanged = Unchanged(session.viewer, self)
        self.scores: dict[str, Any] | None = None
        self.labels_box = _LayerBox("The labels to be judged: the result at hand, or any other Labels layer")
        self.truth_box = _LayerBox(
            "Labels of the same classes, where 0 does not count, or a mask of one class"
        )
        self.kind_box = QComboBox()
        self.kind_box.setToolTip(
            "<qt>What the ground truth is (Alt+K): labels of the same classes, or a mask of one of them</qt>"
        )
        self.rest_box = QComboBox()
        self.rest_box.addItem("everything else", True)
        self.rest_box.addItem("unlabelled", False)
        self.rest_box.setToolTip(
            "<qt>What 0 means in the mask (Alt+0): another class, or that nobody has looked there</qt>"
        )
        for box in (self.kind_box, self.rest_box):
            narrow(box)
        self._kind_of: Any = None
        self.compare_button = QPushButton("Compare")
        self.table = QTableWidget()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.copy_button = QPushButton("Copy")
        self.copy_button.setToolTip("Copy the table, to paste it into a spreadsheet")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("La&bels", self.labels_box)
        form.addRow("&Truth", self.truth_box)
        form.addRow("It is: (&K)", self.kind_box)
        form.addRow("&0 means", self.rest_box)
        self._rest_label = form.labelForField(self.rest_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        for widget in (self.compare_button, self.table, self.note, self.copy_button):
            layout.addWidget(widget)
        self.compare_button.clicked.connect(self.compare)
        self.copy_button.clicked.connect(self.copy)
        self.labels_box.activated.connect(self._refresh)
        self.truth_box.activated.connect(self._refresh)
        self.kind_box.activated.connect(self._refresh)
        self.rest_box.activated.connect(self._refresh)
        self.unchanged.changed.connect(self._outdate)
        session.changed.connect(self._on_changed)
        session.jobs.started.connect(self._refresh)
        session.jobs.ended.connect(self._refresh)
        session.corrected.connect(self._outdate)
        self._show(None)
        self._refresh()

    def compare(self) -> None:
        """Compare the two layers, off the GUI thread."""
        corrections = self._session.correcting.corrections
        corrections.look()
        result, truth = self.labels_box.layer, self.truth_box.layer
        if result is None or truth is None:
            return
        classes, arrays = self._classes_now(), (pixels(result), pixels(truth))
        labels = corrections.of_result(result) if is_result(result) else arrays[0]
        mask = self.mask

        def work() -> Generator[SectionCompared, None, dict[str, Any]]:
            found, expected = np.asarray(labels), np.asarray(arrays[1])
            sums = checksums(np.asarray(arrays[0])), checksums(expected)
            if mask is not None:
                found, expected = mask.labels(found), mask.truth(expected)
            return {**(yield from compare(expected, found, classes)), "sums": sums}

        if self._session.jobs.run(work, title=f"Comparing {result.name}", on_done=self._finish):
            self._show(None)
            self._outdated = False
            self._result, self._classes, self._of = result, classes, self._stamp()
            self.unchanged.watch(result, truth)

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        self.unchanged.look()
        clipboard = QApplication.clipboard()
        if self.scores is not None and clipboard is not None:
            heading, rows = _cells(self.scores, self._classes)
            plain = [[name, *(cell.replace(".", decimal_point()) for cell in cells)] for name, *cells in rows]
            clipboard.setText("\n".join("\t".join(row) for row in (heading, *plain)))

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        self.unchanged.forget()

    def _stamp(self) -> Any:
        """Return what tells a comparison from another one."""
        result, truth = self.labels_box.layer, self.truth_box.layer
        if result is None or truth is None:
            return None
        return stamp(result), truth.unique_id, self._classes_now()

    @property
    def mask(self) -> Mask | None:
        """What the truth means, if it is a mask of one class."""
        value = self.kind_box.currentData()
        of = next((each for each in self._label_classes() if each.value == value), None)
        return Mask(of, bool(self.rest_box.currentData())) if of is not None else None

    def _classes_now(self) -> tuple[LabelClass, ...]:
        """Return the classes that are scored."""
        mask, classes = self.mask, self._label_classes()
        return mask.classes(classes) if mask is not None else classes

    def _show_kinds(self) -> None:
        """Offer what the truth may be; what it looks like is chosen when it is a new one."""
        truth, classes = self.truth_box.layer, self._label_classes()
        kinds: dict[str, object] = {"labels of these classes": 0}
        kinds |= {f"a mask: {each.name}": each.value for each in classes}
        chosen = self.kind_box.currentData() or 0
        if truth is not None and truth.unique_id != self._kind_of and classes:
            self._kind_of = truth.unique_id
            mask = looks_like_mask(pixels(truth), classes)
            chosen = guess_class(truth.name, classes).value if mask else 0
        fill(self.kind_box, kinds, chosen)
        for widget in (self.rest_box, self._rest_label):
            if widget is not None:
                widget.setVisible(bool(self.kind_box.currentData()))

    def _label_classes(self) -> tuple[LabelClass, ...]:
        """Return the classes of the layer; for one that is no result those of the truth or of the model."""
        for layer in (self.labels_box.layer, self.truth_box.layer):
            if layer is not None and is_result(layer):
                return classes_of(layer)
        card = self._session.card
        return tuple(card.classes) if card is not None else ()

    def _outdate(self, _: Any = None) -> None:
        """Take note that what was compared has changed."""
        self._of = None
        self._refresh()

    def _on_changed(self, part: str) -> None:
        if part in ("result", "layers", "model"):
            self._refresh()

    def _refresh(self) -> None:
        at_hand, suitable = current_result(self._session), _suitable(self._session.viewer)
        chosen = self.labels_box.layer
        if at_hand != self._at_hand or chosen not in suitable:
            self._at_hand = chosen = at_hand
        self.labels_box.offer(suitable, chosen)
        labels = self.labels_box.layer
        others = [each for each in suitable if each != labels and _shape(each) == _shape(labels)]
        others += [
            each
            for each in _masks(self._session.viewer)
            if labels is not None and _shape(each) == _shape(labels)
        ]
        self.truth_box.offer(sorted(others, key=is_result), self.truth_box.layer)
        self._show_kinds()
        if self.scores is not None and self._stamp() != self._of:
            self._show(None)
            self._outdated = True
        missing = self._missing()
        if self.scores is None:
            self.note.setText(missing or (OUTDATED if self._outdated else ""))
            self.note.setVisible(bool(self.note.text()))
        self.compare_button.setEnabled(not missing and not self._session.jobs.busy)
        self.compare_button.setToolTip(
            missing or "Score the labels, and show where they differ from the truth"
        )

    def _missing(self) -> str:
        """Return what there is to be done before anything can be compared; empty if there is nothing."""
        labels = self.labels_box.layer
        if labels is None:
            return "Open two Labels layers of the same shape to compare them, or segment the image."
        if self.truth_box.layer is None:
            shape = " x ".join(map(str, _shape(labels)))
            return f"Open a Labels layer of the same shape as '{labels.name}' ({shape}) to compare it with."
        return "" if self._classes_now() else "Choose a model that can be used: its classes are compared."

    def _finish(self, scores: dict[str, Any]) -> None:
        errors, sums = scores.pop("errors"), scores.pop("sums")
        result, viewer = self._result, self._session.viewer
        if result is None or result not in viewer.layers:
            return
        self._show(scores)
        self.unchanged.read(*sums)
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
            self.unchanged.forget()
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
        self.note.setText(_said(scores, self._classes))


class _LayerBox(QComboBox):
    """Chooses one of several layers."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self._tip = tip
        narrow(self)
        self._layers: Sequence[Labels] = ()

    @property
    def layer(self) -> Labels | None:
        """The layer that is chosen."""
        return self._layers[self.currentIndex()] if self._layers else None

    def offer(self, layers: Sequence[Labels], chosen: Labels | None) -> None:
        """Offer these layers; the first is chosen if ``chosen`` is not among them."""
        self._layers = layers
        self.clear()
        self.addItems([layer.name for layer in layers])
        for index, layer in enumerate(layers):
            self.setItemData(index, layer.name, Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(layers.index(chosen) if chosen in layers else 0)
        self.setToolTip(f"{self.currentText()}\n{self._tip}".lstrip())  # a long name is cut off in the box
        self.setEnabled(bool(layers))


def _suitable(viewer: Viewer) -> list[Labels]:
    """Return the results and what others made, the topmost first; no corrections, errors, or attention."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels)
        and not any(str(key).startswith(DERIVED_PREFIX) for key in layer.metadata if key != RESULT_KEY)
    ]


def _masks(viewer: Viewer) -> list[Any]:
    """Return the Image layers that hold a mask, which napari takes for an image when it opens one."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image)
        and isinstance(layer.data, np.ndarray)
        and layer.data.dtype in (bool, np.uint8)
        and layer.ndim in (2, 3)
        and looks_like_mask(layer.data, ())
    ]


def _shape(layer: Labels) -> tuple[int, ...]:
    return tuple(int(length) for length in pixels(layer).shape)


def _said(scores: dict[str, Any], classes: Sequence[LabelClass]) -> str:
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
    lacking = [
        each.name
        for each, counts in zip(classes, scores["confusion"], strict=True)
        if each.name in scores["iou"] and not sum(counts)
    ]
    if lacking:
        sentences.append(f"Not in the ground truth, and so not in the mean: {', '.join(lacking)}.")
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
