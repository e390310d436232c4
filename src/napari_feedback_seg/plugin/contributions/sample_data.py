"""Hands the samples to napari's File > Open Sample.

napari calls these functions on the GUI thread and wants layers back at once. What takes
longer is therefore filled in later: the layer comes empty, says so in its name, and gets
its pixels from a thread. A script, which has no event loop yet, waits for them instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.utils.notifications import show_error, show_info, show_warning

from napari_feedback_seg.datasets import sstem
from napari_feedback_seg.plugin.layers.image import UNFINISHED_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.layers import Layer
    from napari.types import LayerDataTuple
    from napari.utils.events import Event
    from napari.viewer import Viewer


@dataclass(frozen=True)
class SectionReady:
    """A section of a sample is there."""

    done: int  # sections that are there, and sections in all
    total: int


@dataclass(frozen=True)
class Sample:
    """A sample and how it is come by."""

    name: str  # of its layer
    image: np.ndarray  # zeros, until fill has been run
    # returns a generator that writes the sections into image, an event each
    fill: Callable[[], Generator[SectionReady, None, None]]
    scale: tuple[float, ...]  # of its pixels, in nm
    about: dict[str, Any]  # the layer's metadata
    doing: str  # what fill does, in a word; empty if that takes no time worth waiting for
    before: str = ""  # what the user is told before something is downloaded, and when the sample is there
    after: str = ""


def sstem_section() -> list[LayerDataTuple]:
    """Open a section (Y, X) of the public ssTEM set, downloading it the first time."""
    return _open(_sstem("ssTEM section, Drosophila VNC", (sstem.DEMO_SECTION,)))


def sstem_stack() -> list[LayerDataTuple]:
    """Open all sections (Z, Y, X) of the public ssTEM set, downloading them the first time."""
    return _open(_sstem("ssTEM stack, Drosophila VNC", range(sstem.SECTIONS)))


def builtin_em_section() -> list[LayerDataTuple]:
    """Make the built-in section (Y, X), which needs no network."""
    return _open(_builtin())


def _sstem(name: str, sections: Sequence[int]) -> Sample:
    stack = np.zeros((len(sections), *sstem.SECTION_SHAPE), np.uint8)
    single = len(sections) == 1

    def fill() -> Generator[SectionReady, None, None]:
        for index, number in enumerate(sections):
            folder = sstem.fetch_sstem([number], labels=False)
            stack[index] = sstem.read_sstem_image(folder, number)
            yield SectionReady(index + 1, len(sections))

    return Sample(
        name,
        stack[0] if single else stack,
        fill,
        (sstem.THICKNESS_NM, sstem.PIXEL_SIZE_NM, sstem.PIXEL_SIZE_NM)[int(single) :],
        {"licence": sstem.LICENCE, "citation": sstem.CITATION, "sections": list(sections)},
        "" if sstem.is_sstem_cached(sections, labels=False) else "downloading",
        f"{name}: about {len(sections)} MB are downloaded, once. "
        "The activity dock, at the bottom on the right, shows how far it is and can cancel it.",
        f"{name}: {sstem.LICENCE}. {sstem.CITATION}",
    )


def _builtin() -> Sample:
    from napari_feedback_seg.datasets.builtin import PIXEL_SIZE_NM, builtin_section

    image = np.zeros((1024, 1024), np.uint8)

    def fill() -> Generator[SectionReady, None, None]:
        image[:] = builtin_section(image.shape).image
        yield SectionReady(1, 1)

    scale = (PIXEL_SIZE_NM, PIXEL_SIZE_NM)
    return Sample("Built-in EM-like section", image, fill, scale, {"licence": "BSD-3-Clause"}, "preparing")


def _open(sample: Sample) -> list[LayerDataTuple]:
    """Return the layer of a sample, with its pixels if nobody has to wait for them."""
    viewer = napari.current_viewer()
    name, about = sample.name, sample.about
    if sample.doing and viewer is not None and _in_event_loop():
        name = f"{name} ({sample.doing})"
        about = {**about, UNFINISHED_KEY: sample.doing}
        _say(sample.before)
        _Filling(viewer, sample).start()
    else:
        for _ in sample.fill():
            pass
        _say(sample.after)
    ndim = sample.image.ndim
    attributes = {
        "name": name,
        "scale": sample.scale,
        "units": ("nanometer",) * ndim,
        "axis_labels": ("z", "y", "x")[-ndim:],
        "contrast_limits": (0, 255),
        "metadata": about,
    }
    return [(sample.image, attributes, "image")]


class _Filling:
    """Gives the layer of a sample its pixels from a thread, section by section.

    The layer goes again if they cannot be had; they are not waited for once it is gone.
    """

    def __init__(self, viewer: Viewer, sample: Sample) -> None:
        from napari_feedback_seg.plugin.session.jobs import Jobs
        from napari_feedback_seg.plugin.worker import QtRunner

        self._viewer = viewer
        self._sample = sample
        self._jobs = Jobs(QtRunner(), bar=True)

    def start(self) -> None:
        """Begin; the job keeps this object until it is over."""
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._jobs.ended.connect(self._let_go)
        self._jobs.said.connect(_notify)
        self._jobs.run(
            self._sample.fill,
            title=f"{self._sample.doing.capitalize()} {self._sample.name}",
            on_event=self._show,
            on_done=self._finish,
            on_failed=self._remove,
            on_stopped=self._remove,
        )

    @property
    def _layer(self) -> Layer | None:
        image = self._sample.image
        return next((layer for layer in self._viewer.layers if layer.data is image), None)

    def _show(self, event: SectionReady) -> None:
        if self._layer is not None:
            self._layer.refresh()

    def _finish(self, result: None) -> None:
        layer = self._layer
        if layer is not None:
            del layer.metadata[UNFINISHED_KEY]
            layer.name = self._sample.name
            layer.data = self._sample.image  # tells those who watch the layer
            _say(self._sample.after)

    def _remove(self, error: Exception | None = None) -> None:
        if self._layer is not None:
            self._viewer.layers.remove(self._layer)

    def _on_removed(self, event: Event) -> None:
        if event.value.data is self._sample.image:
            self._jobs.cancel()

    def _let_go(self) -> None:
        self._viewer.layers.events.removed.disconnect(self._on_removed)


def _notify(text: str, level: str) -> None:
    {"info": show_info, "warning": show_warning, "error": show_error}[level](text)


def _say(message: str) -> None:
    if message:
        show_info(message)


def _in_event_loop() -> bool:
    from qtpy.QtCore import QThread

    thread = QThread.currentThread()
    return thread is not None and thread.loopLevel() > 0
