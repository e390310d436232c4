"""Export the result at hand, off the GUI thread. No Qt, no napari."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.segmentation.export import Result, SectionExported, export

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_feedback_seg.plugin.session.session import Session


def export_result(
    session: Session,
    folder: str | Path,
    least: float | None = None,
    on_done: Callable[[Path], None] | None = None,
) -> bool:
    """Export the result at hand.

    A new folder is made in ``folder``, so that nothing is ever overwritten. ``least`` is the least size of a
    profile in the table, and ``on_done`` hears of the path of the record when all is written. Return whether
    the export has begun: not without a result, or while another job runs.
    """
    session.correcting.corrections.look()
    layer = session.result_at_hand
    if layer is None:
        return False
    image = session.layers.image_of(layer)
    result = session.layers.to_export(
        layer, session.correcting.corrections.of_result(layer), session.pixel_sizes.spacing_of(image)
    )

    result = replace(result, **session.objects.to_export(layer), **_learnt(session, result))

    def work() -> Generator[SectionExported, None, Path]:
        painted = result.corrections
        planes = () if painted is None else painted.reshape(-1, *painted.shape[-2:])
        edited = [z for z, plane in enumerate(planes) if plane.any()]
        target = _free(Path(folder) / f"{result.name}-segmented")
        return (yield from export(result if edited else _uncorrected(result), target, edited, least))

    return session.jobs.run(work, title=f"Exporting {layer.name}", on_done=on_done)


def _learnt(session: Session, result: Result) -> dict[str, Any]:
    """Return what was learnt of the strokes that a result was made with, if it is still known."""
    strokes, adaptation = session.instant.learnt
    if adaptation is None or strokes not in {run.get("strokes") for run in result.record.get("runs", ())}:
        return {}
    from napari_feedback_seg.correction.adaptation import save_adaptation

    return {"strokes": strokes, "save_strokes": partial(save_adaptation, adaptation)}


def _uncorrected(result: Result) -> Result:
    layers = {name: each for name, each in result.layers.items() if name != "corrections"}
    return replace(result, corrections=None, layers=layers)


def _free(folder: Path) -> Path:
    """Return ``folder``, with a number behind it if that is taken."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(each for each in chain([folder], others) if not os.path.lexists(each))
