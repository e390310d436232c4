"""The edits of an array of numbered objects: done, undone, done again, saved and opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import replacing
from napari_feedback_seg.objects.edits import apply, from_json, take_back, to_json

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from napari_feedback_seg.objects.edits import Change, Edit
    from napari_feedback_seg.objects.options import Voxel


class ObjectEditor:
    """Edits an array of numbered objects in place.

    Parameters
    ----------
    labels : ndarray
        (Y, X) or (Z, Y, X) numbers of objects.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    count : int, optional
        The highest number, if known.

    Attributes
    ----------
    edits : list of Edit
        What was done, and not undone.
    """

    def __init__(self, labels: Any, voxel: Voxel, count: int | None = None) -> None:
        self._labels = labels[None] if labels.ndim == 2 else labels
        self._voxel = voxel
        self._count = int(np.max(labels, initial=0)) if count is None else count
        self._changes: list[Change] = []
        self._undone: list[Edit] = []
        self.edits: list[Edit] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._changes)

    @property
    def can_redo(self) -> bool:
        """Whether something was undone, and nothing done since."""
        return bool(self._undone)

    def do(self, edit: Edit) -> Change:
        """Do an edit.

        Raises
        ------
        InputError
            If it does not fit; nothing is changed then.
        """
        change = self._apply(edit)
        self._undone.clear()
        return change

    def undo(self) -> Change | None:
        """Take the last edit back; return what that changes."""
        if not self._changes:
            return None
        change = self._changes.pop()
        take_back(self._labels, change)
        self._count = change.count
        self._undone.append(self.edits.pop())
        return change

    def redo(self) -> Change | None:
        """Do again what was undone last; return what that changes."""
        return self._apply(self._undone.pop()) if self._undone else None

    def do_again(self, edits: Iterable[Edit]) -> list[str]:
        """Do edits that were made before, on objects that may have changed; return what does not fit."""
        problems = []
        for edit in edits:
            try:
                self._apply(edit)
            except InputError as error:
                problems.append(str(error))
        return problems

    def _apply(self, edit: Edit) -> Change:
        change = apply(self._labels, edit, self._voxel, self._count)
        self._count = max(self._count, *change.numbers, 0)
        self._changes.append(change)
        self.edits.append(edit)
        return change


def save_edits(
    path: str | os.PathLike[str], edits: Sequence[Edit], shape: Sequence[int], *, overwrite: bool = False
) -> None:
    """Write edits as JSON.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    record = {"feedback-seg objects": 1, "shape": list(shape), "edits": [to_json(each) for each in edits]}
    with replacing(path, overwrite) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")


def load_edits(path: str | os.PathLike[str], shape: Sequence[int] | None = None) -> list[Edit]:
    """Return the edits of a file.

    Parameters
    ----------
    path : path-like
        What :func:`save_edits` wrote.
    shape : sequence of int, optional
        Of the objects; edits of another shape are refused.

    Raises
    ------
    InputError
        If the file is missing, holds no edits, or those of another shape.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        edits = [from_json(each) for each in record["edits"]]
        of = tuple(record["shape"])
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path}' holds no edits of objects. Choose a file that was saved as such."
        ) from error
    if shape is not None and of != tuple(shape):
        raise InputError(f"'{path}' holds edits of the shape {of}, and the objects have {tuple(shape)}.")
    return edits
