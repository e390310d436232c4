"""Makes what strokes taught a model of its own, in seconds and without a training. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import FeedbackSegError, InputError, TrainingError
from napari_feedback_seg.plugin.session.strokes import adaptation_to, settle

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.correction.strokes import Settled
    from napari_feedback_seg.models.library import ModelEntry
    from napari_feedback_seg.plugin.session.drafts import Draft
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes


@dataclass(frozen=True)
class _Run:
    """What is painted, by what model it is learnt, and where that is noted."""

    image: Image
    entry: ModelEntry
    strokes: Strokes
    draft: Draft | None
    settled: dict[int, Settled] = field(default_factory=dict)  # what they put right around themselves


class Permanent:
    """Makes a model that knows by itself what the strokes taught the model in use."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def make(self) -> bool:
        """Make the model, and take it into use; return whether that has begun."""
        session = self._session
        session.correcting.corrections.look_at_all()
        try:
            run = self._prepare()
        except FeedbackSegError as error:
            session.correcting.fail(error)
            return False
        session.correcting.show_before(False)
        begun = session.jobs.run(
            partial(self._work, run, run.image.name, session.device),
            title="Making it permanent",
            owner=self,
            on_done=partial(self._finish, run),
            on_failed=lambda error: session.correcting.say(str(error)),
            on_stopped=lambda: session.correcting.say("Stopped: the model stays as it was."),
        )
        if begun:
            session.correcting.say("Saving what the strokes taught...")
        return begun

    def _work(self, run: _Run, source: str, device: str) -> Generator[None, None, Path | None]:
        """Write the model; return its file, or None if the strokes change nothing elsewhere."""
        from napari_feedback_seg.correction.card import corrected_model
        from napari_feedback_seg.models.model_file import save_model

        model = self._session.load_model(run.entry)
        yield
        adaptation = yield from adaptation_to(run.strokes, model, device)
        if adaptation is None or not adaptation.changes:
            return None
        run.settled.update((yield from settle(run.strokes, adaptation, model, device)))
        sections = [replace(run.strokes.section(z), source=source) for z in run.strokes.labels]
        corrected = corrected_model(model, adaptation, sections)
        return save_model(corrected, self._session.correcting.models.path_for(corrected.card.name))

    def _prepare(self) -> _Run:
        session = self._session
        session.layers.sections(session.image)  # says what is wrong with the image
        strokes = session.instant.strokes(anyway=True)
        if session.image is None or session.entry is None or strokes is None:
            raise InputError(f"The model '{session.model_name}' cannot be used. Choose another one.")
        if not strokes.labels:
            raise TrainingError("Nothing is corrected yet: choose a class and paint over what is wrong.")
        if not strokes.token:
            raise TrainingError(
                f"'{session.model_name}' knows these strokes already: paint others."
                if strokes.known
                else "All strokes are muted: learn from some of them, and try again."
            )
        return _Run(session.image, session.entry, strokes, session.correcting.journal.draft)

    def _finish(self, run: _Run, path: Path | None) -> None:
        session = self._session
        if path is None:
            session.correcting.say(
                "The strokes change nothing beside themselves: paint a few more, or fine-tune."
            )
            return
        session.correcting.journal.note_model(path, run.draft)
        session.instant.teaching.keep_right(path, run.strokes, run.settled)
        in_use = session.entry is not None and session.entry.path == run.entry.path
        try:
            if in_use:
                self._keep_result(run, path)
            session.correcting.models.add(path, run.entry.name)
        except FeedbackSegError as error:
            session.correcting.fail(error)
            return
        session.correcting.say(
            f"'{path.stem}' is in use: it says by itself what the strokes taught, on other images too. What "
            "they put right around themselves stays right on this image. Save the model to have it in the "
            "list of models tomorrow."
        )

    def _keep_result(self, run: _Run, path: Path) -> None:
        """Let the result be that of the new model, which knows what the strokes taught."""
        layers, answers = self._session.layers, self._session.correcting.answers
        result = layers.result_of(run.image) if run.image in layers else None
        record = layers.record_of(result) if result is not None else None
        if result is None or record is None:
            return
        after = record.renamed(run.entry.path, path.stem, path, run.strokes.token)
        answers.same(run.image, run.entry.name, record, after)
        layers.write_record(result, after)
