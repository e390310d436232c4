"""The classes to paint with: one name has one value, whatever model is in use; numpy only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import LabelClass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


def beside(known: Sequence[LabelClass], new: Sequence[LabelClass]) -> list[LabelClass]:
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
            value = each.value if each.value not in taken else free_value(taken | {one.value for one in new})
            taken.add(value)
        found.append(replace(each, value=value))
    return found


def free_value(taken: Collection[int]) -> int:
    """Return the lowest label that nothing is known of.

    Raises
    ------
    ValueError
        If all 255 are taken.
    """
    value = next((value for value in range(1, 256) if value not in taken), None)
    if value is None:
        raise ValueError("There are 255 classes already: no more fit into a label image.")
    return value


def added(
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
            value = each.value if each.value not in taken else free_value({*taken, *used})
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
