"""What a segmentation reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.errors import InputError
    from napari_feedback_seg.segmentation.file_jobs import FileJob
    from napari_feedback_seg.segmentation.prediction import Prediction


@dataclass(frozen=True)
class TileDone:
    """A tile of a section has been predicted.

    Attributes
    ----------
    done, total : int
        Tiles predicted so far, and tiles in all, of this section.
    section : int
        Index of the section in its stack; 0 for a single section.
    """

    done: int
    total: int
    section: int = 0


@dataclass(frozen=True)
class SectionDone:
    """A section of a stack is finished.

    Attributes
    ----------
    section : int
        Index of the section in its stack.
    prediction : Prediction
        What the network says about it.
    """

    section: int
    prediction: Prediction


@dataclass(frozen=True)
class FileTile:
    """A tile of a file has been predicted.

    Attributes
    ----------
    job : FileJob
        The file.
    section, sections : int
        Index of the section, and sections in the file.
    done, total : int
        Tiles done, and tiles in all, of the section.
    """

    job: FileJob
    section: int
    sections: int
    done: int
    total: int


@dataclass(frozen=True)
class FileDone:
    """The outputs of a file are written.

    Attributes
    ----------
    job : FileJob
        The file.
    seconds : float
        How long it took.
    device : str
        What it was computed on.
    messages : tuple of str
        Sentences that the user should read.
    sized : bool
        Whether its pixel size is known.
    """

    job: FileJob
    seconds: float
    device: str
    messages: tuple[str, ...]
    sized: bool = True


@dataclass(frozen=True)
class FileFailed:
    """A file could not be segmented; nothing was written for it, and the next one follows.

    Attributes
    ----------
    job : FileJob
        The file.
    error : InputError
        What is wrong with it.
    """

    job: FileJob
    error: InputError
