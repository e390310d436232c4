"""Choose between two answers that are shown side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.forms.row import row

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class BesideFrame(QFrame):
    """Says which is which, and takes the one that a person chooses."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.left_button, self.right_button = QPushButton("Take left"), QPushButton("Take right")
        self.left_button.setToolTip("Take what is shown on the left")
        self.right_button.setToolTip("Take what is shown on the right")
        self.close_button = QPushButton("Close")
        self.close_button.setToolTip("Show what there was before")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.text)
        layout.addLayout(row(self.left_button, self.right_button, self.close_button))
        self.left_button.clicked.connect(self._take_left)
        self.right_button.clicked.connect(self._take_right)
        self.close_button.clicked.connect(session.beside.close)
        session.changed.connect(self._draw)
        self._draw("beside")

    def _take_left(self) -> None:
        self._session.beside.take(0)

    def _take_right(self) -> None:
        self._session.beside.take(1)

    def _draw(self, part: str) -> None:
        if part != "beside":
            return
        sides = self._session.beside.sides
        self.setVisible(bool(sides))
        if sides:
            left, right = (side.title for side in sides)
            self.text.setText(f"Left: {left}. Right: {right}. Which is better?")
            self.left_button.setToolTip(f"Take what is shown on the left: {left}")
            self.right_button.setToolTip(f"Take what is shown on the right: {right}")
