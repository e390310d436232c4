"""A form made from a frozen dataclass of options."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_origin, get_type_hints

from docstring_parser import parse
from magicgui.widgets import CheckBox, create_widget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QWidget

from napari_feedback_seg.plugin.forms.decimals import PointOrComma

if TYPE_CHECKING:
    from magicgui.widgets.bases import ValueWidget

T = TypeVar("T")


class OptionsForm(QWidget, Generic[T]):
    """A row for each field of a dataclass whose type is ``Annotated``; values in and out as the dataclass.

    A new option is one field::

        overlap: Annotated[float, {"label": "&Overlap", "max": 0.9, "step": 0.05}] = 0.25

    The dictionary is magicgui's: a label, a range, a step, which is the finest that can be typed,
    or choices. The tooltip is the field's text in the docstring of the class, with the key of its label.
    The fields without a dictionary are not shown, and stay as they are.

    Parameters
    ----------
    options : dataclass
        What is shown at first.

    Signals
    -------
    changed : object
        The options, after a person has changed one.
    """

    changed = Signal(object)

    def __init__(self, options: T) -> None:
        super().__init__()
        self._options = options
        self.widgets = widgets_of(options)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for widget in self.widgets.values():
            widget.changed.connect(self._take)
            if isinstance(widget, CheckBox):
                layout.addRow(widget.native)
            else:
                layout.addRow(widget.label, widget.native)

    @property
    def value(self) -> T:
        """The options as they are shown."""
        return self._options

    @value.setter
    def value(self, options: T) -> None:
        self._options = options
        for name, widget in self.widgets.items():
            if widget.value != getattr(options, name):  # else what is being typed would be written anew
                with widget.changed.blocked():
                    widget.value = getattr(options, name)

    def _take(self) -> None:
        values = {name: widget.value for name, widget in self.widgets.items()}
        self._options = dataclasses.replace(self._options, **values)  # type: ignore[type-var]
        self.changed.emit(self._options)


def widgets_of(options: Any) -> dict[str, ValueWidget]:
    """Return magicgui's widget for each field that can be shown, by its name."""
    tooltips = _tooltips(type(options))
    hints = get_type_hints(type(options), include_extras=True)
    return {
        name: _widget(name, hint, getattr(options, name), tooltips.get(name, ""))
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }


def _widget(name: str, hint: Any, value: Any, tooltip: str) -> ValueWidget:
    widget: Any = create_widget(annotation=hint, name=name, value=value)
    key = re.search("&(.)", widget.label)
    shortcut = f" (Alt+{key[1].upper()})" if key else ""
    widget.tooltip = f"<qt>{html.escape(tooltip)}{shortcut}</qt>"  # as rich text it is wrapped
    native = widget.native
    if isinstance(widget, CheckBox):
        widget.text = widget.label
    if isinstance(native, QDoubleSpinBox):
        PointOrComma(native)
    if isinstance(native, QComboBox):
        narrow(native)
    return widget


def _tooltips(kind: type) -> dict[str, str]:
    """Return what the docstring of a class says of each parameter."""
    texts: dict[str, str] = {}
    for each in parse(kind.__doc__ or "").params:
        text = " ".join((each.description or "").replace("``", "").split())
        texts |= {name.strip(): text for name in each.arg_name.split(",")}
    return texts


def narrow(box: QComboBox) -> None:
    """Let a chooser be narrower than its longest entry, so that a name does not widen the dock."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(4)
