"""A box for a number with decimals, typed with a point or with a comma."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QDoubleSpinBox

from napari_feedback_seg.plugin.forms.decimals import decimal_point


class DecimalBox(QDoubleSpinBox):
    """Takes ``4.6`` and ``4,6`` for the same number in every language.

    Qt's own takes the other sign for one between thousands, and so ``4.6`` for 46 where a comma is
    the decimal sign. No number here needs thousands.
    """

    def validate(self, text: str, position: int) -> Any:
        """Return whether what is typed is a number, or may become one."""
        return super().validate(self._own(text), position)

    def valueFromText(self, text: str) -> float:
        """Return the number that was typed."""
        return super().valueFromText(self._own(text))

    def fixup(self, text: str) -> str:
        """Return what is made of something that is no number yet."""
        return super().fixup(self._own(text))

    def _own(self, text: str | None) -> str:
        point = decimal_point(self.locale())
        return (text or "").replace(".", point).replace(",", point)
