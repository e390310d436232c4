"""Choose between two answers that are shown side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame

from napari_feedback_seg.plugin.forms.row import button, column, row, sentence

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class BesideFrame(QFrame):
    """Says which is which, and takes the one that a person chooses."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = sentence()
        self.left_button = button("Take left", "Take what is shown on the left")
        self.right_button = button("Take right", "Take what is shown on the right")
        self.close_button = button("Close", "Show what there was before")
        column(self, self.text, row(self.left_button, self.right_button, self.close_button), margin=6)
        self.left_button.clicked.connect(partial(session.beside.take, 0))
        self.right_button.clicked.connect(partial(session.beside.take, 1))
        self.close_button.clicked.connect(session.beside.close)
        session.changed.connect(self._draw)
        self._draw("beside")

    def _draw(self, part: str) -> None:
        if part != "beside":
            return
        sides = self._session.beside.sides
        self.setVisible(bool(sides))
        if sides:
            left, right = (side.title for side in sides)
            self.text.setText(f"Left: {left}. Right: {right}. Which is better?")
