"""What was seen of each image, kept as long as that is in the viewer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_feedback_seg.plugin.session.corrections_section import SeenSection


@dataclass
class _Seen:
    """What was seen of an image: sections, and the identity of the two layers that they were seen in."""

    sections: dict[int, SeenSection] = field(default_factory=dict)
    layer: Any = None
    result: Any = None


_SEEN: WeakKeyDictionary[Viewer, dict[Any, _Seen]] = WeakKeyDictionary()  # by identity of the image


class Memory:
    """Gives what was seen of an image back when the dock comes back to it, or is opened again."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._seen = _SEEN.setdefault(viewer, {})

    def recall(
        self,
        image: Image | None,
        layer: Labels | None,
        result: Labels | None,
        uncorrect: Callable[[int, SeenSection], None],
    ) -> dict[int, SeenSection]:
        """Return the sections of an image as they were last seen, as far as it was in these layers.

        Parameters
        ----------
        image : Image or None
            The image.
        layer, result : Labels or None
            Its corrections and its result.
        uncorrect : callable
            Takes corrections of a section back from the result: they were in a layer that is gone.
        """
        present = {each.unique_id for each in self._viewer.layers}
        for gone in self._seen.keys() - present:
            del self._seen[gone]
        if image is None:
            return {}
        seen = self._seen.setdefault(image.unique_id, _Seen())
        in_layer, in_result = (None if each is None else each.unique_id for each in (layer, result))
        for z, section in seen.sections.items():
            if in_result != seen.result:
                section.forget_result()
            elif in_layer != seen.layer and (layer is not None or seen.layer not in present):
                uncorrect(z, section)
            if in_layer != seen.layer:
                section.forget_labels()
        seen.layer, seen.result = in_layer, in_result
        return seen.sections
