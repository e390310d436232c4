"""A fine-tune: what it takes along, its work off the GUI thread, and what it leaves. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.correction.corrections import LEAST_PIXELS
from napari_feedback_seg.errors import InputError, TrainingError
from napari_feedback_seg.generators import forward
from napari_feedback_seg.plugin.session.correct.painted.counts import summed
from napari_feedback_seg.plugin.session.strokes import adaptation_to, settle, settle_known

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    import numpy as np
    from napari.layers import Image

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.events import FinetuneCheck, FinetuneResult, FinetuneStep
    from napari_feedback_seg.correction.finetune import FineTuning
    from napari_feedback_seg.correction.strokes import Settled
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.session.drafts import Draft
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes

_SMOOTH = 0.2


@dataclass
class FinetuneWork:
    """A fine-tune that was asked for in the panel."""

    image: Image
    sections: Sections  # its grey values
    corrections: dict[int, np.ndarray]  # section to its corrections (Y, X), as they were
    draft: Draft  # where they are kept, and the state of the fine-tune
    parent: str  # name of the model
    load_model: Callable[[], Model]  # returns the model. Called off the GUI thread.
    config: FinetuneConfig  # the settings
    device: str  # where to compute
    pixel_size_nm: Any  # side of a pixel, if the image is rescaled for the model
    source: str  # name of the image
    path_for: Callable[[str], Path]  # returns, for the name of a model, the file that it is written to
    # the corrections as they are answered at once, which is what the fine-tune begins with
    strokes: Strokes
    settled: dict[int, Settled] = field(default_factory=dict)  # what they put right around themselves
    tuning: FineTuning | None = None
    keep_best: bool = False  # of what was learnt before it is stopped

    def __call__(self) -> Generator[FinetuneStep | FinetuneCheck, None, tuple[FinetuneResult, Path]]:
        """Fine-tune; return what became of it, and the file of the tuned model."""
        from napari_feedback_seg.correction.corrections import CorrectedSection
        from napari_feedback_seg.correction.events import FinetuneStep
        from napari_feedback_seg.correction.finetune import FineTuning

        model = self.load_model()
        sections = [
            CorrectedSection(self.sections.plane(z), self._taught(z), z, self.pixel_size_nm, self.source)
            for z in self.corrections
        ]
        # Learnt anew, so that a fine-tune that was cut off finds its checkpoint.
        strokes = replace(self.strokes, learnt=None)
        begin = yield from forward(
            self._learn(strokes, model), lambda _: FinetuneStep(0, 0, "learning from the strokes")
        )
        known = {each.value for each in begin.card.classes}
        new = tuple(each for each in self.config.new_classes if each.value not in known)
        self.tuning = FineTuning(
            replace(begin, digest=model.digest),
            [each for each in sections if each.labels.any()],
            replace(self.config, new_classes=new),
            device=self.device,
            checkpoint=self.draft.checkpoint,
        )
        result = yield from self.tuning.run()
        return self._keep(result)

    def best(self) -> Generator[None, None, tuple[FinetuneResult, Path] | None]:
        """Return what was learnt before the fine-tune was stopped; None if that is nothing."""
        yield
        result = self.tuning.best_so_far() if self.tuning else None
        return self._keep(result) if result else None

    def remove_checkpoint(self) -> None:
        """Remove what was kept to go on with."""
        with suppress(OSError):  # the next fine-tune writes over it
            self.draft.checkpoint.unlink(missing_ok=True)

    def _learn(self, strokes: Strokes, model: Model) -> Generator[None, None, Model]:
        """Return the model as it answers strokes, and keep what they put right around themselves."""
        strokes = yield from settle_known(strokes, strokes.labels, model, self.device)
        adaptation = yield from adaptation_to(strokes, model, self.device)
        self.settled = yield from settle(strokes, adaptation, model, self.device)
        return model if adaptation is None else adaptation.apply(model)

    def _taught(self, z: int) -> np.ndarray:
        """Return the corrections of a section that are to be learnt from."""
        from napari_feedback_seg.correction.strokes import find_strokes

        labels, strokes = self.corrections[z].copy(), self.strokes
        if strokes.muted or strokes.muted_classes:
            for stroke in find_strokes(labels, (strokes.image, z)):
                muted = any(stroke.lies_on(*each) for each in strokes.muted)
                if muted or stroke.value in strokes.muted_classes:
                    labels[tuple(stroke.pixels.T)] = 0
        return labels

    def _keep(self, result: FinetuneResult) -> tuple[FinetuneResult, Path]:
        from napari_feedback_seg.models.model_file import save_model

        card = result.tuned.card
        card = replace(card, recipe={**card.recipe, "painted": self.strokes.painted})  # with what was muted
        return result, save_model(replace(result.tuned, card=card), self.path_for(card.name))


@dataclass(frozen=True)
class Proposal:
    """A fine-tuned model that a person is to keep or to go back from."""

    parent: str  # names of the model before and of the fine-tuned one
    tuned: str
    keep: bool  # whether it is recommended to keep it
    sentence: str  # the recommendation and what is known
    details: tuple[str, ...] = ()  # lines on each class, and what went wrong
    # where before and after can be compared: the section that was shown, and another one
    sections: tuple[int, ...] = ()


@dataclass
class Losses:
    """Losses over the steps."""

    # step and loss, on what is learnt (smoothed) and on the held-out corrections
    training: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    # steps after which another part begins, of other corrections: lines do not go on over them
    breaks: list[int] = field(default_factory=list)
    total: int = 1  # steps in all
    # whether corrections could be held out; otherwise the second loss is on all of them
    is_held_out: bool = True

    def begin_part(self) -> None:
        """Begin a part with other corrections held out."""
        if self.training:
            self.breaks.append(self.training[-1][0])

    def add_training(self, step: int, total: int, loss: float) -> None:
        """Add the loss of a step, smoothed."""
        if self.training and self.training[-1][0] not in self.breaks:
            loss = self.training[-1][1] + _SMOOTH * (loss - self.training[-1][1])
        self.training.append((step, loss))
        self.total = max(total, step)

    def add_held_out(self, step: int, total: int, loss: float, is_held_out: bool) -> None:
        """Add the loss on the held-out corrections, or if none are, on all."""
        self.held_out.append((step, loss))
        self.is_held_out = is_held_out
        self.total = max(total, step)


def prepare(session: Session) -> FinetuneWork:
    """Return the fine-tune on all corrections of the image.

    Raises InputError or TrainingError if there is nothing to learn from.
    """
    correcting = session.correcting
    corrections, draft = correcting.corrections, correcting.journal.draft
    image = session.image
    sections = session.layers.sections(image)
    assert image is not None
    total = summed(corrections.counts.values())
    pixels = sum(each.pixels for each in total.values())
    if corrections.unknown:
        values = ", ".join(map(str, corrections.unknown))
        raise InputError(f"Labels that are no class are painted ({values}): erase them, or add the class.")
    if not pixels:
        raise TrainingError("Nothing is corrected yet: choose a class and paint over what is wrong.")
    if pixels < LEAST_PIXELS:
        raise TrainingError(f"{pixels} corrected px are too little to learn from: paint a few strokes.")
    if draft is None:
        raise InputError("This image has no place for its corrections. Save it as a TIFF, and open that.")
    strokes = session.instant.strokes()
    if strokes is None:
        raise InputError(f"The model '{session.model_name}' cannot be used. Choose another one.")
    known = {each.value for each in session.card.classes} if session.card else set()
    new = tuple(each for each in corrections.classes if each.value in total.keys() - known)
    return FinetuneWork(
        image,
        sections,
        {z: corrections.labels(z) for z in corrections.counts},
        draft,
        session.model_name,
        partial(session.load_model, session.entry),
        replace(correcting.config, new_classes=new),
        session.device,
        session.segmenting.options_of_result.pixel_size_nm,
        image.name,
        correcting.models.path_for,
        strokes,
    )
