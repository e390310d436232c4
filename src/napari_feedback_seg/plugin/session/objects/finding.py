"""Single mitochondria, synapses and cells of the image: found, measured, put right. No Qt, no napari."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import FeedbackSegError, in_words
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions
from napari_feedback_seg.plugin.session.objects.editing import ObjectEditing
from napari_feedback_seg.plugin.session.objects.files import ObjectFiles, writers
from napari_feedback_seg.plugin.session.objects.work import (
    CELLS,
    Order,
    find,
    in_words_of,
    make_order,
    measured_again,
    meshes_of,
    note_what_cells_hold,
    preview,
    with_meshes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels, Layer

    from napari_feedback_seg.objects.meshes import Mesh
    from napari_feedback_seg.objects.table import Table
    from napari_feedback_seg.plugin.session.jobs import State
    from napari_feedback_seg.plugin.session.objects.work import Found
    from napari_feedback_seg.plugin.session.session import Session

_NOT_OBJECTS = ("membrane", "cytoplasm")


class Objects:
    """The one controller of objects.

    Attributes
    ----------
    options, cell_options : ObjectOptions, CellOptions
        How objects and cells are made.
    colour_by : str
        Column that the objects are coloured by; empty: by number.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers = session.layers.objects
        self._found: dict[tuple[Any, str], Found] = {}
        self._order: Order | None = None
        self._what = ""
        self.options, self.cell_options = ObjectOptions(), CellOptions()
        self.colour_by = ""
        self._status: tuple[Any, str] = (None, "")  # what was said last, and of which image and class
        self.files = ObjectFiles(session, lambda: self.found)  # writes the table, the meshes and the edits
        self.editing = ObjectEditing(self, self._layers)
        self._layers.selected.connect(self._on_selected)

    # --- what there is

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._session.jobs.state_of(self)

    @property
    def choices(self) -> list[str]:
        """What can be found in the result of the image."""
        result = self._session.result
        classes = self._session.layers.classes_of(result) if result is not None else ()
        names = [each.name for each in classes if each.name not in _NOT_OBJECTS]
        return [*names, CELLS] if classes else []

    @property
    def status(self) -> str:
        """How it is going with what is chosen, in a sentence, or what to do."""
        of, said = self._status
        if said and of == self._key:
            return said
        return in_words_of(self.found) if self.found is not None else self._what_to_do

    @status.setter
    def status(self, sentence: str) -> None:
        self._status = (self._key, sentence)

    @property
    def _key(self) -> tuple[Any, str]:
        """What is chosen: the image and the class."""
        image = self._session.image
        return (None if image is None else image.unique_id, self.what)

    @property
    def _what_to_do(self) -> str:
        image, what, layers = self._session.image, self.what, self._session.layers
        on_disk = None if self.choices else layers.volume_at_hand()
        if on_disk is not None:
            store = layers.store_of(on_disk)
            return f"A command numbers objects of labels on the disk: feedback-seg objects {store} -o {store}"
        if image is None:
            return "Open an image and segment it: its objects are found in the result."
        result = self._session.result
        if result is None:
            kept = " and ".join(self.files.kept_of(image))
            again = f" Edits of its {kept} are kept, and are done again when you find these." if kept else ""
            return f"Segment the image first: its objects are found in the result.{again}"
        count = len(self.files.kept(image, what, result.data.shape))
        edits = "1 edit" if count == 1 else f"{count} edits"
        is_kept = "is kept, and is" if count == 1 else "are kept, and are"
        return f"{edits} of these {what} {is_kept} done again when you find them." if count else ""

    @property
    def what(self) -> str:
        """Which of them is chosen."""
        choices = self.choices
        return self._what if self._what in choices else choices[0] if choices else ""

    def choose(self, what: str) -> None:
        """Choose what to find. If it was found, its layer becomes active: a click and Ctrl+Z mean it."""
        self.editing.set_tool("")
        self._what, self.status = what, ""
        if self.found is not None:
            self._layers.activate(self.found.layer)
        self.tell()

    def set_options(self, options: ObjectOptions | CellOptions) -> None:
        """Set how they are made."""
        if isinstance(options, CellOptions):
            self.cell_options = options
        else:
            self.options = options
        self.tell()

    @property
    def found(self) -> Found | None:
        """The objects of the image that are chosen, if they were found."""
        image = self._session.image
        return None if image is None else self._found.get(self._key)

    @property
    def table(self) -> Table | None:
        """Their measures."""
        return self.found.table if self.found is not None else None

    def to_export(self, result: Labels) -> dict[str, Any]:
        """Return how the objects of a result were found, in that order, and what writes them to files."""
        found = [each for each in self._found.values() if each.order.result == result]
        return {
            "objects": [each.order.to_json(each.near) for each in found],
            "save_objects": {end: save for each in found for end, save in writers(each).items()},
        }

    # --- find and measure

    def find(self) -> bool:
        """Find the objects and measure them; return whether that has begun."""
        order = self._make_order()
        if order is None:
            return False
        self.editing.set_tool("")
        self._order = order
        self.status = f"{order.title}..."
        begun = self._session.jobs.run(
            partial(find, order),
            title=order.title,
            owner=self,
            on_done=self._show,
            on_failed=self._failed,
            on_stopped=partial(self._end, "Cancelled."),
        )
        if not begun:
            self._end("")
        self.tell()
        return begun

    def preview(self) -> bool:
        """Show what would be found in the section that is displayed; return whether that has begun."""
        order = self._make_order()
        if order is None:
            return False
        z = self._session.layers.displayed_section(order.image)
        return self._session.jobs.run(
            partial(preview, order, z),
            title=f"Preview of {order.what}",
            owner=self,
            on_done=partial(self._show_preview, order, z),
            on_failed=self._failed,
        )

    def _make_order(self) -> Order | None:
        try:
            options = self.cell_options if self.what == CELLS else self.options
            return make_order(self._session, self.what, options)
        except FeedbackSegError as error:
            self.say(str(error))
            return None

    def _show_preview(self, order: Order, z: int, labels: np.ndarray) -> None:
        if order.result in self._session.layers:
            self._layers.show_preview(order.result, z, labels)
            count = len(np.unique(labels)) - bool((labels == 0).any())
            self._end(
                f"Preview of section {z}: {count} {order.what}. Find objects to have them in all sections.",
                order,
            )

    def _show(self, found: Found) -> None:
        from napari_feedback_seg.objects.editor import ObjectEditor

        order = found.order
        self._order = None
        if order.image not in self._session.images:
            return
        found.editor = ObjectEditor(found.labels, order.voxel, found.count)
        before = self._found.get(order.key)
        edits = (
            before.editor.edits
            if before is not None
            else self.files.kept(order.image, order.what, found.labels.shape)
        )
        problems = found.editor.do_again(edits)
        if edits:
            found.table = measured_again(found)
        found.layer = self._layers.show(order.image, order.result, found.labels, order.what)
        self._layers.end_preview()
        self._found[order.key] = found
        self._note_what_cells_hold(found)
        status = in_words_of(found)
        if edits:
            status += f" {len(edits) - len(problems)} edits of before were done again: Undo takes them back."
        if problems:
            status += f" {len(problems)} edits no longer fit."
        if not order.known:
            status += " The pixel size, or the distance of the sections, is unknown: all is in pixels."
        self._status = (order.key, status)
        self._draw(found)

    def _note_what_cells_hold(self, found: Found) -> None:
        """Give the table of cells how many objects of each class lie in each, and which part they fill."""
        image = found.order.image
        cells = self._found.get((image.unique_id, CELLS))
        if cells is not None:
            of_image = {what: each for (key, what), each in self._found.items() if key == image.unique_id}
            note_what_cells_hold(cells, of_image)
            self._layers.set_features(cells.layer, cells.table, "")

    def _failed(self, error: Exception) -> None:
        self._end(in_words(error))

    def _end(self, status: str, order: Order | None = None) -> None:
        order = order or self._order
        self._status = (self._key if order is None else order.key, status)
        self._order = None
        self.tell()

    def _draw(self, found: Found) -> None:
        self._layers.set_features(found.layer, found.table, self.colour_by)
        self.tell()

    # --- select

    def select(self, number: int, *, jump: bool = True) -> None:
        """Choose an object, and show it in the middle of the view."""
        found = self.found
        if found is None:
            return
        found.selected = number
        self._layers.select(found.layer, number)
        rows = np.flatnonzero(found.table["object"] == number)
        if jump and len(rows):
            row = int(rows[0])
            place = [round(float(found.table[f"centroid_{axis}"][row])) for axis in "yx"]
            z = round(float(found.table["centroid_z"][row])) if "centroid_z" in found.table.columns else 0
            self._session.layers.corrections.go_to(found.layer, z, *place)
        self.tell()

    def _on_selected(self, layer: Labels, number: int) -> None:
        found = self.found
        if found is not None and layer == found.layer and number != found.selected:
            found.selected = number
            self.tell()

    def colour(self, column: str) -> None:
        """Colour the objects by a measure, or by number if empty."""
        self.colour_by = column
        if self.found is not None:
            self._draw(self.found)

    def show_change(self, found: Found, numbers: Sequence[int] | None, status: str = "") -> None:
        """Show what edits changed: objects with these numbers, or any of them."""
        for number in list(found.meshes) if numbers is None else numbers:
            found.meshes.pop(number, None)
        self._layers.refresh(found.layer)
        found.table = measured_again(found) if numbers is None else measured_again(found, numbers)
        self._note_what_cells_hold(found)
        self.status = status or in_words_of(found)
        self.files.keep(found)
        self._draw(found)

    # --- meshes

    def make_meshes(self, numbers: Sequence[int]) -> bool:
        """Show the meshes of objects, in 3D; return whether that has begun."""
        found = self.found
        if found is None or not numbers:
            self.say("Choose objects in the table first.")
            return False
        self.editing.set_tool("")
        return self._session.jobs.run(
            partial(meshes_of, found.labels, numbers, found.order.voxel),
            title=f"Meshes of {found.order.what}",
            owner=self,
            on_done=partial(self._show_meshes, found),
            on_failed=self._failed,
        )

    def _show_meshes(self, found: Found, meshes: list[Mesh]) -> None:
        if found.layer not in self._session.layers:
            return
        found.meshes = {mesh.number: mesh for mesh in meshes}
        order = found.order
        self._layers.show_meshes(order.image, found.layer, meshes, order.voxel, order.what)
        if order.known:
            found.table = with_meshes(found.table, meshes)
        self.status = f"{len(meshes)} meshes are shown."
        self._draw(found)

    # --- what happens meanwhile

    def layer_removed(self, layer: Layer) -> None:
        """Let go of a layer that was deleted, or of all objects of an image."""
        if self._order is not None and layer in (self._order.image, self._order.result):
            self._session.jobs.cancel(quietly=True)
            self.say("The image was closed while its objects were found: that was stopped.")
        for key, found in list(self._found.items()):
            if layer in (found.layer, found.order.image):
                if found is self.found:
                    self.editing.set_tool("")  # while it is known whose brush is put away
                del self._found[key]
                self.status = ""
        self.tell()

    def changed(self, part: str) -> None:
        """Take note that a part of the session has changed."""
        if part == "image":
            self.editing.set_tool("")

    def forget(self) -> None:
        """Put the tools away; may be called again."""
        self._order = None
        self.editing.forget()

    def say(self, sentence: str) -> None:
        """Say a sentence, in the tab and as a warning."""
        self.status = sentence
        self.warn(sentence)

    def warn(self, sentence: str) -> None:
        """Say a sentence as a warning."""
        self._session.said.emit(sentence, "warning")
        self.tell()

    def tell(self) -> None:
        """Have the tab drawn anew."""
        self._session.tell("objects")
