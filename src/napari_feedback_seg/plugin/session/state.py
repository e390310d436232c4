"""The session under its earlier name."""

from __future__ import annotations

from napari_feedback_seg.plugin.session.session import Session as DockState

__all__ = ["DockState"]
