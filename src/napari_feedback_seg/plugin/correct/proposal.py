"""A fine-tuned model, before and after, to be kept or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QGridLayout

from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.forms.row import button, column, scroll_to, sentence

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_feedback_seg.plugin.session.correct.correcting import Correcting


class ProposalBox(QFrame):
    """Shows what is known of a fine-tuned model, and asks whether to keep it."""

    def __init__(self, correcting: Correcting) -> None:
        super().__init__()
        self._correcting = correcting
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.sentence, self.details = sentence(), sentence()
        self.details_fold = Fold("Details", self.details)
        self.before_button = button("Before", "Show what the model before says")
        self.after_button = button("After", "Show what the fine-tuned model says")
        self.section_buttons = tuple(button("", "Go to this section") for _ in range(2))
        for each in (self.before_button, self.after_button, *self.section_buttons):
            each.setCheckable(True)
        self.keep_button = button("Keep", "Go on with the fine-tuned model")
        self.back_button = button(
            "Go back", "Go on with the model before; Redo brings the fine-tuned one again"
        )
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        pairs = (self.before_button, self.after_button, *self.section_buttons)
        for place, each in enumerate((*pairs, self.keep_button, self.back_button)):
            grid.addWidget(each, *divmod(place, 2))
        column(self, self.sentence, self.details_fold, grid, margin=6)
        self.before_button.clicked.connect(partial(self._show, True))
        self.after_button.clicked.connect(partial(self._show, False))
        for number, each in enumerate(self.section_buttons):
            each.clicked.connect(partial(self._go_to, number))
        self.keep_button.clicked.connect(correcting.keep)
        self.back_button.clicked.connect(correcting.go_back)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Come into view: there is something to decide."""
        super().showEvent(event)
        scroll_to(self)

    def redraw(self) -> None:
        """Show the proposal that there is."""
        correcting, proposal = self._correcting, self._correcting.proposal
        self.setVisible(proposal is not None)
        if proposal is None:
            return
        self.sentence.setText(proposal.sentence)
        self.details.setText("\n".join(proposal.details))
        for each, recommended in ((self.keep_button, proposal.keep), (self.back_button, not proposal.keep)):
            each.setStyleSheet("font-weight: bold" if recommended else "")
        self.before_button.setEnabled(correcting.can_show_before)
        self.before_button.setChecked(correcting.shows_before)
        self.after_button.setChecked(not correcting.shows_before)
        for number, each in enumerate(self.section_buttons):
            each.setVisible(len(proposal.sections) > 1)
            if len(proposal.sections) > 1:
                z = proposal.sections[number]
                painted = "" if z in correcting.corrections.counts else ", not painted"
                each.setText(f"Section {z}{painted}")
                each.setChecked(z == correcting.shown_section)

    def _show(self, before: bool) -> None:
        self._correcting.show_before(before)
        self.redraw()

    def _go_to(self, number: int) -> None:
        self._correcting.go_to_section(number)
        self.redraw()
