"""The pixel size of the image: asked for where nobody knows it, and compared with the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFrame, QHBoxLayout, QLabel, QWidget

from napari_feedback_seg.plugin.forms.decimals import PointOrComma
from napari_feedback_seg.plugin.forms.row import button, column, sentence

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class PixelSizeLine(QWidget):
    """Asks for the pixel size, where neither the layer nor its file says it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.text = QLabel()
        self.taken_over = sentence(
            "As typed for another image of this folder. If this one differs, type its own."
        )
        self.box = QDoubleSpinBox()
        PointOrComma(self.box)
        self.box.setRange(0, 100_000)
        self.box.setDecimals(3)
        self.box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.box.setSuffix(" nm")
        self.box.setSpecialValueText("? nm")
        self.box.setKeyboardTracking(False)
        self.box.setToolTip(
            "<qt>Side of a pixel in nm (Alt+X). It is remembered for this file, and taken over by others of "
            "its folder that do not say their own.</qt>"
        )
        self.text.setBuddy(self.box)
        line = QHBoxLayout()
        line.addWidget(self.text)
        line.addWidget(self.box, 1)
        column(self, line, self.taken_over, margin=6)
        self.box.valueChanged.connect(self._take)
        session.changed.connect(self._draw)
        self._draw("image")

    def _take(self, value: float) -> None:
        self._session.pixel_sizes.typed = value

    def _draw(self, part: str) -> None:
        if part in ("image", "layers"):
            sizes = self._session.pixel_sizes
            self.box.blockSignals(True)
            self.box.setValue(sizes.typed)
            self.box.blockSignals(False)
            self.text.setText("Pi&xel size:" if sizes.typed else "Pi&xel size unknown:")
            self.taken_over.setVisible(sizes.taken_over)
            self.setVisible(sizes.unknown)


class PixelSizeNote(QFrame):
    """A note, shown where the image's pixels are not like the model's, that offers to rescale it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = sentence()
        self.rescale_box = QCheckBox("&Rescale for the model")
        self.rescale_box.setToolTip(
            "<qt>The image is resampled to the model's pixel size, and the result back (Alt+R)</qt>"
        )
        self.compare_button = button(
            "Compare &both", "Segment the visible part as it is and rescaled, and show both side by side"
        )
        column(self, self.text, self.rescale_box, self.compare_button, margin=6)
        self.rescale_box.toggled.connect(session.pixel_sizes.set_rescale)
        self.compare_button.clicked.connect(session.scales.compare)
        session.changed.connect(self._draw)
        self._draw("image")

    def _draw(self, part: str) -> None:
        """Say how the image's pixels and the model's compare, or hide where they are alike."""
        if part not in ("image", "layers", "model", "job"):
            return
        sizes, card = self._session.pixel_sizes, self._session.card
        self.rescale_box.blockSignals(True)
        self.rescale_box.setChecked(sizes.rescale)
        self.rescale_box.blockSignals(False)
        for widget in (self.rescale_box, self.compare_button):
            widget.setVisible(sizes.can_rescale)
        self.compare_button.setEnabled(not self._session.jobs.busy)
        if sizes.notable and sizes.size and card:
            what_to_do = (
                "The result may be better with the image rescaled: compare both."
                if sizes.can_rescale
                else "That is too far apart to rescale. Check the pixel size, or take another model."
            )
            self.text.setText(
                f"A pixel of the image is {_sides(sizes.size)} nm, and the model learnt from "
                f"{card.pixel_size_nm:g} nm. {what_to_do}"
            )
        self.setVisible(sizes.notable)


def _sides(size: tuple[float, float]) -> str:
    height, width = size
    return f"{height:g}" if abs(height - width) < 1e-3 * height else f"{height:g} x {width:g}"
