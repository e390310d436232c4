"""The one store of corrections of an image, and the result that always shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, Signal

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.corrections import (
    adopt,
    corrections_colormap,
    find_layer,
    fits,
    hint,
    new_layer,
    problem,
)
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, class_features, displayed_section, move
from napari_feedback_seg.plugin.layers.results import add_classes, forget_strokes, note_written, was_painted
from napari_feedback_seg.plugin.session.corrections_classes import PaintClasses
from napari_feedback_seg.plugin.session.corrections_memory import Memory
from napari_feedback_seg.plugin.session.corrections_section import SeenSection
from napari_feedback_seg.plugin.session.corrections_touched import Touched, section_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari.layers import Image, Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.corrections_count import Box, Count
    from napari_feedback_seg.plugin.session.state import DockState


class CorrectionStore(QObject):
    """The corrections of the dock's image, in a Labels layer "<image> corrections".

    What is painted on the result is copied there; what is corrected is shown in the result,
    whatever the model says. A moment after something was painted, undone or segmented, both are
    looked at. Painting tells which sections it has touched; undoing only that something has to
    be drawn anew, so that all sections are looked at that were ever painted on. Whoever needs the
    corrections or the result calls :meth:`look` before. What was seen of an image is kept as long as
    that is in the viewer, also for a dock that is opened again.

    Signals
    -------
    changed : list of int
        The corrections of these sections are others than before.
    leaving
        Another image or layer is about to be followed.
    followed
        Another image or layer is followed.
    """

    changed = Signal(list)
    leaving = Signal()
    followed = Signal()

    def __init__(self, state: DockState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._memory = Memory(state.viewer)
        self._sections: dict[int, SeenSection] = {}
        self._image: Image | None = None
        self._layer: Labels | None = None
        self._result: Labels | None = None
        self._warned = False
        self._problem = ""
        self._known = _table(())
        self._touched = Touched(state.viewer, self)
        self._touched.due.connect(self._look_at_touched)
        self._classes = PaintClasses(state)
        state.image_changed.connect(self._bind)
        state.layers_changed.connect(self._bind)
        state.result_changed.connect(self._bind)
        state.model_changed.connect(self._take_classes)
        state.segmenting_begins.connect(self.look)
        state.writing.connect(self.look_at)
        state.reading.connect(self.look)
        self._bind()

    # --- what there is

    @property
    def layer(self) -> Labels | None:
        """The layer of corrections; None if nothing was painted yet."""
        return self._layer

    @property
    def image(self) -> Image | None:
        """The image that is followed."""
        return self._image

    @property
    def result(self) -> Labels | None:
        """Its result; None if there is none that can show the corrections."""
        return self._result

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes to paint with: those of the model, and new ones."""
        return self._classes.all

    @property
    def added(self) -> list[LabelClass]:
        """The new ones among them."""
        return self._classes.added

    @property
    def counts(self) -> dict[int, dict[int, Count]]:
        """Section to class value to count."""
        return {z: each.counts for z, each in sorted(self._sections.items()) if each.counts}

    @property
    def odd_values(self) -> list[int]:
        """Values in the corrections that are no class."""
        known = {each.value for each in self.classes}
        return sorted({value for counts in self.counts.values() for value in counts} - known)

    @property
    def problem(self) -> str:
        """Why the layer that is there cannot hold the corrections; empty if all is well."""
        return self._problem

    @property
    def hint(self) -> str:
        """How another layer can be used as the corrections, as long as there are none."""
        return "" if self.counts else hint(self._state.viewer, self._image, self._layer)

    def plane(self, z: int) -> np.ndarray:
        """Return the corrections of a section (Y, X), class values only; not to be written to."""
        labels = self.painted(z)
        seen = self._sections.get(z)
        odd = seen is not None and any(not self._known[value] for value in seen.counts)
        return self._known[labels] if odd else labels

    def painted(self, z: int) -> np.ndarray:
        """Return what was painted on a section (Y, X), uint8, also where it is no class."""
        assert self._layer is not None
        return _plane(self._layer.data, z)

    @property
    def predicted(self) -> dict[int, np.ndarray]:
        """Section to what the model says of it, without the corrections; not to be written to."""
        found = ((z, each.predicted) for z, each in self._sections.items())
        return {z: predicted for z, predicted in found if predicted is not None}

    def make_layer(self) -> Labels:
        """Return the layer of corrections, which is made if need be.

        Raises
        ------
        InputError
            If there is no image, or a layer of its name that cannot hold its corrections.
        """
        if self._layer is not None:
            return self._layer
        viewer, image = self._state.viewer, self._image
        layer = find_layer(viewer, image)  # its data may have been put right
        if layer is None:
            self._touched.quiet = True
            try:
                layer = new_layer(viewer, image, self.classes)
            finally:
                self._touched.quiet = False
        if self._state.image == image:
            self._bind()
        else:  # which is about to be left
            self._layer = layer
        return layer

    def write(self, z: int, labels: np.ndarray) -> None:
        """Replace the corrections of a section."""
        layer = self.make_layer()
        _plane(layer.data, z)[:] = labels
        layer.refresh()
        self._touched.sections.add(z)
        self._look_at_touched()

    # --- looking

    def look(self) -> None:
        """Take over all that was painted, on whatever section, and show it in the result."""
        layer = self._layer if self._layer is not None else self._result
        if layer is not None:
            self._touched.sections.update(range(section_count(layer)))
        self._look_at_touched()

    def look_at(self, z: int) -> None:
        """Take over what was painted on a section, and what has announced itself on others."""
        self._touched.sections.add(z)
        self._look_at_touched()

    def _look_at_touched(self) -> None:
        if self._touched.quiet or self._image is None:
            return
        self._touched.stop()
        if not self._still_fits():
            self._bind()  # and looks
            return
        if self._layer is None and self._was_painted():
            try:
                self.make_layer()
            except InputError as error:
                self._tell(str(error))
                return
            if self._state.image == self._image:  # that was looked at with it
                return
        self._touched.quiet = True
        try:
            changed = [z for z in self._to_look_at() if self._look_at(z)]
        finally:
            self._touched.quiet = False
        self._touched.sections.clear()
        if changed:
            self.changed.emit(changed)

    def show_instead(self, z: int, predicted: np.ndarray) -> None:
        """Show a prediction of a section, with the corrections on it, as the current one.

        Parameters
        ----------
        z : int
            The section.
        predicted : ndarray
            (Y, X) labels of a model.
        """
        self.look_at(z)  # what was painted in the meantime is not lost
        seen, result = self._sections.get(z), self._result
        if seen is None or seen.predicted is None or result is None:
            return
        self._touched.quiet = True
        try:
            labels = None if self._layer is None else self.painted(z)
            seen.say(predicted, labels, _plane(result.data, z), self._known)
            forget_strokes(result)
            self._note(z, seen, result)
        finally:
            self._touched.quiet = False

    def add_class(self, name: str, color: str, opacity: float = 0.8) -> LabelClass:
        """Add a class that the model does not know yet, and return it: of a value that is no class yet.

        Raises
        ------
        InputError
            If there is one of this name, or no value is left.
        """
        new = self._classes.add(name, color, opacity, self.odd_values)
        self._take_classes()
        self.changed.emit([])
        return new

    def take_classes(self, wanted: Iterable[LabelClass], used: Collection[int]) -> np.ndarray:
        """Add the classes that labels mean, and return what these labels become.

        Parameters
        ----------
        wanted : iterable of LabelClass
            What the labels mean.
        used : collection of int
            The labels.

        Returns
        -------
        ndarray
            (256,) uint8: another value for a label that means something else here.

        Raises
        ------
        InputError
            If no value is left.
        """
        table = self._classes.take(wanted, used)
        self._take_classes()
        self.changed.emit([])
        return table

    def remove_class(self, value: int) -> None:
        """Take an added class away again.

        Raises
        ------
        InputError
            If the model knows it, or something is painted with it.
        """
        found = next((each for each in self.classes if each.value == value), None)
        if found is None:
            return
        self.look()
        if found in self.added and any(value in counts for counts in self.counts.values()):
            raise InputError(f"Something is painted as '{found.name}': erase that, and try again.")
        self._classes.remove(found)
        self._take_classes()
        self.changed.emit([])

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        self._touched.watch(())
        self._follow_place(None)
        self._image = self._layer = self._result = None
        self._sections = {}

    def _to_look_at(self) -> list[int]:
        """Return the section that is shown, those that were touched, and those that were segmented anew."""
        layer = self._layer if self._layer is not None else self._result
        if layer is None:
            return []
        new = [
            z
            for z, digest in self._digests.items()
            if z not in self._sections or self._sections[z].written != digest
        ]
        shown = displayed_section(self._state.viewer, layer)
        return sorted({shown, *self._touched.sections, *new} & set(range(section_count(layer))))

    def _was_painted(self) -> bool:
        """Whether there is a stroke on the result, while there is no layer of corrections."""
        if self._result is None:
            return False
        for z in self._to_look_at():
            seen = self._sections.get(z)
            if seen is not None and seen.shown is not None and seen.written == self._digests.get(z):
                if not np.array_equal(_plane(self._result.data, z), seen.shown):
                    return True
        return False

    def _look_at(self, z: int) -> bool:
        """Look at a section; return whether its corrections have changed."""
        seen = self._sections.setdefault(z, SeenSection())
        noted = self._digests.get(z)
        result = self._result if noted is not None else None  # else nothing was segmented here
        shown = None if result is None else _plane(result.data, z)
        labels = None if self._layer is None else self.painted(z)
        segmented = _last_region(result, z) if result is not None and noted != seen.written else None
        # Strokes that nobody has followed: what is noted keeps them from being written over.
        strange = result is not None and seen.predicted is None and was_painted(result, [z])
        looked = seen.look(labels, shown, self._known, segmented)
        if looked.refused and not self._warned:
            self._warned = True
            show_warning("What was painted on the result with a label that is no class was taken back.")
        if looked.taken_over and self._layer is not None:
            self._layer.refresh()
        if strange:
            seen.written = noted
        elif result is not None and (looked.shown or looked.taken_over or noted != seen.written):
            self._note(z, seen, result)
        return looked.corrected

    @property
    def _digests(self) -> dict[int, int]:
        """What the result notes of each section that was segmented."""
        return self._result.metadata[RESULT_KEY].get("digests", {}) if self._result is not None else {}

    def _note(self, z: int, seen: SeenSection, result: Labels) -> None:
        note_written(result, z)
        seen.written = self._digests[z]
        result.refresh()

    # --- the layers

    def _bind(self) -> None:
        """Follow the image, its result and its corrections."""
        if self._touched.quiet:
            return
        image, viewer = self._state.image, self._state.viewer
        layer, result = find_layer(viewer, image, self._layer), self._state.result_of(image)
        result = result if fits(result, image) else None
        if layer is not None and image is not None:
            adopt(layer, image)
        if (image, layer, result) != (self._image, self._layer, self._result):
            if self._touched.waiting and self._still_fits():
                self._look_at_touched()
            self.leaving.emit()
            self._follow_place(image)
            if image != self._image:
                self._touched.forget()
            self._image, self._layer, self._result = image, layer, result
            self._sections = self._memory.recall(image, layer, result, self._show_uncorrected)
            self._touched.sections.update(self._sections)
            self._touched.watch([each for each in (layer, result) if each is not None], self._labelled())
            self._take_classes()
            self._look_at_touched()
            self.followed.emit()
            self.changed.emit(list(self.counts))
        elif result is not None or self._touched.sections:
            self._look_at_touched()
        self._tell(problem(viewer, image))

    def _show_uncorrected(self, z: int, seen: SeenSection) -> None:
        """Show what the model says, for the corrections that were seen are gone."""
        result = self._result
        if result is None or seen.predicted is None or seen.shown is None or seen.shown is seen.predicted:
            return
        shown = _plane(result.data, z)
        if seen.written == self._digests.get(z) and np.array_equal(shown, seen.shown):
            shown[:] = seen.shown = seen.predicted
            self._note(z, seen, result)

    def _tell(self, sentence: str) -> None:
        """Say once that the layer cannot hold the corrections."""
        if sentence != self._problem:
            self._problem = sentence
            if sentence:
                show_warning(sentence)
            self.changed.emit([])

    def _still_fits(self) -> bool:
        """Whether the layers can still be written to: their data may have been replaced."""
        layer, result = self._layer, self._result
        fine = layer is None or (layer.data.dtype == np.uint8 and fits(layer, self._image))
        return fine and (result is None or fits(result, self._image))

    def _place(self, _: Any = None) -> None:
        """Let the corrections and the result follow the image when it is moved or scaled."""
        if self._image is None or not self._still_fits():
            return
        if self._layer is not None:
            adopt(self._layer, self._image)
        if self._result is not None:
            move(self._result, self._image)

    def _follow_place(self, image: Image | None) -> None:
        for each, verb in ((self._image, "disconnect"), (image, "connect")):
            events = each.events if each is not None else None
            for name in ("scale", "translate", "rotate", "shear", "affine", "units") if events else ():
                getattr(getattr(events, name), verb)(self._place)

    def _labelled(self) -> list[int]:
        if self._layer is None:
            return []
        data = self._layer.data
        return [z for z in range(len(data)) if data[z].any()] if data.ndim == 3 else [0]

    def _renumber(self) -> None:
        """Let what is painted mean what it meant when it was painted, whatever the model's classes are."""
        if self._layer is not None and self._still_fits() and self._classes.renumber(self._layer):
            self._touched.sections.update(range(section_count(self._layer)))
            self._touched.soon()

    def _take_classes(self) -> None:
        """Show the classes in their colours, and no value that is none."""
        self._classes.follow_model()
        self._touched.quiet, quiet = True, self._touched.quiet
        try:
            self._renumber()
        finally:
            self._touched.quiet = quiet
        values = [each.value for each in self.classes]
        if self._result is not None:
            values += [each["value"] for each in self._result.metadata[RESULT_KEY].get("classes", [])]
        known = _table(values)
        changed = np.flatnonzero(known != self._known).tolist()
        self._known = known
        for z, seen in self._sections.items():
            if any(value in seen.counts for value in changed):
                seen.forget_labels()
                self._touched.sections.add(z)
                self._touched.soon()
        self._recolour()

    def _recolour(self) -> None:
        if self._result is not None:
            add_classes(self._result, self.added)
        if self._layer is None:
            return
        wanted = corrections_colormap(self.classes)
        if set(wanted.color_dict) != set(getattr(self._layer.colormap, "color_dict", {})):
            self._layer.colormap = wanted
            self._layer.features = class_features(self.classes)


def _plane(data: np.ndarray, z: int) -> np.ndarray:
    return data[z] if data.ndim == 3 else data


def _table(values: Iterable[int]) -> np.ndarray:
    """Return what to show for each of the 256 values: itself, or 0 if it is no class."""
    table = np.zeros(256, np.uint8)
    for value in values:
        table[value] = value
    return table


def _last_region(result: Labels, z: int) -> Box:
    """Return what was last segmented of a section."""
    runs = reversed(result.metadata[RESULT_KEY]["runs"])
    (top, bottom), (left, right) = next(
        (run["region"] for run in runs if z in run["sections"]),
        ((0, result.data.shape[-2]), (0, result.data.shape[-1])),
    )
    return slice(top, bottom), slice(left, right)
