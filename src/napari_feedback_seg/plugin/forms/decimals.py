"""Numbers with decimals, typed with a point or with a comma."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QLocale
from qtpy.QtGui import QValidator

if TYPE_CHECKING:
    from qtpy.QtWidgets import QDoubleSpinBox


def decimal_point(locale: QLocale | None = None) -> str:
    """Return the decimal sign of a language; of the person's own if none is given."""
    point = (locale or QLocale()).decimalPoint()
    return chr(point) if isinstance(point, int) else str(point)  # PyQt5 may give a number


class PointOrComma(QValidator):
    """Lets a box take ``4.6`` and ``4,6`` for the same number in every language.

    By hand, because Qt takes the other sign for one between thousands, and so ``4.6`` for 46 where a
    comma is the decimal sign; a locale that rejects such signs drops them, which makes 46 of it too.
    magicgui and superqt build on the same box. No number here needs thousands.
    """

    def __init__(self, box: QDoubleSpinBox) -> None:
        super().__init__(box)
        self._box = box
        box.lineEdit().setValidator(self)

    def validate(self, text: str, position: int) -> Any:
        """Return whether what is typed is a number, or may become one, in the signs of the language."""
        point = decimal_point(self._box.locale())
        return self._box.validate(text.replace(".", point).replace(",", point), position)
