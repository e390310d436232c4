"""The pixel size of the image, beside that which the model has learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFrame, QLabel, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class PixelSizeNote(QFrame):
    """A note, shown where the image's pixels are not like the model's, that offers to rescale it.

    Its ``box``, to type in a size that the layer does not say, is for whoever lays out the panel to place.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
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
        self.rescale_box.toggled.connect(self._rescale)
        session.changed.connect(self._draw)
        self._draw("image")

    def _take_typed(self, value: float) -> None:
        self._session.pixel_sizes.typed = value

    def _rescale(self, on: bool) -> None:
        self._session.pixel_sizes.rescale = on

    def _draw(self, part: str) -> None:
        """Say how the image's pixels and the model's compare, or hide where they are alike."""
        if part not in ("image", "layers", "model"):
            return
        sizes, card = self._session.pixel_sizes, self._session.card
        self.box.blockSignals(True)
        self.box.setValue(sizes.typed)
        self.box.blockSignals(False)
        self.box.setEnabled(self._session.image is not None and sizes.own is None)
        self.rescale_box.setVisible(sizes.can_rescale)
        if not sizes.can_rescale:
            self.rescale_box.setChecked(False)
        if sizes.notable and sizes.size and card:
            what_to_do = (
                "The result is better with the image rescaled."
                if sizes.can_rescale
                else "That is too far apart to rescale. Check the scale of the layer, or take another model."
            )
            self.text.setText(
                f"A pixel of the image is {_sides(sizes.size)} nm, and the model learnt from "
                f"{card.pixel_size_nm:g} nm. {what_to_do}"
            )
        self.setVisible(sizes.notable)


def _sides(size: tuple[float, float]) -> str:
    height, width = size
    return f"{height:g}" if abs(height - width) < 1e-3 * height else f"{height:g} x {width:g}"
