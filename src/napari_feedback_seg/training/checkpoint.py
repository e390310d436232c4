"""Checkpoints of a training: atomic, and read without unpickling anything but tensors."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, Protocol

import torch

from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.io import replacing
from napari_feedback_seg.training.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Stateful(Protocol):
    """Anything with a state: network, average, optimiser, schedule."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state: Any) -> Any:
        """Take the state."""


def save_checkpoint(
    path: Path, config: TrainConfig, parts: Mapping[str, Stateful], progress: dict[str, Any]
) -> None:
    """Write the state of ``parts`` and of torch's random numbers, whole or not at all.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = {
        "config": config.to_json(),
        "progress": progress,
        "random": torch.get_rng_state(),
        **{name: part.state_dict() for name, part in parts.items()},
    }
    write_state(path, content)


def write_state(path: Path, content: Any) -> None:
    """Write what torch can save, whole or not at all; a full disk is told as such, unlike by torch.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path, overwrite=True, beside=False) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds.

    Raises
    ------
    TrainingError
        If the file is missing, cut short or no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint {path}; start without --resume.") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged or no checkpoint of a training; start in another folder."
        ) from error
    if not isinstance(content, dict) or not {"config", "progress", "random"} <= set(content):
        raise TrainingError(f"{path} is no checkpoint of a training.")
    return content


def load_checkpoint(path: Path, config: TrainConfig, parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """Give ``parts`` and torch their states back; return the progress.

    Raises
    ------
    TrainingError
        If the checkpoint cannot be read or is of another training.
    """
    content = read_checkpoint(path)
    try:
        saved, asked = TrainConfig.from_json(content["config"]).to_json(), config.to_json()
    except (KeyError, TypeError) as error:
        raise TrainingError(f"{path} is of another version of napari-feedback-seg ({error}).") from error
    other = [name for name in asked if saved[name] != asked[name]]
    if other:
        raise TrainingError(
            f"{path} was trained with another {', '.join(other)}; use the same or start anew."
        )
    missing = [name for name in parts if name not in content]
    if missing:
        raise TrainingError(
            f"{path} lacks the state of the {', '.join(missing)}: it is no checkpoint to go on from."
        )
    for name, part in parts.items():
        part.load_state_dict(content[name])
    torch.set_rng_state(content["random"])
    progress: dict[str, Any] = content["progress"]
    return progress
