"""A chooser of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_feedback_seg.plugin.forms.options_form import narrow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Layer


class LayerChooser(ComboBox):
    """magicgui's chooser, of the layers that a function returns; ``changed`` tells what a person chose.

    What is chosen is kept by whoever draws it: magicgui alone turns to the first layer, without a word, when
    the chosen one is renamed.

    Parameters
    ----------
    layers : callable
        Returns the layers to choose from.
    none : str, optional
        What the choice of no layer is called; there is no such choice if not given.
    **options
        As magicgui takes them: ``label``, ``tooltip``.
    """

    def __init__(
        self, layers: Callable[[], Sequence[Layer]], *, none: str | None = None, **options: Any
    ) -> None:
        self.null_string = none or ""

        def choices(_: Any) -> list[tuple[str, Layer]]:
            return [(layer.name, layer) for layer in layers()]

        super().__init__(choices=choices, nullable=none is not None, **options)
        narrow(self.native)

    def draw(self, chosen: Layer | None) -> None:
        """Show the layers that there are now, and which is chosen."""
        with self.changed.blocked():
            self.reset_choices()
            if chosen in self.choices:
                self.value = chosen
