"""What a person has set on this plugin's page in napari's Preferences.

napari 0.9 and later make the page from ``configurations`` in the manifest, keep its values
in a file of their own, check them, and hand them out by public
``napari.settings.get_plugin_settings``. In an older napari there is no page, and the
defaults hold.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.models.library import use_models_folder
from napari_feedback_seg.plugin.session.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = "napari-feedback-seg"


def apply_settings() -> Settings:
    """Return the settings, and have the library of models use their folder."""
    settings = read_settings()
    use_models_folder(settings.models_folder)
    return settings


def read_settings() -> Settings:
    """Return the settings as they are now."""
    page = _page()
    if page is None:
        return Settings()
    folder, message = _checked_folder(page.models_folder)
    return Settings(page.device, page.overlap, folder, (message,) if message else ())


def watch_settings(callback: Callable[[Any], None]) -> None:
    """Call a bound method with an event at each change in Preferences, at each letter typed too."""
    page = _page()
    if page is not None:
        page.events.connect(callback)


def unwatch_settings(callback: Callable[[Any], None]) -> None:
    """Do not call it any more; may be called again."""
    page = _page()
    if page is not None:
        page.events.disconnect(callback)


def _page() -> Any:
    """Return napari's model of the page, or None where napari has none."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(PLUGIN).segmentation
    except (ImportError, KeyError):  # an older napari; the plugin is not registered or disabled
        return None


def _checked_folder(text: str) -> tuple[Path | None, str]:
    """Return the folder that was typed in, or None and what is wrong with it."""
    if not text.strip():
        return None, ""
    path = Path(os.path.expanduser(text.strip()))
    if not path.is_absolute():
        wrong = "is no full path"
    elif os.path.exists(path) and not os.path.isdir(path):  # Path's raise for odd names
        wrong = "is no folder"
    else:
        return path, ""
    return None, f"The models folder '{path}' {wrong}: correct it in Preferences. The usual one is taken."
