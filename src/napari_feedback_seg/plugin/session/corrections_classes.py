"""The classes to paint with: what is painted keeps its meaning, whatever model is in use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.corrections import CORRECTIONS_KEY, note
from napari_feedback_seg.plugin.layers.image import planes_of
from napari_feedback_seg.plugin.layers.results import forget_strokes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari.layers import Labels

    from napari_feedback_seg.plugin.session.state import DockState


class PaintClasses:
    """The classes of the model in use, and those that were added.

    A layer of corrections says what its labels meant when they were painted. Where a label means
    something else now, or nothing, another model having come into use or another session, it
    gets the value that its class has now, and the class is added if need be.

    Parameters
    ----------
    state : DockState
        Its model.
    """

    def __init__(self, state: DockState) -> None:
        self._state = state
        self._new: list[LabelClass] = []

    @property
    def known(self) -> tuple[LabelClass, ...]:
        """Those of the model."""
        return tuple(self._state.card.classes) if self._state.card else ()

    @property
    def added(self) -> list[LabelClass]:
        """Those that the model does not know."""
        names = {each.name for each in self.known}
        return [each for each in self._new if each.name not in names]

    @property
    def all(self) -> tuple[LabelClass, ...]:
        """Both."""
        return (*self.known, *self.added)

    def add(self, name: str, color: str, opacity: float, odd: Sequence[int]) -> LabelClass:
        """Add a class; it gets the first of the odd values, else a free one.

        Raises
        ------
        InputError
            If there is one of this name, or no value is left.
        """
        if name in [each.name for each in self.all]:
            raise InputError(f"There is a class '{name}' already: choose another name.")
        value = odd[0] if odd else _free_value({each.value for each in self.all})
        new = LabelClass(value, name, color, opacity)
        self._new.append(new)
        return new

    def remove(self, gone: LabelClass) -> None:
        """Take an added class away again.

        Raises
        ------
        InputError
            If the model knows it.
        """
        if gone not in self.added:
            raise InputError(f"The model knows '{gone.name}': only a class that was added can be removed.")
        self._new.remove(gone)

    def take(self, wanted: Iterable[LabelClass], used: Collection[int]) -> np.ndarray:
        """Add the classes that labels mean, and return what the labels become, (256,) uint8.

        Parameters
        ----------
        wanted : iterable of LabelClass
            What the labels mean.
        used : collection of int
            The labels. Classes that are not among them are not added.

        Raises
        ------
        InputError
            If no value is left.
        """
        new, table = _added(self.all, wanted, used)
        self._new += new
        return table

    def follow_model(self) -> None:
        """Give the added classes values that go with those of the model."""
        self._new = _beside(self.known, self._new)

    def renumber(self, layer: Labels) -> bool:
        """Let the labels of a layer of corrections mean what they meant; return whether they have changed."""
        noted = read_classes(layer.metadata[CORRECTIONS_KEY].get("classes"))
        changed = False
        if not {(each.value, each.name) for each in noted} <= {(each.value, each.name) for each in self.all}:
            planes = planes_of(layer.data)
            try:
                table = self.take(noted, {int(value) for plane in planes for value in np.unique(plane)})
            except InputError as error:
                show_warning(str(error))
                return False
            changed = bool((table != np.arange(256)).any())
            for plane in planes if changed else ():
                plane[:] = table[plane]
        note(layer, classes=[each.to_json() for each in self.all])
        if changed:
            forget_strokes(layer)
            layer.refresh()
        return changed


def _beside(known: Sequence[LabelClass], new: Sequence[LabelClass]) -> list[LabelClass]:
    """Return added classes with values that go with those of a model.

    One that the model knows, too, has the value that it has there; one whose value means something
    else there gets a free one.

    Parameters
    ----------
    known : sequence of LabelClass
        The classes of the model.
    new : sequence of LabelClass
        The classes that were added.
    """
    by_name = {each.name: each for each in known}
    taken = {each.value for each in known}
    found: list[LabelClass] = []
    for each in new:
        if each.name in by_name:
            value = by_name[each.name].value
        else:
            value = each.value if each.value not in taken else _free_value(taken | {one.value for one in new})
            taken.add(value)
        found.append(replace(each, value=value))
    return found


def _free_value(taken: Collection[int]) -> int:
    """Return the lowest label that nothing is known of.

    Raises
    ------
    InputError
        If all 255 are taken.
    """
    value = next((value for value in range(1, 256) if value not in taken), None)
    if value is None:
        raise InputError("There are 255 classes already: no more fit into a label image.")
    return value


def _added(
    classes: Sequence[LabelClass], wanted: Iterable[LabelClass], used: Collection[int]
) -> tuple[list[LabelClass], np.ndarray]:
    """Return what to add to the classes so that labels keep their meaning, and what the labels become.

    Parameters
    ----------
    classes : sequence of LabelClass
        Those that there are.
    wanted : iterable of LabelClass
        What the labels mean.
    used : collection of int
        The labels. Classes that are not among them are not added.

    Returns
    -------
    tuple of list and ndarray
        The classes to add, and a table (256,) uint8 of what each label becomes.
    """
    table = np.arange(256, dtype=np.uint8)
    new: list[LabelClass] = []
    by_name = {each.name: each.value for each in classes}
    taken = {each.value for each in classes}
    for each in wanted:
        if each.value not in used:
            continue
        value = by_name.get(each.name)
        if value is None:
            value = each.value if each.value not in taken else _free_value({*taken, *used})
            new.append(replace(each, value=value))
            by_name[each.name] = value
            taken.add(value)
        table[each.value] = value
    return new, table


def read_classes(records: Any) -> list[LabelClass]:
    """Return the classes that JSON objects describe; those that cannot be read are left out."""
    found = []
    for each in records if isinstance(records, list) else ():
        try:
            found.append(LabelClass(**each))
        except (TypeError, ValueError):
            continue
    return found
