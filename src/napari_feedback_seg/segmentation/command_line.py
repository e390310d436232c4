"""The ``feedback-seg segment`` line that gives the same labels as a run in the dock."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


def command_lines(
    record: Mapping[str, Any],
    shape: tuple[int, ...],
    image_path: str | None,
    name: str,
    probabilities: bool = False,
    strokes: str | None = None,
) -> list[str]:
    """Return the command lines that give the same labels: one, or one for each run that is left to see.

    Parameters
    ----------
    record : mapping
        What made the labels, as :class:`~napari_feedback_seg.segmentation.export.Result` has it.
    shape : tuple of int
        Of the labels.
    image_path : str or None
        File of the image; ``NAME.tif`` if the image is of no file.
    name : str
        What the outputs are named after.
    probabilities : bool
        Whether probabilities are written, too.
    strokes : str, optional
        What tells the strokes that ``NAME.strokes`` was learnt from. What a run with others learnt is
        learnt again from the corrections.
    """
    runs = visible_runs(record.get("runs", ()))
    lines = []
    for number, run in enumerate(runs, 1):
        output = f"{name}-labels.tif" if len(runs) == 1 else f"{name}-run{number}-labels.tif"
        image = image_path or f"{name}.tif"
        taught: list[tuple[str, ...]] = []
        if run.get("strokes"):
            taught = [(image, f"{name}-corrections.tif")]
            if run["strokes"] == strokes:
                taught.insert(0, (f"{name}.strokes",))
        words = [image, "-o", output, "--model", _model_argument(run)]
        words += segment_arguments(run, shape, probabilities, taught)
        lines.append(shell_line(["feedback-seg", "segment", *words]))
    return lines


def segment_arguments(
    run: Mapping[str, Any], shape: tuple[int, ...], probabilities: bool, strokes: Sequence[tuple[str, ...]]
) -> list[str]:
    """Return what ``feedback-seg segment`` takes to repeat a run; its image, output and model go before.

    Parameters
    ----------
    run : mapping
        One of the runs of a record.
    shape : tuple of int
        Of the labels.
    probabilities : bool
        Whether probabilities are written, too.
    strokes : sequence of tuple of str
        What each ``--strokes`` takes, if the model was adapted.
    """
    words = _settings_arguments(run)
    for each in strokes:
        words += ["--strokes", *each]
    if probabilities:
        words.append("--probabilities")
    rows, columns = run["region"]
    if (list(rows), list(columns)) != ([0, shape[-2]], [0, shape[-1]]):
        words += ["--region", f"{rows[0]}:{rows[1]},{columns[0]}:{columns[1]}"]
    if len(shape) == 3 and len(run["sections"]) < shape[0]:
        words += ["--sections", _spans(run["sections"])]
    return words


def shell_line(words: Sequence[str]) -> str:
    """Return words as they are typed into a terminal: a shell's, or those of Windows."""
    if os.name != "nt":
        return shlex.join(words)
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """Return a word as both cmd and PowerShell take it: in double quotes, which no path can hold."""
    if re.fullmatch(r"[\w.:\\/+=-]+", word):
        return word
    last = len(word) - len(word.rstrip("\\"))  # before a quote a backslash takes its meaning away
    return '"' + word + "\\" * last + '"'


def visible_runs(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the runs that no single later one has written over."""

    def covers(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
        return set(later["sections"]) >= set(earlier["sections"]) and all(
            start <= first and last <= stop
            for (start, stop), (first, last) in zip(later["region"], earlier["region"], strict=True)
        )

    return [run for n, run in enumerate(runs) if not any(covers(later, run) for later in runs[n + 1 :])]


def _model_argument(run: Mapping[str, Any]) -> str:
    """Return the model's name in the library, or else its file."""
    from napari_feedback_seg.models.library import list_models

    file = run["model_file"]
    return next((entry.name for entry in list_models() if str(entry.path) == file), str(file))


def _settings_arguments(run: Mapping[str, Any]) -> list[str]:
    settings, size = run["settings"], run["pixel_size_nm"]
    words = []
    if settings["rescaled_from_nm"] is None:
        words.append("--no-rescale")
    else:
        size = settings["rescaled_from_nm"]
    if size:
        height, width = (f"{side:g}" for side in size)
        words += ["--pixel-size", height if height == width else f"{height}x{width}"]
    words += ["--overlap", f"{settings['overlap']:g}"]
    words += ["--flips"] if settings["flips"] else []
    return words if settings.get("remove_specks") else [*words, "--keep-specks"]


def _spans(numbers: Collection[int]) -> str:
    """Return ``3-5,8`` for 3, 4, 5, 8."""
    parts = []
    for _, group in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        span = [number for _, number in group]
        parts.append(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]))
    return ",".join(parts)
