"""A first look: segment a sample section and write what a user would want to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tifffile

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.datasets.sstem import DEMO_SECTION, PIXEL_SIZE_NM, fetch_sstem, read_sstem_image
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import check_output, replacing
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.segmentation.events import FileDone, FileFailed
from napari_feedback_seg.segmentation.file_jobs import plan
from napari_feedback_seg.segmentation.files import segment_files
from napari_feedback_seg.segmentation.measure import measure_labels
from napari_feedback_seg.segmentation.overlay import overlay
from napari_feedback_seg.segmentation.prediction import SegmentOptions

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy as np

    from napari_feedback_seg.segmentation.events import FileTile
    from napari_feedback_seg.segmentation.measure import Measures


@dataclass(frozen=True)
class Demo:
    """What a demo has done.

    Attributes
    ----------
    sample, device : str
        What was segmented, and on what.
    measures : Measures
        The area of each class.
    written : tuple of Path
        The files.
    messages : tuple of str
        Sentences for the user.
    """

    sample: str
    device: str
    measures: Measures
    written: tuple[Path, ...]
    messages: tuple[str, ...]


def run_demo(
    folder: Path,
    model: str = "default",
    device: str = "auto",
    sample: str = "auto",
    overwrite: bool = False,
) -> Generator[FileTile, None, Demo]:
    """Segment a sample section as ``feedback-seg segment`` would; add a picture with a legend.

    Parameters
    ----------
    folder : Path
        Where ``image.tif``, ``labels.tif``, ``labels-probabilities.tif`` and ``overlay.png`` go.
    model, device : str
        As for ``segment``.
    sample : {"auto", "sstem", "builtin"}
        A section of the public data set, the section made by code, or the first with the
        second for where there is no network.
    overwrite : bool
        Replace files that are there.

    Raises
    ------
    FeedbackSegError
        If the sample, the model or the folder cannot be used.
    """
    source, picture = folder / "image.tif", folder / "overlay.png"
    jobs = plan([str(source)], folder / "labels.tif", probabilities=True)
    for path in (source, picture, *jobs[0].outputs):
        check_output(path, overwrite)
    name, image, pixel_size_nm, messages = _sample(sample)
    per_nm = 1 / pixel_size_nm
    with replacing(source, overwrite=overwrite) as temporary:
        tifffile.imwrite(temporary, image, imagej=True, resolution=(per_nm, per_nm), metadata={"unit": "nm"})
    loaded = load_model(model)
    done: FileDone | None = None
    for event in segment_files(jobs, loaded, SegmentOptions(device), overwrite=overwrite):
        if isinstance(event, FileFailed):
            raise event.error
        if isinstance(event, FileDone):
            done = event
        else:
            yield event
    assert done is not None
    labels = tifffile.imread(done.job.labels)
    with replacing(picture, overwrite=overwrite) as temporary:
        overlay(image, labels, loaded.card.classes).save(temporary, format="PNG", optimize=True)
    measures = measure_labels(labels, pixel_size_nm, classes=loaded.card.classes)
    written = (source, *done.job.outputs, picture)
    return Demo(name, done.device, measures, written, (*messages, *done.messages))


def _sample(wanted: str) -> tuple[str, np.ndarray, float, tuple[str, ...]]:
    """Return the name, image (Y, X) and pixel size of a sample, and what to tell the user."""
    messages: tuple[str, ...] = ()
    if wanted != "builtin":
        try:
            folder = fetch_sstem([DEMO_SECTION], labels=False)
            image = read_sstem_image(folder, DEMO_SECTION)
        except InputError as error:
            if wanted == "sstem":
                raise
            messages = (f"{error} The built-in sample is taken instead.",)
        else:
            return f"ssTEM, Drosophila VNC, section {DEMO_SECTION}", image, PIXEL_SIZE_NM, messages
    made = builtin_section()
    return "built-in EM-like section", made.image, made.pixel_size_nm, messages
