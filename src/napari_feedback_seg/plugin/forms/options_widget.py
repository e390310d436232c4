"""The form of a dataclass of options as a magicgui widget, for the commands."""

from __future__ import annotations

import dataclasses
from typing import Any

from magicgui.widgets.bases import ValuedContainerWidget

from napari_feedback_seg.plugin.forms.options_form import widgets_of


class OptionsWidget(ValuedContainerWidget):
    """What an argument of a command looks like whose value is a frozen dataclass.

    Such an argument is annotated ``Annotated[Options, {"widget_type": OptionsWidget}]`` and has a default.
    The rows are those of :class:`~napari_feedback_seg.plugin.forms.options_form.OptionsForm`.
    """

    def __init__(self, value: Any, **options: Any) -> None:
        self._options = value
        self._rows = widgets_of(value)
        for row in self._rows.values():
            row.label = row.label.replace("&", "")  # magicgui's labels have no keys
        super().__init__(widgets=list(self._rows.values()), **{**options, "label": ""})

    def get_value(self) -> Any:
        """Return the options as they are shown."""
        values = {name: row.value for name, row in self._rows.items()}
        return dataclasses.replace(self._options, **values)

    def set_value(self, value: Any) -> None:
        """Show other options."""
        self._options = value
        for name, row in self._rows.items():
            row.value = getattr(value, name)
