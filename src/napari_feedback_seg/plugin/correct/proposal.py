"""A fine-tuned model, before and after, to be kept or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.forms.fold import Fold

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.correcting import Correcting


class ProposalBox(QFrame):
    """Shows what is known of a fine-tuned model, and asks whether to keep it."""

    def __init__(self, correcting: Correcting, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._correcting = correcting
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.sentence = QLabel()
        self.details = QLabel()
        for label in (self.sentence, self.details):
            label.setWordWrap(True)
        self.details_fold = Fold("Details", self.details)
        self.before_button = QPushButton("Before")
        self.before_button.setToolTip("Show what the model before says")
        self.after_button = QPushButton("After")
        self.after_button.setToolTip("Show what the fine-tuned model says")
        self.section_buttons = (QPushButton(), QPushButton())
        for button in (self.before_button, self.after_button, *self.section_buttons):
            button.setCheckable(True)
        self.keep_button = QPushButton("Keep")
        self.keep_button.setToolTip("Go on with the fine-tuned model")
        self.back_button = QPushButton("Go back")
        self.back_button.setToolTip("Go on with the model before; Redo brings the fine-tuned one again")
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for place, button in enumerate(
            (
                self.before_button,
                self.after_button,
                *self.section_buttons,
                self.keep_button,
                self.back_button,
            )
        ):
            grid.addWidget(button, *divmod(place, 2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.sentence)
        layout.addWidget(self.details_fold)
        layout.addLayout(grid)
        self.before_button.clicked.connect(partial(self._show, True))
        self.after_button.clicked.connect(partial(self._show, False))
        for number, button in enumerate(self.section_buttons):
            button.clicked.connect(partial(self._go_to, number))
        self.keep_button.clicked.connect(correcting.keep)
        self.back_button.clicked.connect(correcting.go_back)

    def redraw(self) -> None:
        """Show the proposal that there is."""
        correcting, proposal = self._correcting, self._correcting.proposal
        self.setVisible(proposal is not None)
        if proposal is None:
            return
        self.sentence.setText(proposal.sentence)
        self.details.setText("\n".join(proposal.details))
        for button, recommended in ((self.keep_button, proposal.keep), (self.back_button, not proposal.keep)):
            button.setStyleSheet("font-weight: bold" if recommended else "")
        self.before_button.setEnabled(correcting.can_show_before)
        self.before_button.setChecked(correcting.shows_before)
        self.after_button.setChecked(not correcting.shows_before)
        for number, button in enumerate(self.section_buttons):
            button.setVisible(len(proposal.sections) > 1)
            if len(proposal.sections) > 1:
                z = proposal.sections[number]
                painted = "" if z in correcting.corrections.counts else ", not painted"
                button.setText(f"Section {z}{painted}")
                button.setToolTip(f"Go to section {z}")
                button.setChecked(z == correcting.shown_section)

    def _show(self, before: bool) -> None:
        self._correcting.show_before(before)
        self.redraw()

    def _go_to(self, number: int) -> None:
        self._correcting.go_to_section(number)
        self.redraw()
