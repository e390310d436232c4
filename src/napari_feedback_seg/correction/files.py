"""Images and corrections from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_feedback_seg.correction.corrections import corrected_sections
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import images_in, open_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.corrections import CorrectedSection


def read_corrected(
    images: Path,
    corrections: Path,
    classes: Sequence[LabelClass],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    rescale: bool = True,
) -> tuple[list[CorrectedSection], tuple[str, ...]]:
    """Return the corrected sections of an image file, or of two folders with the same names.

    Parameters
    ----------
    images, corrections : Path
        Two files, sections or stacks; or two folders of them.
    classes : sequence of LabelClass
        The classes that there are.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel, or height and width, where a file does not say it.
    rescale : bool
        Whether an image is resampled to the model's pixel size.

    Returns
    -------
    tuple
        The sections that have corrections, and sentences that the user should read.

    Raises
    ------
    InputError
        If they cannot be read, or do not go together.
    """
    sections: list[CorrectedSection] = []
    said: list[str] = []
    for image_path, corrections_path in _pairs(images, corrections):
        image, labels = open_image(image_path), open_image(corrections_path, labels=True)
        size = (pixel_size_nm or image.pixel_size_nm) if rescale else None
        try:
            sections += corrected_sections(
                image.sections, labels.sections, classes, pixel_size_nm=size, source=image_path.name
            )
        except InputError as error:
            raise InputError(f"'{corrections_path}': {error}") from error
        said += (*image.messages, *labels.messages)
    return sections, tuple(dict.fromkeys(said))


def _pairs(images: Path, corrections: Path) -> list[tuple[Path, Path]]:
    if images.is_dir() != corrections.is_dir():
        raise InputError(f"'{images}' and '{corrections}' must both be files, or both be folders.")
    if not images.is_dir():
        return [(images, corrections)]
    found, labels = _by_stem(images), _by_stem(corrections)
    alone = sorted(set(labels) - set(found))
    if alone:
        raise InputError(
            f"'{corrections}' has files without an image of the same name in '{images}': "
            f"{', '.join(alone[:5])}."
        )
    if not labels:
        raise InputError(f"'{corrections}' holds no TIFF or PNG file.")
    return [(found[stem], path) for stem, path in labels.items()]


def _by_stem(folder: Path) -> dict[str, Path]:
    paths = images_in(folder)
    named = {path.stem: path for path in paths}
    if len(named) < len(paths):
        raise InputError(f"'{folder}' holds two files of one name that differ only in their ending.")
    return named
