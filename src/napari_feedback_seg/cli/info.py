"""``feedback-seg info``."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from rich.markup import escape

from napari_feedback_seg import __version__
from napari_feedback_seg.terminal import network_name, out, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = "napari-feedback-seg"
_BESIDE = ("napari", "npe2", "magicgui", "qtpy", "PySide6", "PyQt6", "PyQt5", "vispy")
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NAPARI_ASYNC", "OMP_NUM_THREADS", "QT_API", "QT_QPA_PLATFORM")
_PREFERENCES = """
import json
from napari_feedback_seg.plugin.contributions.settings import read_settings
found = read_settings()
print(json.dumps({"device": found.device, "overlap": found.overlap, "own": found.models_folder is not None}))
"""


def info() -> None:
    """Print versions, devices, models and settings, for a report of a problem; no names of your files."""
    with reporting():
        for title, lines in (
            ("System", _system()),
            ("Devices", _devices()),
            ("Models", _models()),
            ("Settings", _settings()),
            ("Packages", _packages()),
        ):
            out.print(f"[bold]{title}[/bold]")
            for line in lines:
                out.print(f"  {escape(line)}", soft_wrap=True)


def _system() -> Iterator[str]:
    yield f"{_PACKAGE} {__version__}"
    yield f"Python {platform.python_version()} ({platform.python_implementation()})"
    yield platform.platform()


def _devices() -> Iterator[str]:
    import torch

    from napari_feedback_seg.segmentation.device import choose_device, describe_device, inference_dtype

    chosen = choose_device()
    yield f"{describe_device(torch.device('cpu'))}, {torch.backends.cpu.get_cpu_capability()}"
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} {about.name}, {about.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps Apple GPU"
    yield f"auto is {chosen.type}, computing in {str(inference_dtype(chosen, 'auto')).removeprefix('torch.')}"


def _models() -> Iterator[str]:
    """Yield the bundled models by name, and the user's own without: a name may say what nobody may know."""
    from napari_feedback_seg.models.library import list_models

    own = [entry for entry in list_models() if not entry.bundled]
    for entry in list_models():
        if entry.bundled:
            what = network_name(entry.card.spec.to_json()) if entry.card else "cannot be read"
            yield f"{entry.name}: {what}"
    damaged = sum(entry.card is None for entry in own)
    yield f"own: {len(own)}" + (f", of which {damaged} cannot be read" if damaged else "")


def _settings() -> Iterator[str]:
    from napari_feedback_seg.models.library import FOLDER_VARIABLE

    page = _preferences()
    if page is not None:
        yield f"napari: device {page['device']}, overlap {page['overlap']:g}"
    own = FOLDER_VARIABLE in os.environ or (page is not None and page["own"])
    yield f"models folder: {'chosen by the user' if own else 'the usual one'}"
    for name in _VARIABLES:
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


def _preferences() -> dict[str, object] | None:
    """Return what is set in napari's Preferences, which a process of its own reads; None without napari."""
    try:
        metadata.version("napari")
        done = subprocess.run(
            [sys.executable, "-c", _PREFERENCES], capture_output=True, text=True, timeout=60, check=True
        )
        found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    except (metadata.PackageNotFoundError, OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return found


def _packages() -> Iterator[str]:
    """Yield the version of each package that this one asks for, and of napari's."""
    required = metadata.requires(_PACKAGE) or []
    wanted = {
        found[0]
        for line in required
        if "'test'" not in line and '"test"' not in line
        if (found := re.match(r"[\w.-]+", line))
    }
    for name in sorted({*wanted, *_BESIDE} - {_PACKAGE}, key=str.lower):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
