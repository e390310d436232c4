"""All that the tabs of the dock share. No Qt, no napari: layers and threads are handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.library import DEFAULT_MODEL, ModelEntry, list_models
from napari_feedback_seg.plugin.session.attention.maps import Attention
from napari_feedback_seg.plugin.session.correct.correcting import Correcting
from napari_feedback_seg.plugin.session.correct.instant.answering import Instant
from napari_feedback_seg.plugin.session.correct.permanent import Permanent
from napari_feedback_seg.plugin.session.jobs import Jobs
from napari_feedback_seg.plugin.session.objects.finding import Objects
from napari_feedback_seg.plugin.session.segment.batch import Batch
from napari_feedback_seg.plugin.session.segment.beside import Beside, Scales
from napari_feedback_seg.plugin.session.segment.comparing import Comparing
from napari_feedback_seg.plugin.session.segment.last_run import LastRun
from napari_feedback_seg.plugin.session.segment.measuring import Measuring
from napari_feedback_seg.plugin.session.segment.pixel_size import PixelSizes
from napari_feedback_seg.plugin.session.segment.segmenting import Segmenting
from napari_feedback_seg.plugin.session.segment.volume import VolumeOnDisk
from napari_feedback_seg.plugin.session.settings import Settings

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
    from napari_feedback_seg.plugin.session.jobs import Runner


class Session:
    """The state of the dock of one viewer.

    It lives as long as the viewer does, so that a dock that was closed and is opened again finds
    everything as it was.

    Parameters
    ----------
    layers : ViewerLayers
        The layers of the viewer.
    runner : Runner
        Runs long work.
    settings : Settings, optional
        What is set in Preferences.

    Events
    ------
    changed : str
        Part of the state that has changed: ``image`` (another one is chosen, or it has another place or
        scale), ``pixels`` (the image has other pixels), ``layers`` (the list, or a name in it), ``model``,
        ``result``, ``settings``, ``job`` (its state or its progress), ``segmenting``
        (what and how to segment), ``correcting`` (what is painted, offered, learnt), ``beside``
        (what is shown side by side), ``instant`` (answers to strokes), ``corrected`` (there are other
        corrections), ``measuring``, ``comparing``, ``attention``, ``objects``, ``batch``, ``status``,
        ``tool`` (another one is in hand).
    said : str, str
        What a person should read, and its level: info, warning or error.
    """

    changed = Signal(str)
    said = Signal(str, str)

    def __init__(self, layers: ViewerLayers, runner: Runner, settings: Settings | None = None) -> None:
        self.layers = layers
        self.runner = runner
        self.settings = settings or Settings()
        self.device = self.settings.device
        self.status = ""
        self.models: list[ModelEntry] = []
        self.unsaved: dict[str, ModelEntry] = {}
        self._image: Image | None = None
        self._active: Layer | None = None
        self._model_name = DEFAULT_MODEL
        self._loaded: tuple[Any, Model] | None = None
        self.jobs = Jobs(runner)
        self.pixel_sizes = PixelSizes(self)
        self.beside = Beside(self)
        self.volume = VolumeOnDisk(self)
        self.segmenting = Segmenting(self)
        self.correcting = Correcting(self)
        self.last_run = LastRun(self)
        self.scales = Scales(self)
        self.batch = Batch(self)
        self.attention = Attention(self)
        self.measuring = Measuring(self)
        self.comparing = Comparing(self)
        self.objects = Objects(self)
        self.instant = Instant(self)
        self.permanent = Permanent(self)
        self._listen()
        layers.changed.connect(self._on_layers)
        layers.removed.connect(self._on_removed)
        layers.activated.connect(self._on_active)
        layers.tool_changed.connect(self._on_tool)
        layers.moved.connect(self._on_moved)
        layers.replaced.connect(self._on_replaced)
        self.refresh_models()
        self._on_layers()
        self._on_active()

    def tell(self, *parts: str) -> None:
        """Tell that parts of the state have changed."""
        for part in parts:
            for controller in (self.correcting, self.measuring, self.comparing, self.objects, self.instant):
                controller.changed(part)
            self.changed.emit(part)

    def note(self, status: str, image: Image | None = None) -> None:
        """Let the dock show how something ended, until something else is done or another image is chosen.

        The name of the image that it is about is said if another one is chosen by now.
        """
        self.status = status
        if image is not None and image != self._image:
            self.status = f"{image.name}: {status}"
        self.tell("status")

    def _listen(self) -> None:
        for signal in (self.jobs.started, self.jobs.progressed, self.jobs.ended):
            signal.connect(self._on_job)
        self.jobs.ended.connect(self.attention.go_on)
        self.jobs.started.connect(self.instant.give_way)
        self.jobs.ended.connect(self.instant.look)
        self.jobs.said.connect(self._on_said)

    def _on_job(self) -> None:
        self.tell("job")

    def _on_said(self, text: str, level: str) -> None:
        self.said.emit(text, level)

    # --- the image

    @property
    def image(self) -> Image | None:
        """The image to work on."""
        return self._image

    @image.setter
    def image(self, layer: Image | None) -> None:
        if layer != self._image:
            self._image = layer
            self.tell("image", "result")
            self.note("")  # what was said was about the image before

    @property
    def images(self) -> list[Image]:
        """The images to choose from, the topmost first."""
        return self.layers.images

    def result_of(self, image: Any) -> Labels | None:
        """Return the newest Labels layer that was made from an image."""
        return self.layers.result_of(image)

    @property
    def result(self) -> Labels | None:
        """The result that belongs to the image."""
        return self.result_of(self._image)

    @property
    def segmented(self) -> frozenset[int]:
        """The sections of which something is segmented."""
        record = self.layers.record_of(self.result)
        return record.sections if record is not None else frozenset()

    @property
    def result_at_hand(self) -> Labels | None:
        """The result that is the active layer, or that of the image, or without an image the newest."""
        return self.layers.result_at_hand(self._image)

    def _on_replaced(self, image: Image) -> None:
        for controller in (self.segmenting, self.attention, self.instant):
            controller.image_replaced(image)
        if image == self._image:
            self.tell("pixels", "image", "result")

    def _on_moved(self, image: Image) -> None:
        result = self.result_of(image)
        if result is not None:
            self.layers.place(result, image)
        if image == self._image:
            self.tell("image")

    def _on_removed(self, layer: Layer) -> None:
        for controller in (self.segmenting, self.beside, self.attention, self.objects, self.instant):
            controller.layer_removed(layer)
        if layer == self._image:
            self.image = next(iter(self.images), None)

    def _on_layers(self) -> None:
        if self._image is None:
            self.image = next(iter(self.images), None)
        active = self.layers.active
        if active is not None and active != self._active and self.layers.is_image(active):
            self._active = self.image = active  # it is complete now
        self.tell("layers", "result")

    def _on_tool(self) -> None:
        self.tell("tool")

    def _on_active(self) -> None:
        active = self.layers.active
        if active is not None and active != self._active:  # else again, after one that was added for a moment
            if self.layers.is_image(active):
                self._active = self.image = active
            else:
                self.runner.later(self._follow_active)
        self.tell("result")

    def _follow_active(self) -> None:
        active = self.layers.active
        if active is not None and active != self._active and self.layers.is_finished(active):
            self._active = active
            image = self.layers.image_of(active)  # of a result, or of corrections
            self.image = self._image if image is None else image

    # --- the settings in Preferences

    def apply(self, settings: Settings) -> None:
        """Take what was set in Preferences, whose models folder the library uses already."""
        before, self.settings = self.settings, settings
        if settings.device != before.device:  # else what was chosen in the panel stays
            self.device = settings.device
        if settings.overlap != before.overlap:
            self.segmenting.set(overlap=settings.overlap)
        self.refresh_models()
        self.tell("settings")

    # --- the model

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self._model_name

    @model_name.setter
    def model_name(self, name: str) -> None:
        if name != self._model_name:
            self._model_name = name
            self._model_changed()

    @property
    def entry(self) -> ModelEntry | None:
        """The model's file and card; None if it is there no more."""
        return next((entry for entry in self.models if entry.name == self._model_name), None)

    @property
    def card(self) -> ModelCard | None:
        """The model's card; None if the file cannot be used."""
        return self.entry.card if self.entry else None

    def refresh_models(self, chosen: str | None = None) -> None:
        """Read the library again; models that are not saved to it stay beside it.

        Parameters
        ----------
        chosen : str, optional
            Name of the model that is chosen from now on; the one before if not given.
        """
        self.models = [*list_models(), *self.unsaved.values()]
        self._model_name = chosen or self._model_name
        if self.entry is None and self.models:
            self._model_name = self.models[0].name
        self._model_changed()

    def _model_changed(self) -> None:
        self.attention.model_changed()
        self.tell("model")

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

    def rest(self) -> None:
        """Stop the job, let go of the model and of who listens, as the dock closes; may be called again."""
        self.jobs.cleanup()
        self.beside.close()
        for controller in (self.segmenting, self.attention, self.objects, self.instant, self.correcting):
            controller.forget()
        for derived in (self.measuring, self.comparing):
            derived.forget()
        self._loaded = None
        for group in (self, self.jobs):
            for name, each in vars(type(group)).items():
                if isinstance(each, Signal):
                    getattr(group, name).disconnect()
        self._listen()

    def cleanup(self) -> None:
        """Let go of the viewer, too; may be called again."""
        self.rest()
        self.layers.cleanup()
