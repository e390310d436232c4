"""The state of a fine-tune in a file, so that one that was cut off can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_feedback_seg.segmentation.lazy import Plane, take_sample
from napari_feedback_seg.training.checkpoint import write_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import Model

logger = logging.getLogger(__name__)


class FinetuneCheckpoint:
    """Keeps the state of each phase of one fine-tune in a file.

    Parameters
    ----------
    path : Path
        The file. One of another fine-tune, or that cannot be read, is replaced.
    digest : str
        Tells this fine-tune from others.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self._digest = path, digest
        self._phases: dict[str, Any] | None = None

    def load(self, phase: str) -> Any:
        """Return the state of a phase, or None; tensors are on the CPU, and nothing else is unpickled."""
        if self._phases is None:
            self._phases = self._read()
        return self._phases.get(phase)

    def save(self, phase: str, state: Any) -> None:
        """Write the state of a phase beside those of the others, whole or not at all.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        self.load(phase)
        assert self._phases is not None
        self._phases[phase] = state
        write_state(self._path, {"digest": self._digest, "phases": self._phases})

    def _read(self) -> dict[str, Any]:
        try:
            content = torch.load(self._path, map_location="cpu", weights_only=True)
            if content["digest"] == self._digest:
                phases: dict[str, Any] = content["phases"]
                return phases
        except FileNotFoundError:
            pass
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
            logger.warning("%s cannot be read: the fine-tune begins anew.", self._path)
        return {}


def digest_of(model: Model, sections: Sequence[CorrectedSection], config: FinetuneConfig) -> str:
    """Return the SHA-256 of weights, sections, corrections and settings."""
    found = hashlib.sha256(json.dumps(config.to_json()).encode())
    for name, each in model.network.state_dict().items():
        found.update(name.encode())
        found.update(each.cpu().contiguous().numpy().tobytes())
    for section in sections:
        found.update(f"{section.index} {section.image.shape} {section.pixel_size_nm}".encode())
        found.update(np.ascontiguousarray(section.labels).data)
        image = section.image  # of one that is too large to be read, the sample of its statistics
        read = [each for each, _ in take_sample(image).blocks] if isinstance(image, Plane) else [image]
        for pixels in read:
            found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()
