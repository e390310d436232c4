"""What is computed from labels goes as soon as they change. No Qt, no napari."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari.layers import Layer

    from napari_feedback_seg.plugin.session.session import Session


class Derived:
    """A value that is computed from layers off the GUI thread, and dropped when these change.

    napari tells when labels are painted or replaced; of an undo only that the layer is drawn anew, and of
    a script that writes into the array not at all. So after a drawing, and by :meth:`look`, the sections
    in memory are compared with their checksums.

    Attributes
    ----------
    outdated : bool
        Whether it was dropped because its layers changed.
    looking : bool
        Whether the pixels are about to be looked at.
    """

    part = ""
    """Part of the session that has changed when this has."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of: tuple[tuple[Layer, ...], Any] | None = None
        self._stale = False
        self._sums: list[list[int]] = []
        self._to_do: Iterator[bool] = iter(())
        self.value: Any = None  # what was computed, as long as it is true
        self.outdated = self.looking = False
        painting = session.layers.corrections.painting
        painting.painted.connect(self._on_painted)
        painting.redrawn.connect(self._look_soon)
        painting.replaced.connect(self._on_painted)
        session.layers.replaced.connect(self._on_painted)

    def key(self) -> tuple[tuple[Layer, ...], Any] | None:
        """Return the layers that it is computed from now, and what else tells it from another one."""
        raise NotImplementedError

    def changed(self, part: str) -> None:
        """Take note that a part of the session has changed."""
        if part == "corrected":
            self._touch()
        elif part in ("image", "layers", "model", "result"):
            self.check()

    def check(self) -> None:
        """Drop the value if it is of something else than there is now."""
        same = self._same_layers()
        if (self.value is not None and self.key() != self._of) or (self.outdated and not same):
            self.value, self.outdated = None, same
            self._session.tell(self.part)

    def look(self) -> None:
        """Look at the pixels now: a script may have written to them."""
        self._session.correcting.corrections.look()
        if not all(self._unchanged()):
            self._touch()

    def forget(self) -> None:
        """Let go of the layers; may be called again."""
        self._of, self.value, self.outdated, self._sums = None, None, False, []
        self._to_do, self.looking = iter(()), False

    def _compute(self, work: Callable[[], Generator[Any, None, Any]], title: str) -> bool:
        """Compute the value, a job; return whether that has begun."""
        key = self.key()
        arrays = [self._session.layers.pixels(layer) for layer in key[0]] if key else []

        def with_sums() -> Generator[Any, None, Any]:
            sums = [checksums(each) for each in arrays]
            return (yield from work()), sums

        if not self._session.jobs.run(with_sums, title=title, owner=self, on_done=self._finish):
            return False
        self.forget()
        self._of, self._stale = key, False
        self._session.tell(self.part)
        return True

    def _finish(self, found: tuple[Any, list[list[int]]]) -> None:
        value, self._sums = found
        if self._stale or self.key() != self._of:
            self.outdated = self._same_layers()
        else:
            self.value = value
            self._computed()
        self._session.tell(self.part)
        self._look_soon()

    def _computed(self) -> None:
        """Do what is to be done with a new value."""

    def _same_layers(self) -> bool:
        now = self.key()
        return now is not None and self._of is not None and now[0] == self._of[0]

    def _on_painted(self, layer: Layer, _: Any = None) -> None:
        if self._of is not None and layer in self._of[0]:
            self._touch()

    def _touch(self) -> None:
        self._stale = True
        if self.value is not None:
            self.value, self.outdated = None, True
            self._session.tell(self.part)

    def _look_soon(self, layer: Layer | None = None) -> None:
        """Look at one section in each turn of the event loop, so that the window stays responsive."""
        if self._of is None or not (layer is None or layer in self._of[0]):
            return
        self._to_do = self._unchanged()
        if not self.looking:
            self.looking = True
            self._session.runner.later(self._look_on)

    def _look_on(self) -> None:
        same = next(self._to_do, None)
        self.looking = bool(same)
        if same:
            self._session.runner.later(self._look_on)
        elif same is not None:
            self._touch()

    def _unchanged(self) -> Iterator[bool]:
        """Yield for one section after the other whether it is as it was read."""
        for layer, sums in zip(self._of[0] if self._of else (), self._sums, strict=False):
            planes = _planes(self._session.layers.pixels(layer)) if sums else []
            yield len(planes) == len(sums)
            for plane, before in zip(planes, sums, strict=True):
                yield _checksum(plane) == before


def checksums(data: Any) -> list[int]:
    """Return a number for each section of an array (Y, X) or (..., Y, X); none if it is not in memory."""
    return [_checksum(plane) for plane in _planes(data)] if isinstance(data, np.ndarray) else []


def _planes(data: Any) -> Any:
    return data if data.ndim > 2 else [data]


def _checksum(plane: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(plane).view(np.uint8).data)
