"""The corrections of the image: a layer on top of the result, which is what counts. No Qt, no napari."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_feedback_seg.errors import FeedbackSegError, InputError
from napari_feedback_seg.plugin.session.correct.painted.classes import PaintClasses
from napari_feedback_seg.plugin.session.correct.painted.composed import Composed
from napari_feedback_seg.plugin.session.correct.painted.counts import Count, count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari.layers import Image, Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.layers.painting import Stroke
    from napari_feedback_seg.plugin.session.session import Session


class Corrections:
    """What is painted on the image of a session, counted section by section.

    A stroke on the layer of corrections is counted; one on the result is moved there first. Either
    brings the session to its image. napari tells of a stroke which sections it is on; of an undo it
    does not, so that then all sections with strokes are looked at.

    Events
    ------
    changed : list of int
        There are other corrections on these sections; none if another layer is followed, or other classes.
    """

    changed = Signal(object)

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers = session.layers.corrections
        self._classes = PaintClasses()
        self._counts: dict[int, dict[int, Count]] = {}
        self._sums: dict[int, int] = {}  # of each section that was ever painted on: to see what was undone
        self._of_layer: dict[Any, tuple[dict[int, dict[int, Count]], dict[int, int]]] = {}  # by identity
        self.image: Image | None = None
        self.layer: Labels | None = None
        self.problem = ""
        self._following = False
        painting = self._layers.painting
        painting.painted.connect(self._take)
        painting.redrawn.connect(self._look_again)
        painting.replaced.connect(self._replaced)

    # --- what there is

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes to paint with: those of the model, and new ones."""
        return self._classes.all

    @property
    def added(self) -> list[LabelClass]:
        """The new ones among them."""
        return self._classes.added

    @property
    def free_color(self) -> str:
        """A colour for another one."""
        return self._classes.free_color

    @property
    def counts(self) -> dict[int, dict[int, Count]]:
        """Section to class value to count."""
        return dict(sorted(self._counts.items()))

    @property
    def unknown(self) -> list[int]:
        """Values in the corrections that are no class."""
        known = {each.value for each in self.classes}
        return sorted({value for counts in self._counts.values() for value in counts} - known)

    def painted(self, z: int) -> np.ndarray:
        """Return what is painted on a section (Y, X), uint8, also where it is no class; not to be written to.

        Raises LookupError if there is no layer of corrections.
        """
        if self.layer is None:
            raise LookupError("There are no corrections.")
        return self._layers.planes(self.layer)[z]

    def labels(self, z: int) -> np.ndarray:
        """Return a copy of the corrections of a section (Y, X), class values only."""
        table = np.zeros(256, np.uint8)
        for each in self.classes:
            table[each.value] = each.value
        found: np.ndarray = table[self.painted(z)]
        return found

    def of_result(self, result: Labels) -> Composed:
        """Return a result as it counts: with the corrections on it, composed when it is read."""
        layers = self._session.layers
        image = layers.image_of(result)
        layer = self.layer if image == self.image else self._layers.find(image)
        part = None if layer is None else self._layers.part(layer, layers.region_of(result))
        if part is None or part.shape != result.data.shape:
            return Composed(result.data)
        values = {each.value for each in (*self.classes, *layers.classes_of(result))}
        return Composed(result.data, part, frozenset(values))

    # --- what a person does

    def make_layer(self) -> Labels:
        """Return the layer of corrections, which is made if need be.

        Raises InputError if there is no image, or a layer of its name that cannot hold its corrections.
        """
        if self.layer is None:
            image = self.image
            layer = self._layers.make(image, self.classes)  # the session may follow it already
            if image is not None and self.image == image:
                self._follow(image, layer)
            return layer
        return self.layer

    def write(self, z: int, labels: np.ndarray) -> None:
        """Replace the corrections of a section.

        Raises InputError if there is no place for them.
        """
        self._layers.write(self.make_layer(), z, labels)
        self._count([z])

    def add_class(self, name: str, color: str, opacity: float = 0.8) -> LabelClass:
        """Add a class that the model does not know yet, and return it.

        Raises InputError if there is one of this name, or no value is left.
        """
        new = self._classes.add(name, color, opacity, self.unknown)
        self._show_classes()
        return new

    def remove_class(self, value: int) -> None:
        """Take an added class away again, and out of the hand.

        Raises InputError if the model knows it, or something is painted with it.
        """
        self.look()
        found = next((each for each in self.classes if each.value == value), None)
        if found is None:
            return
        if found in self.added and any(value in counts for counts in self._counts.values()):
            raise InputError(f"Something is painted as '{found.name}': erase that, and try again.")
        self._classes.remove(found)
        self._layers.put_brush_away(value, self.layer, self._session.result)
        self._show_classes()

    def take_classes(self, wanted: Iterable[LabelClass], used: Collection[int]) -> np.ndarray:
        """Add the classes that labels mean; return what these become, see :meth:`PaintClasses.take`."""
        table = self._classes.take(wanted, used)
        self._show_classes()
        return table

    # --- what happens

    def follow(self) -> None:
        """Follow the image of the session, and its layer of corrections; cheap if these are the same."""
        if self._following:
            return
        self._following = True
        try:
            self.look()  # what was painted just before one leaves is of the image that is left
        finally:
            self._following = False
        image = self._session.image
        layer = self._layers.find(image, self.layer)
        if (image, layer) != (self.image, self.layer):
            self._follow(image, layer)
        elif layer is not None and image is not None:
            self._layers.adopt(layer, image)  # the image may have been moved
        problem = self._layers.problem(image)
        if problem != self.problem:
            self.problem = problem
            if problem:
                self._session.said.emit(problem, "warning")
            self.changed.emit([])

    def follow_model(self) -> None:
        """Take the classes of the model in use; what is painted keeps its meaning."""
        card = self._session.card
        if card is None or tuple(card.classes) == self._classes.known:
            return
        self._classes.follow(card.classes)
        self._keep_meaning()
        self._show_classes()

    def look(self) -> None:
        """Take over what was painted up to now, and not in a moment."""
        self._layers.painting.tell()

    def look_at_all(self) -> None:
        """Count all sections anew: a script has written to them, and nothing tells of that."""
        self.look()
        if self.layer is not None:
            self._count(range(len(self._layers.planes(self.layer))))

    def _follow(self, image: Image | None, layer: Labels | None) -> None:
        self.image, self.layer = image, layer
        for gone in self._of_layer.keys() - self._session.layers.identities:
            del self._of_layer[gone]
        self._counts, self._sums = {}, {}
        if layer is not None:
            self._counts, self._sums = self._of_layer.setdefault(layer.unique_id, ({}, {}))
        if layer is not None and image is not None:
            self._layers.adopt(layer, image)
            self._keep_meaning()
            self._show_classes()
            self._count(range(len(self._layers.planes(layer))))
        self.changed.emit([])

    def _take(self, layer: Labels, stroke: Stroke) -> None:
        session = self._session
        if layer == self.layer:
            for z in stroke.sections:
                self._sums.setdefault(z, -1)  # even if it was undone meanwhile, it may come back
            self._count(stroke.sections)
            return
        image = session.layers.image_of(layer) if layer in session.layers else None
        if image is None:
            return
        if image != self.image:
            session.image = image  # and with it all its corrections are counted
        if layer == session.result_of(image):
            corrections = None
            try:
                corrections = self.make_layer()
            except FeedbackSegError as error:
                session.said.emit(str(error), "warning")
            self._layers.take_stroke(stroke, layer, corrections, session.layers.region_of(layer))
            self.look()

    def _look_again(self, layer: Labels) -> None:
        if layer == self.layer and self.image is not None:
            self._count({*self._sums, self._session.layers.displayed_section(self.image)})

    def _replaced(self, layer: Labels) -> None:
        if layer == self.layer:
            self.layer = None  # to be counted anew, if it still fits
        self.follow()

    def _count(self, sections: Iterable[int]) -> None:
        """Count sections anew, and tell of those that have changed."""
        if self.layer is None:
            return
        planes, changed = self._layers.planes(self.layer), []
        for z in sorted(sections):
            plane = planes[z]
            if z not in self._sums and not plane.any():
                continue
            checksum = zlib.crc32(np.ascontiguousarray(plane).data)
            if self._sums.get(z) != checksum:
                self._sums[z] = checksum
                self._counts[z] = count(plane)
                changed.append(z)
                if not self._counts[z]:
                    del self._counts[z]
        if changed:
            self.changed.emit(changed)

    def _keep_meaning(self) -> None:
        """Give what is painted the value that its class has now."""
        layer = self.layer
        noted = self._layers.record(layer).classes if layer is not None else ()
        if layer is None or {(each.value, each.name) for each in noted} <= {
            (each.value, each.name) for each in self.classes
        }:
            return
        planes = self._layers.planes(layer)
        try:
            table = self._classes.take(noted, {value for plane in planes for value in count(plane)})
        except InputError as error:
            self._session.said.emit(str(error), "warning")
            return
        if (table != np.arange(len(table))).any():
            for z, plane in enumerate(planes):
                if plane.any():
                    self._layers.write(layer, z, table[plane])
            self._count(self._sums)

    def _show_classes(self) -> None:
        """Show what is painted in the colours of the classes, and have the result know them."""
        if self.layer is not None:
            self._layers.show_classes(self.layer, self.classes)
        result = self._session.result
        if result is not None and self.added:
            self._session.layers.add_classes(result, self.added)
        self.changed.emit([])
