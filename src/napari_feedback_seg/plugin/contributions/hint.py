"""What to do first: three lines at the top of the dock, until they are closed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QToolButton

from napari_feedback_seg.models.library import models_folder
from napari_feedback_seg.plugin.forms.row import sentence

if TYPE_CHECKING:
    from pathlib import Path

LINES = (
    "1. Open an image and press <b>Segment</b>.",
    "2. Paint over mistakes in the tab <b>Correct</b>.",
    "3. Then <b>Measure</b> and <b>Export...</b> (help: F1)",
)

_LEAST_HEIGHT = 400  # of the dock, in pixels


class Hint(QFrame):
    """Shows the three lines at the first opening, and at later ones until they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = sentence("<br>".join(LINES))
        self.close_button = QToolButton()
        self.close_button.setText("\N{MULTIPLICATION SIGN}")
        self.close_button.setToolTip("Close this hint for good")
        self.close_button.setAccessibleName("Close this hint")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 4, 4, 4)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self.close_button.clicked.connect(self._on_closed)
        self._closed = _file().exists()
        self.setVisible(not self._closed)

    def make_room(self, height: int) -> None:
        """Hide in a dock of less than so many pixels, such as one below the list of layers."""
        self.setVisible(height >= _LEAST_HEIGHT and not self._closed)

    def _on_closed(self) -> None:
        with suppress(OSError):  # then it is shown again
            _file().parent.mkdir(parents=True, exist_ok=True)
            _file().touch()
        self._closed = True
        self.hide()


def _file() -> Path:
    """Return the file that says that the hint was closed, beside the user's models."""
    return models_folder() / ".hint-closed"
