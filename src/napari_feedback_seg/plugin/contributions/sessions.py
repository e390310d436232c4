"""The one session of each viewer."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_feedback_seg.plugin.contributions.settings import apply_settings
from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.session import Session
from napari_feedback_seg.plugin.worker import QtRunner

if TYPE_CHECKING:
    from napari.viewer import Viewer

# napari hides this one of its colours by what does not hold beside a thread that computes.
warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)

_SESSIONS: WeakKeyDictionary[Viewer, Session] = WeakKeyDictionary()


def session_of(viewer: Viewer) -> Session:
    """Return the session of a viewer, which is made at the first call and lives as long as the viewer."""
    session = _SESSIONS.get(viewer)
    if session is None:
        runner = QtRunner()
        session = _SESSIONS[viewer] = Session(ViewerLayers(viewer, runner.later), runner, apply_settings())
    return session


def refresh_models(chosen: str) -> None:
    """Have every session look for models again, and take this one."""
    for session in list(_SESSIONS.values()):
        session.refresh_models(chosen)
