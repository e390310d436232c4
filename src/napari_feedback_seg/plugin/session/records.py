"""What layers note of themselves: typed here, plain JSON in a layer's metadata and in exported files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.plugin.session.regions import Spans, spans_of, whole

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

Size = tuple[float, float]
"""Height and width of a pixel in nm."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that another run needs to give the same labels."""

    device: str = "auto"
    overlap: float = 0.25
    rescaled_from_nm: Size | None = None
    flips: bool = False
    probabilities: bool = False
    remove_specks: bool = False  # as in runs of an older version

    @classmethod
    def of(cls, options: SegmentOptions) -> RunSettings:
        """Return those of a segmentation."""
        from napari_feedback_seg.segmentation.prediction import pixel_sides

        size = options.pixel_size_nm
        return cls(
            options.device,
            options.overlap,
            pixel_sides(size) if size else None,
            options.flips,
            options.probabilities,
            options.remove_specks,
        )


@dataclass(frozen=True)
class RunRecord:
    """One run of a model over a part of an image."""

    model: str = ""  # name, file and digest of the model
    model_file: str = ""
    model_sha256: str = ""
    # height and width of a pixel of the image, whether it was rescaled or not
    pixel_size_nm: Size | None = None
    settings: RunSettings = RunSettings()  # how it was segmented
    device: str = ""  # what it was computed on
    region: Spans | None = None  # the rows and columns that it is about
    sections: tuple[int, ...] = ()  # the sections that are done
    # what tells the strokes that the model was adapted to from others; empty for the model alone
    strokes: str = ""

    @classmethod
    def of(
        cls, model: Model, options: SegmentOptions, pixel_size_nm: Size | None, strokes: str = ""
    ) -> RunRecord:
        """Return the record of a run that is about to begin."""
        return cls(
            model.card.name,
            str(model.path),
            model.digest or "",
            pixel_size_nm,
            RunSettings.of(options),
            strokes=strokes,
        )

    def over(self, region: Spans) -> str:
        """Return how it lies over a region: ``"all"``, ``"part"``, or empty if it does not."""
        if self.region is None:
            return "all"
        spans = list(zip(self.region, region, strict=True))
        if all(mine[0] <= other[0] and other[1] <= mine[1] for mine, other in spans):
            return "all"
        return "part" if all(mine[0] < other[1] and other[0] < mine[1] for mine, other in spans) else ""


@dataclass(frozen=True)
class ResultRecord:
    """What a result layer is: of which image, and what made it."""

    image: str  # name of the image
    image_id: str | None = None  # identity of its layer; None for a result that was opened from a file
    classes: tuple[LabelClass, ...] = ()  # what the labels mean
    runs: tuple[RunRecord, ...] = ()  # what made it; where two overlap, the later one counts
    messages: tuple[str, ...] = ()  # sentences that were said of it
    opened: str | None = None  # what the layers that were opened from one file have in common
    # the rows and columns of the image that the layer holds; None for all of them
    region: Spans | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ResultRecord:
        """Return what was noted; what this version does not know is left out.

        Raises ValueError if it is no such record.
        """
        return _read(cls, record)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it, with what the last run has to say at the top."""
        found = _plain(self)
        names = ("model", "model_file", "model_sha256", "pixel_size_nm", "settings")
        last = {name: found["runs"][-1][name] for name in names if self.runs}
        known = {name: value for name, value in found.items() if value is not None}
        return {**last, "version": __version__, **known}

    @property
    def last(self) -> RunRecord:
        """The last run, or an empty record."""
        return self.runs[-1] if self.runs else RunRecord()

    @property
    def sections(self) -> frozenset[int]:
        """The sections of which something is segmented."""
        return frozenset(z for run in self.runs for z in run.sections)

    def with_section(self, run: RunRecord, section: int) -> ResultRecord:
        """Return the record after a section of a run is done."""
        runs = [each for each in map(partial(_left_by, run, section), self.runs) if each is not None]
        if runs and replace(runs[-1], sections=()) == replace(run, sections=()):
            done = runs[-1].sections
            runs[-1] = replace(run, sections=done if section in done else (*done, section))
        else:
            runs.append(replace(run, sections=(section,)))
        return replace(self, runs=tuple(runs))

    def speaks_of(self, section: int, region: Spans, model_file: str, strokes: str) -> bool | None:
        """Return whether a model with these strokes said all that there is of a region of a section.

        None if nothing is segmented there.
        """
        there = None
        for run in reversed(self.runs):
            over = run.over(region) if section in run.sections else ""
            if over:
                if (run.model_file, run.strokes) != (model_file, strokes):
                    return False
                there = True
            if over == "all":
                break
        return there

    def renamed(self, before: Path, model: str, after: Path, strokes: str | None = None) -> ResultRecord:
        """Return the record after a model that made some of it has another name and file.

        With strokes, what it said with them is meant: both became that model, which says the same.
        """
        digest = hashlib.sha256(after.read_bytes()).hexdigest()
        runs = []
        for run in self.runs:
            if run.model_file == str(before) and strokes in (None, run.strokes):
                kept = run.strokes if strokes is None else ""
                run = replace(run, model=model, model_file=str(after), model_sha256=digest, strokes=kept)
            runs.append(run)
        return replace(self, runs=tuple(runs))

    def done_by(self, model_file: str, shape: tuple[int, int]) -> set[int]:
        """Return the sections of which a model has segmented all (Y, X), and no other one since."""
        done: set[int] = set()
        for run in self.runs:
            if run.model_file != model_file:
                done -= set(run.sections)
            elif run.region == spans_of(whole(shape)):
                done |= set(run.sections)
        return done


@dataclass(frozen=True)
class CorrectionsRecord:
    """What a layer of corrections is: of which image, and what its labels mean."""

    image: str  # name of the image
    image_id: str | None = None  # identity of its layer; None if the corrections were opened from a file
    # the file that the image was opened from; empty if from none, None if that is not known
    source: str | None = None
    layer_id: str | None = None  # identity of the layer itself, which tells it from a duplicate
    classes: tuple[LabelClass, ...] = field(default=())  # what the labels mean
    # section, row and column of a pixel of each stroke that is not learnt from
    muted: tuple[tuple[int, int, int], ...] = ()
    muted_classes: tuple[int, ...] = ()  # that are not learnt from

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CorrectionsRecord:
        """Return what was noted; what cannot be read is left out."""
        classes = []
        for each in record.get("classes") or ():
            with suppress(ValueError):
                classes.append(_read(LabelClass, each))
        found = {"image": "", **record, "classes": classes}
        try:
            return _read(cls, found)
        except ValueError:
            return _read(cls, {**found, "muted": (), "muted_classes": ()})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {name: value for name, value in _plain(self).items() if value is not None}


def _left_by(run: RunRecord, section: int, earlier: RunRecord) -> RunRecord | None:
    """Return what an earlier run is about after a stroke was answered: None if that covers all of it.

    Each stroke is another run over the view, and they are not to pile up.
    """
    if not earlier.strokes or section not in earlier.sections:
        return earlier
    if earlier.region is None or run.over(earlier.region) != "all":
        return earlier
    left = tuple(z for z in earlier.sections if z != section)
    return replace(earlier, sections=left) if left else None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _read(kind: Any, record: Any) -> Any:
    return _adapter(kind).validate_python(_without_none(record))


def _plain(record: Any) -> dict[str, Any]:
    kind: Any = type(record)
    found: dict[str, Any] = _adapter(kind).dump_python(record, mode="json")
    return found


def _without_none(value: Any) -> Any:
    """Return JSON without what is null: that is another way to say nothing of it."""
    if isinstance(value, Mapping):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value
