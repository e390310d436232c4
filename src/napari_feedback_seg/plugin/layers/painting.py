"""What a person paints on Labels layers: where it is, and how it gets from the result to the corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_feedback_seg.plugin.layers.image import displayed_section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_feedback_seg.plugin.session.regions import Region

_UNDO, _REDO = "Control-Z", "Control-Shift-Z"


@dataclass(frozen=True)
class Part:
    """Pixels that were painted at once."""

    index: tuple[np.ndarray, ...]  # where they are, an array an axis
    before: Any  # their labels
    after: Any


@dataclass(frozen=True)
class Stroke:
    """What was painted in one go, such as a drag of the brush; later parts may lie on earlier ones."""

    parts: tuple[Part, ...]

    @property
    def sections(self) -> set[int]:
        """The sections that it is on; section 0 of a single one."""
        found: set[int] = set()
        for part in self.parts:
            found.update(np.unique(part.index[0]).tolist() if len(part.index) > 2 else [0])
        return found


class Painting:
    """Hears of what is painted on the Labels layers of a viewer.

    napari tells of a stroke, at times before it writes it; of an undo it tells only that the layer is
    drawn anew, as it is when the slider moves.

    Events
    ------
    painted : Labels, Stroke
        Something was painted.
    redrawn : Labels
        A layer was drawn anew though nobody has moved: something was undone, perhaps.
    replaced : Labels
        A layer has other data.
    """

    painted = Signal(object, object)
    redrawn = Signal(object)
    replaced = Signal(object)

    def __init__(self, viewer: Callable[[], Viewer], later: Callable[[Callable[[], None]], None]) -> None:
        self._viewer, self._later = viewer, later
        self._layers: list[Labels] = []
        self._shown: dict[Any, int] = {}
        self._strokes: dict[Labels, Stroke] = {}
        self._drawn: list[Labels] = []

    def watch(self, layers: Sequence[Labels]) -> None:
        """Hear of these layers and no others; may be called again."""
        for layer in [each for each in self._layers if each not in layers]:
            self._connect(layer, "disconnect")
        new = [each for each in layers if each not in self._layers]
        self._layers = list(layers)
        for layer in new:
            self._connect(layer, "connect")
            self._shown[layer.unique_id] = displayed_section(self._viewer(), layer)

    def tell(self) -> None:
        """Tell of what has happened up to now, and not in a moment."""
        (strokes, self._strokes), (drawn, self._drawn) = (self._strokes, {}), (self._drawn, [])
        for layer, stroke in strokes.items():
            self.painted.emit(layer, stroke)
        for layer in drawn:
            self.redrawn.emit(layer)

    def _connect(self, layer: Labels, verb: str) -> None:
        for emitter, callback in (
            (layer.events.paint, self._on_paint),
            (layer.events.set_data, self._on_drawn),
            (layer.events.data, self._on_data),
        ):
            getattr(emitter, verb)(callback)

    def _on_paint(self, event: Any) -> None:
        layer, new = event.source, tuple(part_of(atom) for atom in event.value)
        before = self._strokes.get(layer)
        self._soon()
        self._strokes[layer] = Stroke((*before.parts, *new) if before else new)

    def _on_drawn(self, event: Any) -> None:
        layer = event.source
        shown, before = displayed_section(self._viewer(), layer), self._shown.get(layer.unique_id)
        self._shown[layer.unique_id] = shown
        if shown == before and layer not in self._drawn:
            self._soon()
            self._drawn.append(layer)

    def _on_data(self, event: Any) -> None:
        self.replaced.emit(event.source)

    def _soon(self) -> None:
        if not self._strokes and not self._drawn:
            self._later(self.tell)


def move_stroke(
    stroke: Stroke, result: Labels, corrections: Labels | None, region: Region | None = None
) -> None:
    """Paint on the corrections what was painted on the result, and let the result be as it was.

    Undo and redo, with the result selected, are those of the corrections from then on. Without
    corrections the stroke is taken back.

    Parameters
    ----------
    stroke : Stroke
        What was painted.
    result, corrections : Labels
        The layers.
    region : tuple of slice, optional
        Rows and columns of the corrections that the result holds; all of them if not given.
    """
    top, left = (0, 0) if region is None else (region[0].start, region[1].start)
    painted = [(part, result.data[part.index] == part.after) for part in stroke.parts]  # else it was undone
    for part in reversed(stroke.parts):
        result.data[part.index] = part.before
    forget_undo(result)
    result.refresh()
    if corrections is None:
        return
    with corrections.block_history():
        for part, still in painted:
            after = np.broadcast_to(part.after, still.shape)[still]
            *section, rows, columns = (each[still] for each in part.index)
            index = (*section, rows + top, columns + left)
            corrections.data_setitem(index, after, refresh=False)
    corrections.visible = True
    corrections.refresh()
    result.bind_key(_UNDO, lambda _: corrections.undo(), overwrite=True)
    result.bind_key(_REDO, lambda _: corrections.redo(), overwrite=True)


def forget_undo(layer: Labels) -> None:
    """Drop napari's undo steps: they would put back pixels of an earlier time."""
    mode = layer.mode
    layer.editable = False
    layer.editable = True
    layer.mode = mode


def part_of(atom: Any) -> Part:
    """Return the pixels that a step of napari's history is about.

    Since napari 0.9 most are a box and a mask in it; those of ``data_setitem`` are an index.
    """
    if not hasattr(atom, "slice_key"):
        index, before, after = atom
        return Part(tuple(np.asarray(each) for each in index), before, after)
    box = atom.slice_key
    mask = atom.mask if atom.mask is not None else np.ones([each.stop - each.start for each in box], bool)
    index = tuple(each + part.start for each, part in zip(np.nonzero(mask), box, strict=True))
    return Part(index, np.asarray(atom.old_values).ravel(), atom.new_value)
