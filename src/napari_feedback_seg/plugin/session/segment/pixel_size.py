"""The pixel size of the image, beside that which the model has learnt from."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import pixel_size, replacing
from napari_feedback_seg.models.library import models_folder
from napari_feedback_seg.segmentation.prediction import MAX_RATIO

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.io import PixelSize
    from napari_feedback_seg.plugin.session.session import Session

NOTABLE = 0.25
"""Pixels that differ by more than this fraction from the model's deserve a note."""

Size = tuple[float, float]
"""Height and width of a pixel in nm."""


class PixelSizes:
    """What is known of the size of pixels: from the layer, or else its file, or else as typed in.

    What is typed in is remembered for the file, also when napari is started again. Other files of its
    folder that say none take it over, until another one is typed in for them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of_files: dict[Any, PixelSize | None] = {}  # by identity of the image, what its file says
        self._typed: dict[Any, float] = {}  # by identity of the image
        self._remembered = _read()
        self.rescale = False  # whether the image is to be resampled for the model, and the result back

    def said_by(self, image: Image | None) -> Size | None:
        """Return what an image's layer says, or else its file."""
        if image is None:
            return None
        size = self._session.layers.pixel_size(image)
        found = self._of_file(image)
        return size or ((found.y, found.x) if found else None)

    def typed_for(self, image: Image | None) -> float:
        """Return what was typed in for an image, in nm; 0 if nothing was."""
        if image is None:
            return 0.0
        return self._typed.get(image.unique_id, self.typed_for_file(self._session.layers.path(image)))

    def typed_for_file(self, path: str) -> float:
        """Return what was typed in for a file, or last for another of its folder; 0 if nothing was."""
        if not path:
            return 0.0
        path = os.path.abspath(path)
        if path in self._remembered:
            return self._remembered[path]
        folder = os.path.dirname(path)
        last_first = reversed(self._remembered.items())
        return next((size for file, size in last_first if size and os.path.dirname(file) == folder), 0.0)

    @property
    def taken_over(self) -> bool:
        """Whether the size of the image is what was typed in for another image of its folder."""
        image = self._session.image
        if image is None or image.unique_id in self._typed or not self.typed:
            return False
        return os.path.abspath(self._session.layers.path(image)) not in self._remembered

    def of(self, image: Image | None) -> Size | None:
        """Return the height and width of a pixel of an image in nm; None if that is unknown."""
        typed = self.typed_for(image)
        return self.said_by(image) or ((typed, typed) if typed > 0 else None)

    def spacing_of(self, image: Image | None) -> float | None:
        """Return the distance of the sections in nm that an image's file says; None if it does not."""
        found = self._of_file(image) if image is not None else None
        return found.z if found else None

    @property
    def typed(self) -> float:
        """What was typed in for the image, in nm; 0 if nothing was."""
        return self.typed_for(self._session.image)

    @typed.setter
    def typed(self, value: float) -> None:
        image = self._session.image
        if image is None or value == self.typed:
            return
        self._typed[image.unique_id] = value
        path = self._session.layers.path(image)
        if path:
            path = os.path.abspath(path)
            self._remembered.pop(path, None)  # the last one comes last
            self._remembered[path] = value
            _write(self._remembered)
        self._session.tell("image", "batch")

    @property
    def size(self) -> Size | None:
        """Height and width of a pixel of the image in nm; None if that is unknown."""
        return self.of(self._session.image)

    @property
    def unknown(self) -> bool:
        """Whether somebody has to say it: neither the layer nor its file does."""
        return self._session.image is not None and self.said_by(self._session.image) is None

    @property
    def to_rescale_from(self) -> Size | None:
        """The pixel size, if the image is to be rescaled."""
        return self.size if self.rescale and self.can_rescale else None

    @property
    def factor(self) -> float:
        """By how much the image's pixels and the model's differ, at least 1; 1 if that is unknown."""
        size, card = self.size, self._session.card
        if not size or not card:
            return 1.0
        return max(max(side / card.pixel_size_nm, card.pixel_size_nm / side) for side in size)

    @property
    def notable(self) -> bool:
        """Whether they differ by enough to tell."""
        return self.factor > 1 + NOTABLE

    @property
    def can_rescale(self) -> bool:
        """Whether they differ by enough to rescale, and not by too much."""
        return self.notable and self.factor <= MAX_RATIO

    def set_rescale(self, on: bool) -> None:
        """Have the image resampled for the model, or not."""
        if on != self.rescale:
            self.rescale = on
            self._session.tell("image")

    def _of_file(self, image: Image) -> PixelSize | None:
        key = image.unique_id
        if key not in self._of_files:
            path = self._session.layers.path(image)
            self._of_files[key] = pixel_size(path) if path and os.path.isfile(path) else None
        return self._of_files[key]


def _file() -> Path:
    return models_folder() / "pixel-sizes.json"


def _read() -> dict[str, float]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        return {str(path): float(size) for path, size in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(sizes: dict[str, float]) -> None:
    with suppress(OutputError, OSError):  # then it is remembered until napari is closed
        _file().parent.mkdir(parents=True, exist_ok=True)
        with replacing(_file(), overwrite=True) as temporary:
            temporary.write_text(json.dumps(sizes, indent=2), encoding="utf-8")
