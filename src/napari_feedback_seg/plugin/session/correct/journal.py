"""The journal of corrections: written as they are painted, offered again after a crash. No Qt, no napari."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.drafts import Draft, Writer, drafts, first_draft, free
from napari_feedback_seg.plugin.session.records import CorrectionsRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.plugin.session.correct.painted.corrections import Corrections
    from napari_feedback_seg.plugin.session.correct.tuned import TunedModels
    from napari_feedback_seg.plugin.session.session import Session


class Journal:
    """Writes the corrections of each layer to a draft of its own, and offers drafts of an earlier time.

    A draft that belongs to no layer, of an earlier session or of a layer that was deleted, is offered
    until it was restored in full or discarded, and nothing is written to it.
    """

    def __init__(self, session: Session, corrections: Corrections, models: TunedModels) -> None:
        self._session, self._corrections, self._models = session, corrections, models
        self._writer = Writer(self._failed)
        self._image: Image | None = None
        self._of_layer: dict[Any, Draft] = {}  # by identity of the layer
        self._offers: list[Draft] = []
        corrections.changed.connect(self._take)

    # --- writing

    @property
    def draft(self) -> Draft | None:
        """Where the corrections of the image are kept; None if there are none, or no place for them."""
        layer, first = self._corrections.layer, self._first
        if layer is None or first is None:
            return None
        if layer.unique_id not in self._of_layer:
            self._of_layer[layer.unique_id] = free(first, list(self._of_layer.values()))
        return self._of_layer[layer.unique_id]

    def note_model(self, path: Path, draft: Draft | None = None) -> None:
        """Remember which file holds a model that learnt from corrections.

        Parameters
        ----------
        path : Path
            The file.
        draft : Draft, optional
            Where those corrections are kept; those of the image if not given.
        """
        draft = draft or self.draft
        if draft is not None:
            self._note_models(draft, lambda noted: [*noted, path])

    def forget_model(self, path: Path) -> None:
        """Take note that the model in a file is saved."""
        for draft in set(self._of_layer.values()):
            if path in draft.noted_models:
                self._note_models(draft, lambda noted: [each for each in noted if each != path])

    def _note_models(self, draft: Draft, change: Callable[[list[Path]], list[Path]]) -> None:
        self._writer.wait()  # what was noted before is to be read
        models = dict.fromkeys(change(draft.models))
        self.note({"models": list(map(str, models)), "model": None}, draft)

    def note(self, about: Mapping[str, Any], draft: Draft | None = None) -> None:
        """Write down what else belongs to corrections, those of the image if no draft is given."""
        draft = draft or self.draft
        if draft is not None:
            self._writer.write(draft, {}, about)

    def flush(self) -> None:
        """Return when all that was painted up to now is written."""
        self._corrections.look_at_all()
        self._writer.wait()

    def _take(self, sections: list[int]) -> None:
        if not sections:
            self.follow()
            return
        draft, corrections = self.draft, self._corrections
        if draft is not None:
            classes = [each.to_json() for each in corrections.classes]
            self._writer.write(draft, {z: corrections.painted(z) for z in sections}, {"classes": classes})

    def _failed(self, error: Exception) -> None:
        sentence = f"The corrections could not be saved by themselves: {error}"
        self._session.runner.later(partial(self._session.said.emit, sentence, "warning"))

    # --- what is offered

    @property
    def offer(self) -> str:
        """What is offered, in words; empty if that is nothing."""
        if not self._offers:
            return ""
        others = len(self._offers) - 1
        more = f" After that, {others} older one{'s' * (others > 1)} will be offered." if others else ""
        return f"There {self._contents(self._offers[0])}.{more}"

    @property
    def warning(self) -> str:
        """What is lost if what is offered is discarded, in words."""
        return f"There {self._contents(self._offers[0])}: that will be deleted." if self._offers else ""

    def follow(self) -> None:
        """Offer what is kept of the image and is not there."""
        if self._session.image is not None or not self._offers:
            self._image = self._session.image
            self._find_offers()

    def restore(self) -> None:
        """Put back what is offered; what cannot be put back stays where it is."""
        if not self._offers:
            return
        draft, said = self._offers[0], self._session.said
        if self._session.image is None or self._session.image != self._image:
            said.emit(f"The image '{draft.of}' is no longer there: open it, and try again.", "warning")
            return
        problems = [] if self._is_there(draft) else self._put_back(draft)
        for model in [] if problems else self._lost(draft):
            try:
                self._models.add(model)
            except FeedbackSegError as error:
                problems.append(str(error))
        for problem in problems:
            said.emit(problem, "warning")
        if not problems:
            segment = " Press Segment to see the strokes answered." if self._session.result is None else ""
            said.emit(f"What was kept is back.{segment}", "info")
        self._find_offers()

    def discard(self) -> None:
        """Remove what is offered."""
        if not self._offers:
            return
        draft = self._offers[0]
        for model in self._lost(draft):
            with suppress(OSError):
                model.unlink()
        if self._is_there(draft):
            self._note_models(draft, list)
        else:
            self._remove(draft)
        self._find_offers()

    def _put_back(self, draft: Draft) -> list[str]:
        """Write the sections of a draft into the corrections; return what is wrong with the others."""
        problems, sections, corrections = [], {}, self._corrections
        for z in draft.saved:
            try:
                sections[z] = draft.load_section(z)
            except FeedbackSegError as error:
                problems.append(str(error))
        used = {int(value) for labels in sections.values() for value in np.unique(labels)}
        try:
            layer = corrections.make_layer()
            own = self._of_layer.get(layer.unique_id)
            if not problems and (own is None or not own.taken):
                own = self._of_layer[layer.unique_id] = draft
            record = CorrectionsRecord.from_json(draft.about)
            table = corrections.take_classes(record.classes, used)
            for z, labels in sections.items():
                now = corrections.painted(z)
                corrections.write(z, np.where(now != UNLABELLED, now, table[labels]))  # what is newer stays
            self._session.layers.corrections.mute(layer, record, table)
        except FeedbackSegError as error:
            return [*problems, str(error)]
        if not problems and own is not None and own != draft:
            self._merge(draft, own)
        return problems

    def _merge(self, draft: Draft, own: Draft) -> None:
        """Remove a draft whose corrections are in another one now."""
        models = draft.models
        if models:
            self._note_models(own, lambda noted: [*models, *noted])
        self._writer.wait()
        if set(draft.saved) <= set(own.saved):
            self._remove(draft)

    def _remove(self, draft: Draft) -> None:
        self._writer.forget(draft)
        draft.remove()

    def _find_offers(self) -> None:
        layer, first, present = self._corrections.layer, self._first, self._session.layers.identities
        if self._of_layer.keys() - present:
            self._writer.wait()  # a layer was deleted, and what was painted last is to be offered, too
        found = [each for each in drafts(first) if self._is_of_image(each)] if first is not None else []
        if layer is not None and layer.unique_id not in self._of_layer:
            same = next((each for each in found if self._is_there(each) and not self._is_used(each)), None)
            if same is not None:  # it was saved as a file, too, and opened from there
                self._of_layer[layer.unique_id] = same
        self._offers = [each for each in found if not self._is_there(each) or self._lost(each)]
        self._session.tell("correcting")

    def _lost(self, draft: Draft) -> list[Path]:
        """Return the models of a draft that are not among those of the session."""
        known = {each.path for each in self._session.models}
        return [each for each in draft.models if each not in known]

    def _is_used(self, draft: Draft) -> bool:
        """Whether its corrections are in a layer that is there."""
        present = self._session.layers.identities
        return any(each == draft for identity, each in self._of_layer.items() if identity in present)

    @property
    def _first(self) -> Draft | None:
        image = self._image
        try:
            return None if image is None else self._first_of(image)
        except FeedbackSegError:
            return None

    def _first_of(self, image: Image) -> Draft:
        shape = self._session.layers.sections(image).shape
        return first_draft(self._session.layers.corrections.source(image), image.name, shape)

    def _is_of_image(self, draft: Draft) -> bool:
        """Whether it was not kept for another image that is there, too, of the same file and shape."""
        name, first = draft.about.get("image"), self._first
        others = [each for each in self._session.images if each != self._image and each.name == name]
        return first is None or all(self._first_of(each).folder != first.folder for each in others)

    def _is_there(self, draft: Draft) -> bool:
        """Whether all corrections that are kept are in a layer, whether they are kept for that or not."""
        if self._is_used(draft):
            return True
        if self._corrections.layer is None:
            return False
        for z in draft.saved:
            try:
                labels = draft.load_section(z)
            except FeedbackSegError:
                return False
            if (labels != self._corrections.painted(z))[labels != UNLABELLED].any():
                return False
        return True

    def _contents(self, draft: Draft) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(draft.time))
        count, models = len(draft.saved), len(self._lost(draft))
        if self._is_there(draft):
            what = f"are {models} models" if models > 1 else "is a model"
            return f"{what} of {when} that learnt from the corrections of '{draft.of}'"
        learnt = f", and {models} models" if models > 1 else ", and the model" if models else ""
        more = f"{learnt} that learnt from them" if models else ""
        return f"are corrections of '{draft.of}' from {when} on {count} section{'s' * (count != 1)}{more}"
