"""Labels beside a ground truth: scores per class, and confusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QPushButton, QWidget

from napari_feedback_seg.plugin.forms.decimals import decimal_point
from napari_feedback_seg.plugin.forms.layer_chooser import LayerChooser
from napari_feedback_seg.plugin.forms.row import button, chooser, column, copy_text, fill, say, sentence
from napari_feedback_seg.plugin.forms.text_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.session import Session

OUTDATED = "The labels or the ground truth have changed: compare again."


class ComparePanel(QWidget):
    """Chooses two layers, compares them, and shows the scores."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._comparing = session, session.comparing
        self.labels_box = LayerChooser(
            lambda: session.comparing.choices,
            tooltip="<qt>The labels to be judged (Alt+L): the current result, or any other Labels layer</qt>",
        )
        self.truth_box = LayerChooser(
            lambda: session.comparing.truths,
            tooltip="<qt>Labels of the same classes, where 0 does not count, or a mask of one (Alt+T)</qt>",
        )
        self.kind_box = chooser("What the ground truth is (Alt+G): labels of the same classes, or a mask")
        self.rest_box = chooser("What 0 means in the mask (Alt+0): another class, or unlabelled")
        fill(self.rest_box, {"everything else": True, "unlabelled": False}, True)
        self.compare_button = QPushButton("Compare")
        self.table = TextTable()
        self.note = sentence()
        self.copy_button = button("Copy", "Copy the table, to paste it into a spreadsheet")
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("&Labels", self.labels_box.native)
        self._form.addRow("&Truth", self.truth_box.native)
        self._form.addRow("&Given as", self.kind_box)
        self._form.addRow("&0 means", self.rest_box)
        column(self, self._form, self.compare_button, self.table, self.note, self.copy_button)
        self.compare_button.clicked.connect(session.comparing.start)
        self.copy_button.clicked.connect(self.copy)
        self.labels_box.changed.connect(lambda layer: session.comparing.choose(labels=layer))
        self.truth_box.changed.connect(lambda layer: session.comparing.choose(truth=layer))
        self.kind_box.activated.connect(self._choose_kind)
        self.rest_box.activated.connect(self._choose_kind)
        session.changed.connect(self._draw)
        self._draw("comparing")

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        self._comparing.look()
        scores = self._comparing.scores
        if scores is not None:
            heading, rows = _cells(scores, self._comparing.classes)
            plain = [[name, *(cell.replace(".", decimal_point()) for cell in cells)] for name, *cells in rows]
            copy_text("\n".join("\t".join(row) for row in (heading, *plain)))

    def _choose_kind(self) -> None:
        self._comparing.choose(kind=self.kind_box.currentData(), rest_is_other=self.rest_box.currentData())

    def _draw(self, part: str) -> None:
        if part in ("comparing", "layers", "result", "model"):
            self._draw_choices()
        if part == "comparing":
            self._draw_table(self._comparing.scores)
        if part in ("comparing", "layers", "result", "model", "job"):
            missing, scores = self._comparing.missing, self._comparing.scores
            if scores is None:
                say(self.note, missing or (OUTDATED if self._comparing.outdated else ""))
            self.compare_button.setEnabled(not missing and not self._session.jobs.busy)
            self.compare_button.setToolTip(
                missing or "Score the labels, and show where they differ from the truth"
            )

    def _draw_choices(self) -> None:
        comparing = self._comparing
        for box, chosen in ((self.labels_box, comparing.labels), (self.truth_box, comparing.truth)):
            box.draw(chosen)
            box.enabled = chosen is not None
        kinds = {f"a mask: {each.name}": each.value for each in comparing.label_classes}
        fill(self.kind_box, {"labels of these classes": 0, **kinds}, comparing.kind)
        self._form.setRowVisible(self.rest_box, comparing.mask is not None)

    def _draw_table(self, scores: dict[str, Any] | None) -> None:
        for widget in (self.table, self.note, self.copy_button):
            widget.setVisible(scores is not None)
        if scores is None:
            return
        heading, rows = _cells(scores, self._comparing.classes)
        self.table.show_rows(dict.fromkeys(heading, ""), rows)
        bar = self.table.horizontalScrollBar().sizeHint().height()  # many classes are wider than the dock
        self.table.setFixedHeight(self.table.minimumHeight() + bar)
        self.note.setText(_said(scores, self._comparing.classes))


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
