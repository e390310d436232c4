"""Objects put right by a person: split, merged, deleted, painted. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.errors import FeedbackSegError, InputError
from napari_feedback_seg.plugin.session.objects.work import deep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.layers import Labels

    from napari_feedback_seg.objects.edits import Edit, Place
    from napari_feedback_seg.plugin.layers.objects import ObjectLayers
    from napari_feedback_seg.plugin.session.objects.finding import Objects

SPLIT, MERGE, DELETE, ADD = "split", "merge", "delete", "add"

_DRAG = 4  # places from which on a click is a line
_HINTS = {
    SPLIT: "Click two places on the object, or draw a line across it.",
    MERGE: "Click two objects.",
    DELETE: "Click the object.",
    ADD: "Paint a new object, through the sections too. Choose Add again for another.",
}


class ObjectEditing:
    """The tools that edit the objects which are chosen.

    Parameters
    ----------
    objects : Objects
        The controller of objects.
    layers : ObjectLayers
        The layers of objects.

    Attributes
    ----------
    tool : str
        What a click does: ``split``, ``merge``, ``delete`` or ``add``; empty: it selects.
    hint : str
        What to do with the tool, or why it did nothing, in a sentence.
    """

    def __init__(self, objects: Objects, layers: ObjectLayers) -> None:
        self._objects, self._layers = objects, layers
        self.tool = self.hint = ""
        self._first: Place | None = None
        self._layers.pointed.connect(self._pointed)
        self._layers.painted.connect(self._on_painted)
        self._layers.undo.connect(self.undo)
        self._layers.redo.connect(self.redo)

    def forget(self) -> None:
        """Put the tool away; may be called again."""
        self.tool = self.hint = ""
        self._layers.follow(None)

    def set_tool(self, tool: str) -> None:
        """Take a tool in hand, or none."""
        found = self._objects.found
        if tool and found is None:
            self._objects.say("There are no objects to edit. Find them first.")
            tool = ""
        before, self.tool, self._first = self.tool, tool, None
        if before == ADD and found is not None:
            self._layers.put_brush_away(found.layer)
        self._layers.follow(found.layer if found is not None and tool in (SPLIT, MERGE, DELETE) else None)
        if tool == ADD and found is not None:
            self._layers.take_brush(found.layer, int(found.labels.max(initial=0)) + 1)
        self.hint = _HINTS.get(tool, "")
        self._objects.tell()

    def _pointed(self, places: Sequence[Place]) -> None:
        from napari_feedback_seg.objects.edits import Cut, Delete, Merge, Split

        last = places[-1]
        if self.tool == SPLIT and len(places) >= _DRAG:
            self.do(Cut(tuple(places)))
        elif self.tool == DELETE:
            self.do(Delete(last))
        elif self._first is None:
            self._first = last
            self.hint = "Now click the other place." if self.tool == SPLIT else "Now click the other object."
            self._objects.tell()
        else:
            first, self._first = self._first, None
            self.do(Split(first, last) if self.tool == SPLIT else Merge(first, last))

    def _on_painted(self, layer: Labels, places: np.ndarray, number: int) -> None:
        from napari_feedback_seg.objects.edits import Paint, pack

        found = self._objects.found
        if found is None or layer != found.layer:
            return
        labels = deep(found.labels)
        to = None
        there = next((z for z in range(len(labels)) if (labels[z] == number).any()), None) if number else None
        if there is not None:
            y, x = np.argwhere(labels[there] == number)[0]
            to = (there, int(y), int(x))
        self.do(Paint(pack(places), to, erase=not number))
        if number and to is None:
            self._layers.select(layer, int(labels.max()))

    def do(self, edit: Edit) -> bool:
        """Do an edit of the objects; return whether it fits."""
        found = self._objects.found
        if found is None:
            return False
        try:
            change = found.editor.do(edit)
        except InputError as error:
            self._first, self.hint = None, str(error)
            self._objects.warn(self.hint)
            return False
        self.hint = _HINTS.get(self.tool, "")
        self._objects.show_change(found, change.numbers)
        return True

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit, or a preview, to take back."""
        found = self._objects.found
        return self._layers.previews or (found is not None and found.editor.can_undo)

    def undo(self) -> None:
        """Take the preview away, or else the last edit back."""
        if self._layers.end_preview():
            self._objects.tell()
            return
        found = self._objects.found
        if found is not None and (change := found.editor.undo()) is not None:
            self._objects.show_change(found, change.numbers)

    def redo(self) -> None:
        """Do again what was undone."""
        found = self._objects.found
        if found is not None and (change := found.editor.redo()) is not None:
            self._objects.show_change(found, change.numbers)

    def open_edits(self, path: Path) -> None:
        """Do the edits of a file, after those that were done."""
        from napari_feedback_seg.objects.editor import load_edits

        found = self._objects.found
        if found is None:
            self._objects.say("There are no objects to edit. Find them first.")
            return
        try:
            edits = load_edits(path, deep(found.labels).shape)
        except FeedbackSegError as error:
            self._objects.say(str(error))
            return
        problems = found.editor.do_again(edits)
        done = f"{len(edits) - len(problems)} of {len(edits)} edits were done."
        self._objects.show_change(found, None, done)
