"""The result as it counts: what a person corrected, and elsewhere what the model says; composed when read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import UNLABELLED

if TYPE_CHECKING:
    from collections.abc import Collection


def composed(
    result: np.ndarray,
    corrections: np.ndarray | None,
    values: Collection[int] | None = None,
    whole: np.ndarray | None = None,
) -> np.ndarray:
    """Return a section of a result with its corrections.

    All are (Y, X); a section in which nothing was segmented stays empty. A correction counts where it is no
    0, and one of the values if these are given. Not to be written to: without corrections it is ``result``.
    ``whole`` is the section of which these are parts, if they are.
    """
    if corrections is None or not corrections.any():
        return result
    if not (result if whole is None else whole).any():
        return result
    corrected = corrections != UNLABELLED
    if values is not None:
        corrected &= np.isin(corrections, list(values))
    return np.where(corrected, corrections, result).astype(result.dtype, copy=False)


@dataclass(frozen=True)
class Composed:
    """A result with its corrections as an array that composes a section when it is read."""

    result: Any  # (Y, X) or (Z, Y, X) labels, and corrections of the same shape, or none
    corrections: Any = None
    values: Collection[int] | None = None  # values of the classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        return tuple(int(length) for length in self.result.shape)

    @property
    def ndim(self) -> int:
        """Number of axes, 2 or 3."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return np.dtype(self.result.dtype)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def __getitem__(self, place: Any) -> np.ndarray:
        """Return section ``z`` of a stack, (Y, X), or a part: sections, rows and columns as slices."""
        if self.corrections is None and isinstance(place, tuple):
            return np.asarray(self.result[place])  # of a lazy array no more is read
        if self.ndim == 2:
            if not isinstance(place, tuple):
                raise IndexError(f"Only a stack has sections, and this has the shape {self.shape}.")
            return self._compose(self.result, self.corrections, place)
        if not isinstance(place, tuple):
            return self._section(place)
        sections, *part = place
        return np.stack([self._section(z, tuple(part)) for z in range(*sections.indices(len(self)))])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all of it."""
        if self.ndim == 3:
            whole = np.stack([self[z] for z in range(len(self))]) if len(self) else np.asarray(self.result)
        else:
            whole = self._compose(self.result, self.corrections)
        return np.array(whole, dtype=dtype)  # a copy: what is read from it does not change under the reader

    def _section(self, z: int, part: Any = ...) -> np.ndarray:
        return self._compose(self.result[z], None if self.corrections is None else self.corrections[z], part)

    def _compose(self, result: Any, corrections: Any, part: Any = ...) -> np.ndarray:
        whole = np.asarray(result)
        corrected = None if corrections is None else np.asarray(corrections)[part]
        return composed(whole[part], corrected, self.values, whole)
