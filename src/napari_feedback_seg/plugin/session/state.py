"""What the tabs of the dock share: the image, the model, the device, and the one job."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.library import DEFAULT_MODEL, ModelEntry, list_models
from napari_feedback_seg.plugin.contributions.settings import (
    Settings,
    apply_settings,
    unwatch_settings,
    watch_settings,
)
from napari_feedback_seg.plugin.layers.corrections import CORRECTIONS_KEY
from napari_feedback_seg.plugin.layers.image import (
    RESULT_KEY,
    UNFINISHED_KEY,
    is_em_image,
    made_from,
    result_of,
)
from napari_feedback_seg.plugin.session.jobs import Jobs

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_feedback_seg.models.model import Model, ModelCard


class DockState(QObject):
    """The state of the dock.

    Signals
    -------
    image_changed, model_changed, result_changed
        Another image or model is chosen; the result of the image is there, gone or new.
    image_replaced
        The image has other pixels than before.
    layers_changed
        The list of layers, or a name in it, has changed.
    segmenting
        The image is about to be segmented.
    writing : int
        A section of the result is about to be written.
    reading
        The result is about to be measured or exported.
    settings_changed
        A person has changed something in Preferences.
    """

    image_changed = Signal()
    model_changed = Signal()
    result_changed = Signal()
    image_replaced = Signal()
    layers_changed = Signal()
    segmenting = Signal()
    writing = Signal(int)
    reading = Signal()
    settings_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.jobs = Jobs(self)
        self.settings = Settings()
        self.device = "auto"
        self.models: list[ModelEntry] = []
        self._image: Image | None = None
        self._active: Layer | None = None
        self._painted: set[Labels] = set()
        self._model_name = DEFAULT_MODEL
        self._loaded: tuple[Any, Model] | None = None
        self._connections: tuple[tuple[Any, Any], ...] = (
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
            (viewer.layers.events.reordered, self._on_layers),
            (viewer.layers.events.renamed, self._on_layers),
            (viewer.layers.selection.events.active, self._on_active),
        )
        for emitter, callback in self._connections:
            emitter.connect(callback)
        watch_settings(self._on_settings)
        self._on_settings()
        for message in self.settings.messages:
            show_warning(message)
        self._on_layers()
        self._on_active()

    # --- the image

    @property
    def image(self) -> Image | None:
        """The image to work on."""
        return self._image

    @image.setter
    def image(self, layer: Image | None) -> None:
        if layer != self._image:
            self._watch(layer)
            self.image_changed.emit()
            self.result_changed.emit()

    def _watch(self, layer: Image | None) -> None:
        before, self._image = self._image, layer
        for each in (before, layer):
            if each is not None:
                verb = "connect" if each == layer else "disconnect"
                for emitter in (each.events.scale, each.events.units, each.events.affine):
                    getattr(emitter, verb)(self._on_place)
                getattr(each.events.data, verb)(self._on_data)

    def _on_data(self, _: Any = None) -> None:
        self.image_replaced.emit()
        self.image_changed.emit()
        self.result_changed.emit()

    def _on_place(self, _: Any = None) -> None:
        self.image_changed.emit()

    @property
    def images(self) -> list[Image]:
        """The images to choose from, the topmost first."""
        return [layer for layer in reversed(self.viewer.layers) if is_em_image(layer)]

    def result_of(self, image: Any) -> Labels | None:
        """Return the newest Labels layer that was made from an image."""
        return result_of(self.viewer, image)

    @property
    def result(self) -> Labels | None:
        """The result that belongs to the image."""
        return self.result_of(self._image)

    def _on_layers(self, event: Any = None) -> None:
        images = self.images
        if event is not None and event.type == "removed" and event.value == self._image:
            self.image = images[0] if images else None
        elif self._image is None and images:
            self.image = images[0]
        active = self.viewer.layers.selection.active
        if active is not None and active != self._active and is_em_image(active):  # it is complete now
            self._active = self.image = active
        self._listen({layer for layer in self.viewer.layers if isinstance(layer, Labels)})
        self.layers_changed.emit()
        self.result_changed.emit()

    def _on_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if active is None or active == self._active:  # again, after a layer that was added for a moment
            pass
        elif is_em_image(active):
            self._active = self.image = active
        else:
            QTimer.singleShot(0, self._follow_active)
        self.result_changed.emit()

    def _follow_active(self) -> None:
        active = self.viewer.layers.selection.active
        if active is None or active == self._active or active not in self.viewer.layers:
            return
        if UNFINISHED_KEY not in active.metadata:
            self._active = active
            self._turn_to(active)

    def _listen(self, layers: set[Labels]) -> None:
        """Hear of what is painted, on whatever layer."""
        for layer in layers - self._painted:
            layer.events.paint.connect(self._on_paint)
        for layer in self._painted - layers:
            layer.events.paint.disconnect(self._on_paint)
        self._painted = layers

    def _on_paint(self, event: Any) -> None:
        QTimer.singleShot(0, partial(self._turn_to, event.source))  # napari tells before it paints

    def _turn_to(self, layer: Layer) -> None:
        """Turn to the image that a layer is the result of, or the corrections."""
        if not self._connections or layer not in self.viewer.layers:
            return
        for key in (RESULT_KEY, CORRECTIONS_KEY):
            about: Any = layer.metadata.get(key)
            for image in self.images if isinstance(about, dict) else ():
                if made_from(about, image):
                    self.image = image
                    return

    # --- the settings in Preferences

    def _on_settings(self, _: Any = None) -> None:
        before, self.settings = self.settings, apply_settings()
        if self.settings.device != before.device:  # else what was chosen in the panel stays
            self.device = self.settings.device
        self.refresh_models()
        self.settings_changed.emit()

    # --- the model

    @property
    def model_name(self) -> str:
        """Name of the model in the library."""
        return self._model_name

    @model_name.setter
    def model_name(self, name: str) -> None:
        if name != self._model_name:
            self._model_name = name
            self.model_changed.emit()

    @property
    def entry(self) -> ModelEntry | None:
        """The model's file and card; None if it is in the library no more."""
        return next((entry for entry in self.models if entry.name == self._model_name), None)

    @property
    def card(self) -> ModelCard | None:
        """The model's card; None if the file cannot be used."""
        return self.entry.card if self.entry else None

    def refresh_models(self) -> None:
        """Read the library again."""
        self.models = list_models()
        if self.entry is None and self.models:
            self._model_name = self.models[0].name
        self.model_changed.emit()

    def load_model(self, entry: ModelEntry | None) -> Model:
        """Return a model, which is kept until another is asked for. Call it within a job.

        Parameters
        ----------
        entry : ModelEntry or None
            :attr:`entry` as it was when the job was asked for.

        Raises
        ------
        ModelError
            If its file is gone or cannot be used.
        """
        from napari_feedback_seg.models.model_file import load_model_file

        if entry is None:
            raise ModelError("There is no such model in the library any more. Choose another.")
        try:
            stat = entry.path.stat()
            key: Any = (entry.path, stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            self._loaded = None
            raise ModelError(
                f"The file of the model '{entry.name}' is gone: '{entry.path}'. Choose another model."
            ) from error
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            self._loaded = (key, load_model_file(entry.path))
        return self._loaded[1]

    # --- the end

    def cleanup(self) -> None:
        """Let go of the viewer, the model and the job; may be called again."""
        connections, self._connections = self._connections, ()
        for emitter, callback in connections:
            emitter.disconnect(callback)
        unwatch_settings(self._on_settings)
        self.jobs.cleanup()
        self._watch(None)
        self._listen(set())
        self._loaded = None
