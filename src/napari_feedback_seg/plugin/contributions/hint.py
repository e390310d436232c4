"""What to do first: three lines at the top of the dock, until they are closed."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QToolButton, QWidget

from napari_feedback_seg.plugin.forms.row import sentence
from napari_feedback_seg.plugin.session.hint import close_hint, hint_wanted

LINES = (
    "1. Open an image and press <b>Segment</b>.",
    "2. Paint over mistakes in the tab <b>Correct</b>.",
    "3. Then <b>Measure</b> and <b>Export...</b> (help: F1)",
)


class Hint(QFrame):
    """Shows the three lines at the first opening, and at later ones until they are closed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        self.setVisible(hint_wanted())

    def _on_closed(self) -> None:
        close_hint()
        self.hide()
