"""Segment files into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFileDialog, QMessageBox, QPlainTextEdit, QWidget

from napari_feedback_seg.io import IMAGE_SUFFIXES
from napari_feedback_seg.plugin.forms.row import button, column, copy_text, row, say, sentence

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class BatchPanel(QWidget):
    """Files or a folder in, a folder out; the options are those above."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.files_button = button("Files...", "Choose the image files to segment")
        self.folder_button = button("Folder...", "Choose a folder, all of whose images are segmented")
        self.output_button = button("Save in...", "Choose the folder for the labels")
        self.what = sentence()
        self.rescale_box = QCheckBox("Rescale for the model")
        self.rescale_box.setToolTip(
            "<qt>An image whose pixel size its file says, or a person typed, is resampled to the model's and "
            "back</qt>"
        )
        self.line = QPlainTextEdit()
        self.line.setReadOnly(True)
        self.line.setTabChangesFocus(True)
        self.line.setFixedHeight(64)
        self.line.setToolTip("The line that does the same in a terminal")
        self.copy_button = button("Copy the line", "Copy the line, to paste it into a terminal")
        self.start_button = button("Segment files", "Segment the files that have no labels in the folder yet")
        self.status = sentence()
        buttons = row(self.files_button, self.folder_button, self.output_button)
        column(
            self,
            buttons,
            self.what,
            self.rescale_box,
            self.start_button,
            self.status,
            self.line,
            self.copy_button,
        )
        self.files_button.clicked.connect(self._ask_for_files)
        self.folder_button.clicked.connect(self._ask_for_folder)
        self.output_button.clicked.connect(self._ask_for_output)
        self.rescale_box.toggled.connect(self._rescale)
        self.copy_button.clicked.connect(self._copy)
        self.start_button.clicked.connect(self._start)
        session.changed.connect(self._draw)
        self._draw("batch")

    def _ask_for_files(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES))
        files, _ = QFileDialog.getOpenFileNames(self, "Images to segment", "", f"Images ({kinds})")
        if files:
            self._session.batch.set(inputs=files)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images to segment")
        if folder:
            self._session.batch.set(inputs=[folder])

    def _ask_for_output(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the labels")
        if folder:
            self._session.batch.set(output=folder)

    def _rescale(self, on: bool) -> None:
        self._session.batch.set(rescale=on)

    def _copy(self) -> None:
        copy_text(self._session.batch.command_line)

    def _start(self) -> None:
        batch = self._session.batch
        otherwise = batch.made_otherwise
        if otherwise:
            question = f"{otherwise} Make them again with {self._session.model_name} and these settings?"
            if QMessageBox.question(self, "Make them again?", question) != QMessageBox.StandardButton.Yes:
                return
        batch.start(again=bool(otherwise))

    def _draw(self, part: str) -> None:
        if part not in ("batch", "model", "segmenting", "settings", "job"):
            return
        batch, busy = self._session.batch, self._session.jobs.busy
        self.start_button.setEnabled(bool(batch.inputs and batch.output) and not busy)
        if part == "job":
            return
        say(self.status, batch.status)
        count = len(batch.inputs)
        what = batch.inputs[0] if count == 1 else f"{count} files" if count else "No images are chosen."
        self.what.setText(f"{what}\nLabels in: {batch.output or 'no folder is chosen.'}")
        self.rescale_box.setChecked(batch.rescale)
        line = batch.command_line
        if self.line.toPlainText() != line:
            self.line.setPlainText(line)
        self.line.setVisible(bool(line))
        self.copy_button.setVisible(bool(line))
