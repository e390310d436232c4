"""The controller of the tab Correct: strokes, fine-tune, before and after, models. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.correct.doubt import DoubtfulPlaces
from napari_feedback_seg.plugin.session.correct.fine_tuning import FinetuneWork, Losses, Proposal, prepare
from napari_feedback_seg.plugin.session.correct.journal import Journal
from napari_feedback_seg.plugin.session.correct.painted.corrections import Corrections
from napari_feedback_seg.plugin.session.correct.tuned import Answers, TunedModels, emptied
from napari_feedback_seg.plugin.session.regions import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.correction.events import FinetuneResult
    from napari_feedback_seg.plugin.session.jobs import State
    from napari_feedback_seg.plugin.session.session import Session

T = TypeVar("T")

BRUSH = 8
"""Diameter of the brush on a new layer of corrections, in pixels."""

PREVIEW = "Segmenting before and after"


class Correcting:
    """Paint over mistakes, fine-tune, compare before and after, keep the model or go back."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run: FinetuneWork | None = None
        self.corrections = Corrections(session)  # what is painted
        self.models = TunedModels(session)  # the chain of fine-tuned models
        self.journal = Journal(session, self.corrections, self.models)  # keeps it, offers what was left
        self.answers = Answers(session, self.models)
        self.doubt = DoubtfulPlaces(session, self.corrections)  # where to look next
        self.config = FinetuneConfig()  # the settings of a fine-tune
        self.losses = Losses()  # of the last fine-tune
        self.proposal: Proposal | None = None  # a model to keep or to go back from
        self.status = ""  # how the fine-tune is going, or how it ended
        self._passing = ""  # a status that holds until there are other strokes, or sections
        self._model = ""  # name of the model that the status is about
        self._tuned: set[str] = set()  # names of those that the losses are about
        self._before_of: Image | None = None
        self.corrections.changed.connect(self._on_corrections)

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._session.jobs.state_of(self)

    @property
    def is_tuning(self) -> bool:
        """Whether a fine-tune is running."""
        return self._run is not None

    # --- painting

    def paint_with(self, value: int) -> None:
        """Take napari's brush in hand, on the corrections, with a class; 0 takes corrections back."""
        self._session.objects.editing.set_tool("")
        new = self.corrections.layer is None
        layer = self._try(self.corrections.make_layer)
        if layer is not None:
            self._session.layers.corrections.take_brush(layer, value, BRUSH if new else None)

    @property
    def in_hand(self) -> int | None:
        """The class that a stroke would be of, 0 for the eraser; None with no tool in hand."""
        return self._session.layers.corrections.in_hand(self.corrections.layer, self._session.result)

    def add_class(self, name: str, color: str) -> None:
        """Add a class that the model does not know, and paint with it."""
        new = self._try(self.corrections.add_class, name, color)
        if new is not None:
            self.take_back()
            self._session.tell("result")  # which knows it now
            self.paint_with(new.value)

    def remove_class(self, value: int) -> None:
        """Take an added class away again, if nothing is painted with it."""
        self._try(self.corrections.remove_class, value)

    # --- the fine-tune

    def set_config(self, config: FinetuneConfig) -> None:
        """Change the settings of a fine-tune."""
        self.config = config
        self._session.tell("correcting")

    def fine_tune(self) -> bool:
        """Let the model learn from the corrections; return whether that has begun."""
        self.corrections.look_at_all()
        run = self._try(prepare, self._session)
        if run is None:
            return False
        self.show_before(False)
        if not self._session.jobs.run(
            run,
            title="Fine-tuning",
            owner=self,
            on_event=self._take,
            on_done=self._finish,
            on_failed=self._failed,
            on_stopped=self._stopped,
        ):
            return False
        self._run, self.proposal, self.losses, self._tuned = run, None, Losses(), {run.parent}
        self.say("Getting ready: loading the model, and asking it what it is sure of.")
        return True

    def stop(self, *, keep_best: bool = False) -> None:
        """Stop what is running; of a fine-tune, with ``keep_best``, take the best that it has found."""
        if self._run is not None:
            self._run.keep_best = keep_best
            self.say("Stopping...")
        self._session.jobs.cancel(quietly=keep_best)

    def _take(self, event: Any) -> None:
        from napari_feedback_seg.correction.events import FinetuneCheck

        losses, jobs = self.losses, self._session.jobs
        if isinstance(event, FinetuneCheck):
            losses.add_held_out(event.done, event.total, event.loss, event.held_out)
            return
        what = event.what.capitalize()
        if not self.status.startswith(what):
            losses.begin_part()
        if event.loss is not None:
            losses.add_training(event.done, event.total, event.loss)
        left = f", about {max(1, round(jobs.seconds_left))} s left" if jobs.seconds_left >= 0 else ""
        self.say(f"{what}: step {event.done} of {event.total}{left}" if event.total else f"{what}...")

    def _failed(self, error: Exception) -> None:
        self._run = None
        self.say(str(error))

    def _stopped(self) -> None:
        run = self._run
        if run is not None and run.keep_best:
            self._session.jobs.run(
                run.best,
                title="Scoring what was learnt",
                owner=self,
                on_done=self._finish,
                on_failed=self._failed,
                on_stopped=self._forget_run,
            )
            return
        self._forget_run()

    def _forget_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.remove_checkpoint()
        self.say("Stopped: the model stays as it was.")

    def _finish(self, found: tuple[FinetuneResult, Path] | None) -> None:
        run, self._run, session = self._run, None, self._session
        assert run is not None
        if found is None:
            self.say("Stopped before anything was learnt: the model stays as it was.")
            return
        result, path = found
        self._tuned.add(path.stem)
        run.remove_checkpoint()
        self.journal.note_model(path, run.draft)
        session.instant.teaching.keep_right(path, run.strokes, run.settled)
        which = "held-out corrections" if result.held_out else "the corrections that it learnt from"
        proposal = Proposal(
            run.parent,
            path.stem,
            result.recommendation == "keep",
            result.sentence,
            (*result.problems, f"IoU on {which}:", *result.changes, f"{result.seconds:.0f} s"),
        )
        self.say("")
        if run.image not in session.layers:
            session.said.emit("The image is no longer there: nothing was segmented.", "warning")
        elif run.image != session.image:
            session.said.emit(
                f"The new model is chosen. To see what it says, go to '{run.image.name}' and segment.", "info"
            )
        elif session.model_name == run.parent:
            self._compare(proposal, path)
            return
        self._propose(proposal, path)

    # --- before and after

    def _compare(self, proposal: Proposal, path: Path) -> None:
        """Propose a model, and segment with it the visible part of this section and of another one.

        Where the model before has said nothing yet, it is asked first.
        """
        session, image = self._session, self._session.image
        assert image is not None
        region = None
        with suppress(FeedbackSegError):
            region = session.layers.visible_region(image)
        shown = session.layers.displayed_section(image)
        segmented = session.segmented
        others = sorted(
            set(range(session.layers.sections(image).count)) - {shown},
            key=lambda z: (z in self.corrections.counts, z not in segmented, abs(z - shown), z),
        )
        sections = tuple(sorted({shown, *others[:1]}))
        proposal = replace(proposal, sections=sections)

        def after(_: bool = True) -> None:
            self._propose(proposal, path)
            if session.image == image:
                session.segmenting.segment_as_before(Part(sections, region), PREVIEW)

        missing = tuple(z for z in sections if z not in segmented)
        if not missing or not session.segmenting.segment_as_before(Part(missing, region), PREVIEW, after):
            after()

    def _propose(self, proposal: Proposal, path: Path) -> None:
        try:
            self.models.add(path, proposal.parent)
        except FeedbackSegError as error:
            self.fail(error)
            return
        self.proposal = proposal
        self._session.tell("correcting")

    def keep(self) -> None:
        """Keep the model that is proposed."""
        if self.proposal is not None:
            tuned, self.proposal = self.proposal.tuned, None
            self.show_before(False)
            self.say(f"'{tuned}' is in use. Save it to have it in the list of models tomorrow.")

    def go_back(self) -> None:
        """Go back to the model before; the fine-tuned one can be had again with redo."""
        if self.proposal is not None:
            tuned = self.proposal.tuned
            self.undo()
            again = f"'{self.models.current}' is in use again. Redo brings '{tuned}' back. {self.status}"
            self._passing = again.rstrip()
            self.say(self._passing)

    @property
    def shows_before(self) -> bool:
        """Whether a result shows what the model before says."""
        return self._before_of is not None

    @property
    def can_show_before(self) -> bool:
        """Whether it is known what the model before says."""
        return self.shows_before or (
            self.answers.known(self.models.earlier) and self._session.result is not None
        )

    def show_before(self, wanted: bool) -> None:
        """Show what the model before says, or what the one in use says; not while a job runs."""
        earlier, current = self.models.earlier, self.models.current
        if wanted == self.shows_before or earlier is None:
            return
        if wanted and (not self.can_show_before or self._session.jobs.busy):
            return
        if wanted:
            self._before_of = self._session.image
            self.answers.swap(self._before_of, current, earlier)
        else:
            self.answers.swap(self._before_of, earlier, current)
            self._before_of = None
        self._session.tell("correcting")

    @property
    def shown_section(self) -> int:
        """The section that is shown."""
        image = self._session.image
        return self._session.layers.displayed_section(image) if image is not None else 0

    def go_to_section(self, number: int) -> None:
        """Show one of the sections where before and after can be compared."""
        image = self._session.image
        if self.proposal is not None and image is not None and number < len(self.proposal.sections):
            self._session.layers.corrections.go_to_section(image, self.proposal.sections[number])

    def undo(self) -> None:
        """Go back to the model before, and to what it says."""
        self._move(self.models.undo)

    def redo(self) -> None:
        """Take the model again that was undone, and what it says."""
        self._move(self.models.redo)

    def _move(self, step: Any) -> None:
        self.show_before(False)
        before, segmented = self.models.current, self._session.segmented
        step()
        self.answers.swap(self._session.image, before, self.models.current)
        self._session.last_run.forget()
        self.proposal = None
        self._passing = emptied(self.models.current, segmented - self._session.segmented)
        self.say(self._passing)

    # --- the rest

    @property
    def rest(self) -> tuple[int, ...]:
        """The sections that the model in use has not segmented as a whole."""
        return tuple(self._session.segmenting.undone)

    def segment_rest(self) -> None:
        """Segment what the model in use has not segmented yet."""
        if self.rest:
            self._session.segmenting.segment_as_before(Part(self.rest), "Segmenting the rest")

    def save_as(self, name: str) -> None:
        """Save the model in use to the library."""
        before, entry, losses = self.models.current, self._session.entry, self.losses
        try:
            self.models.save_as(name)
        except FeedbackSegError as error:
            self.fail(error)
            return
        if before in self._tuned:
            self._tuned.add(name)
            self.losses = losses
        self.answers.rename(before, name)
        if entry is not None:
            self.journal.forget_model(entry.path)
        self._session.said.emit(f"The model '{name}' is in your models folder now.", "info")
        self._session.tell("correcting")

    # --- what happens

    def changed(self, part: str) -> None:
        """Take note that a part of the session has changed."""
        if part in ("image", "layers"):
            if self._before_of is not None and self._before_of != self._session.image:
                self.show_before(False)
            self.corrections.follow()
        elif part == "model":
            self.corrections.follow_model()
            if self.proposal is not None and self.proposal.tuned != self.models.current:
                self.proposal = None
                self.say("")
            if self._model != self.models.current and not self.is_tuning:
                self._model, self.status = self.models.current, ""  # what was said is of another
                if self._model not in self._tuned:
                    self.losses = Losses()

    def before_segmenting(self) -> None:
        """Show what the model in use says: the image is about to be segmented."""
        self.take_back()
        self.doubt.take_back()
        self.corrections.look()
        self.show_before(False)

    def take_back(self) -> None:
        """Take back what may hold no longer: there are other strokes, or others are muted, or sections."""
        if self.status and self.status == self._passing:
            self.say("")

    def _on_corrections(self, sections: list[int]) -> None:
        if sections:
            self.take_back()
        self._session.tell(*(["corrected"] if sections else []), "correcting")

    def say(self, status: str) -> None:
        """Say how the fine-tune is going, or how it ended."""
        self.status = status
        self._session.tell("correcting")

    def _try(self, call: Callable[..., T], *arguments: Any) -> T | None:
        """Return what a call returns, or say why it failed."""
        try:
            return call(*arguments)
        except FeedbackSegError as error:
            self.fail(error)
            return None

    def fail(self, error: Exception) -> None:
        """Say why something could not begin, or could not be kept."""
        self._passing = str(error)
        self.say(self._passing)
        self._session.said.emit(str(error), "error")

    def forget(self) -> None:
        """Let go of what runs, as the dock closes; may be called again."""
        self.show_before(False)
        self._run = None
        self.journal.flush()
