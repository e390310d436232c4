"""What is written of objects: the table, the meshes, and the edits, which are kept by themselves, too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.drafts import first_draft
from napari_feedback_seg.plugin.session.objects.work import deep
from napari_feedback_seg.segmentation.export import EDITS_SUFFIX, file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.objects.edits import Edit
    from napari_feedback_seg.plugin.session.objects.work import Found
    from napari_feedback_seg.plugin.session.session import Session


class ObjectFiles:
    """Writes what belongs to the objects that are chosen.

    Parameters
    ----------
    session : Session
        The session.
    found : callable
        Returns the objects that are chosen, or None.
    """

    def __init__(self, session: Session, found: Callable[[], Found | None]) -> None:
        self._session, self._found = session, found
        self._told = False
        self._read: tuple[Any, list[Edit]] = (None, [])  # a file and when it was written, and its edits

    def path(self, image: Image, what: str, shape: Sequence[int]) -> Path:
        """Return where the edits of such objects of an image are kept."""
        source = self._session.layers.corrections.source(image)
        draft = first_draft(source, image.name, tuple(int(length) for length in shape))
        return draft.folder / f"objects-{what}.json"

    def keep(self, found: Found) -> None:
        """Write the edits where they are kept, whatever a person saves."""
        try:
            path = self.path(found.order.image, found.order.what, found.labels.shape)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._save(found, path, overwrite=True)
            self._told = False
        except (FeedbackSegError, OSError) as error:
            if not self._told:
                self._told = True
                self._session.said.emit(f"The edits could not be saved by themselves: {error}", "warning")

    def kept(self, image: Image, what: str, shape: Sequence[int]) -> list[Edit]:
        """Return the edits that are kept of such objects of an image, or those of its opened export."""
        kept = self._load(self.path(image, what, shape), shape)
        if kept:
            return kept
        layers = self._session.layers
        exported = layers.objects.edits_file(layers.result_of(image), what)
        return [] if exported is None else self._load(exported, shape)

    def _load(self, path: Path, shape: Sequence[int]) -> list[Edit]:
        from napari_feedback_seg.objects.editor import load_edits

        try:
            key = (path, path.stat().st_mtime_ns)
            if self._read[0] != key:
                self._read = key, load_edits(path, shape if len(shape) == 3 else (1, *shape))
        except (FeedbackSegError, OSError):
            return []
        return self._read[1]

    def kept_of(self, image: Image) -> list[str]:
        """Return the classes of which edits are kept of an image."""
        try:
            shape = self._session.layers.sections(image).shape
        except FeedbackSegError:
            return []
        found = self.path(image, "*", shape)
        names = (each.stem.partition("-")[2] for each in sorted(found.parent.glob(found.name)))
        return [what for what in names if self.kept(image, what, shape)]

    def _save(self, found: Found, path: Path, *, overwrite: bool) -> None:
        from napari_feedback_seg.objects.editor import save_edits

        save_edits(path, found.editor.edits, deep(found.labels).shape, overwrite=overwrite)

    def save_edits(self, path: Path, *, overwrite: bool = False) -> None:
        """Save the edits as a file."""
        found = self._found()
        if found is not None:
            self._try(
                partial(self._save, found, path, overwrite=overwrite), f"The edits are saved as {path}."
            )

    def save_table(self, path: Path, *, overwrite: bool = False, decimal_comma: bool = False) -> None:
        """Save the table as CSV."""
        found = self._found()
        if found is not None:
            write = partial(found.table.write_csv, path, overwrite=overwrite, decimal_comma=decimal_comma)
            self._try(write, f"The table is saved as {path}.")

    def save_meshes(self, path: Path, *, overwrite: bool = False) -> None:
        """Save the meshes that are shown."""
        from napari_feedback_seg.objects.meshes import write_meshes

        found = self._found()
        if found is not None and found.meshes:
            meshes = list(found.meshes.values())
            colours = self._session.layers.objects.colours(found.layer, list(found.meshes))
            write = partial(write_meshes, path, meshes, colours, overwrite=overwrite)
            self._try(write, f"{len(meshes)} meshes are saved as {path}.")

    def _try(self, write: Any, done: str) -> None:
        try:
            write()
        except FeedbackSegError as error:
            self._session.said.emit(str(error), "error")
        else:
            self._session.said.emit(done, "info")


def writers(found: Found) -> dict[str, Callable[[Path], object]]:
    """Return what writes objects as they are now to the files of an export, by the ends of their names."""
    from napari_feedback_seg.io import number_writer
    from napari_feedback_seg.objects.editor import save_edits

    labels, edits, order = found.labels.copy(), list(found.editor.edits), found.order
    voxel = order.measured_in

    def save(path: Path) -> None:
        with number_writer(
            path,
            labels.shape,
            int(labels.max(initial=0)),
            pixel_size_nm=voxel and voxel[1:],
            spacing_nm=voxel[0] if voxel and labels.ndim == 3 else None,
        ) as write:
            for section in deep(labels):
                write(section)

    name = file_name(order.what)
    made: dict[str, Callable[[Path], object]] = {f"{name}.tif": save, f"{name}.csv": found.table.write_csv}
    if edits:
        made[f"{name}{EDITS_SUFFIX}"] = lambda path: save_edits(path, edits, deep(labels).shape)
    return made
