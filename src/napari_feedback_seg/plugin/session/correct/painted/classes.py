"""The classes to paint with: what is painted keeps its meaning, whatever model is in use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_VALUES = 256
_COLORS = ("#56b4e9", "#009e73", "#d55e00", "#8c6bb1", "#a6d854", "#8b5a2b")


class PaintClasses:
    """The classes of the model in use, and those that a person added."""

    def __init__(self) -> None:
        self.known: tuple[LabelClass, ...] = ()  # those of the model
        self._new: list[LabelClass] = []

    @property
    def added(self) -> list[LabelClass]:
        """Those that the model does not know."""
        names = {each.name for each in self.known}
        return [each for each in self._new if each.name not in names]

    @property
    def all(self) -> tuple[LabelClass, ...]:
        """Both."""
        return (*self.known, *self.added)

    @property
    def free_color(self) -> str:
        """A colour that no class has, as long as there is one."""
        taken = {each.color.lower() for each in self.all}
        return next((each for each in _COLORS if each not in taken), _COLORS[0])

    def follow(self, known: Iterable[LabelClass]) -> None:
        """Take the classes of another model, and give the added ones values that go with them.

        One that the model knows, too, has the value that it has there; one whose value means something
        else there gets a free one.
        """
        self.known = tuple(known)
        by_name = {each.name: each for each in self.known}
        taken = {each.value for each in self.known}
        found: list[LabelClass] = []
        for each in self._new:
            if each.name in by_name:
                value = by_name[each.name].value
            else:
                others = taken | {one.value for one in self._new}
                value = each.value if each.value not in taken else _free_value(others)
                taken.add(value)
            found.append(replace(each, value=value))
        self._new = found

    def add(self, name: str, color: str, opacity: float, unknown: Sequence[int] = ()) -> LabelClass:
        """Add a class; it gets the first of the unknown values that something is painted with, or a free one.

        Raises InputError if there is one of this name, or no value is left.
        """
        if name in [each.name for each in self.all]:
            raise InputError(f"There is a class '{name}' already: choose another name.")
        value = unknown[0] if unknown else _free_value({each.value for each in self.all})
        new = LabelClass(value, name, color, opacity)
        self._new.append(new)
        return new

    def remove(self, gone: LabelClass) -> None:
        """Take an added class away again.

        Raises InputError if the model knows it.
        """
        if gone not in self.added:
            raise InputError(f"The model knows '{gone.name}': only a class that was added can be removed.")
        self._new.remove(gone)

    def take(self, wanted: Iterable[LabelClass], used: Collection[int]) -> np.ndarray:
        """Add the classes that labels mean, and return what the labels become to keep their meaning.

        Parameters
        ----------
        wanted : iterable of LabelClass
            What the labels mean.
        used : collection of int
            The labels. Classes that are not among them are not added.

        Returns
        -------
        ndarray
            (256,) uint8: the value for each label.

        Raises
        ------
        InputError
            If no value is left.
        """
        table = np.arange(_VALUES, dtype=np.uint8)
        new: list[LabelClass] = []
        by_name = {each.name: each.value for each in self.all}
        taken = {each.value for each in self.all}
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
        self._new += new
        return table


def _free_value(taken: Collection[int]) -> int:
    """Return the lowest label that means nothing yet.

    Raises InputError if all 255 are taken.
    """
    value = next((value for value in range(1, _VALUES) if value not in taken), None)
    if value is None:
        raise InputError("There are 255 classes already: no more fit into a label image.")
    return value
