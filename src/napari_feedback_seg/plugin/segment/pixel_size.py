"""The pixel size of the image, beside that which the model has learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QFrame, QLabel, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox
from napari_feedback_seg.plugin.layers.image import pixel_size_nm
from napari_feedback_seg.segmentation.prediction import MAX_RATIO

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.state import DockState

NOTABLE = 0.25
"""Pixels that differ by more than this fraction from the model's deserve a note."""


class PixelSizeNote(QFrame):
    """A note, shown where the image's pixels are not like the model's, that offers to rescale it.

    Its ``box``, to type in a size that the layer does not say, is for whoever lays out the panel to place.
    """

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._typed: dict[Any, float] = {}  # by identity of the image
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.rescale_box = QCheckBox("Rescale the image for the model")
        self.rescale_box.setToolTip("The image is resampled to the model's pixel size, and the result back")
        self.box = DecimalBox()
        self.box.setRange(0, 100_000)
        self.box.setDecimals(3)
        self.box.setSuffix(" nm")
        self.box.setSpecialValueText("from the layer")
        self.box.setToolTip("Side of a pixel, where the layer's scale and units do not say it")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.text)
        layout.addWidget(self.rescale_box)
        self.box.valueChanged.connect(self._take_typed)
        state.image_changed.connect(self._show_typed)
        state.layers_changed.connect(self.refresh)
        state.model_changed.connect(self.refresh)
        self._show_typed()

    @property
    def size(self) -> tuple[float, float] | None:
        """Height and width of a pixel of the image in nm, as the layer says, or else as typed in for it."""
        image = self._state.image
        own = pixel_size_nm(image) if image is not None else None
        typed = self.box.value()
        return own or ((typed, typed) if typed > 0 else None)

    @property
    def to_rescale_from(self) -> tuple[float, float] | None:
        """The pixel size, if the image is to be rescaled."""
        return self.size if self.rescale_box.isChecked() else None

    def refresh(self) -> None:
        """Say how the image's pixels and the model's compare, or hide where they are alike."""
        size, card = self.size, self._state.card
        factor = 1.0
        if size and card:
            factor = max(max(side / card.pixel_size_nm, card.pixel_size_nm / side) for side in size)
        notable = factor > 1 + NOTABLE
        self.rescale_box.setVisible(factor <= MAX_RATIO)
        if not notable or factor > MAX_RATIO:
            self.rescale_box.setChecked(False)
        if notable and size and card:
            what_to_do = (
                "The result is better with the image rescaled."
                if factor <= MAX_RATIO
                else "That is too far apart to rescale. Check the scale of the layer, or take another model."
            )
            self.text.setText(
                f"A pixel of the image is {_sides(size)} nm, and the model learnt from "
                f"{card.pixel_size_nm:g} nm. {what_to_do}"
            )
        self.setVisible(notable)

    def _show_typed(self) -> None:
        """Show the pixel size that was typed in for this image; none counts for another one."""
        image = self._state.image
        self.box.blockSignals(True)
        self.box.setValue(self._typed.get(image.unique_id, 0.0) if image is not None else 0.0)
        self.box.blockSignals(False)
        self.box.setEnabled(image is not None and pixel_size_nm(image) is None)
        self.refresh()

    def _take_typed(self, value: float) -> None:
        if self._state.image is not None:
            self._typed[self._state.image.unique_id] = value
        self.refresh()


def _sides(size: tuple[float, float]) -> str:
    height, width = size
    return f"{height:g}" if abs(height - width) < 1e-3 * height else f"{height:g} x {width:g}"
