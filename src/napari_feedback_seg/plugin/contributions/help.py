"""The pages of the documentation, in a window of their own."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTextBrowser, QWidget

import napari_feedback_seg

PAGES = {
    "Segment": "get-started.md",
    "Correct": "how-to/correct.md",
    "Objects": "how-to/objects.md",
    "Attention": "how-to/attention-maps.md",
}


def page(tab: str) -> Path:
    """Return the page about a tab: in an installed package, or in the folder that it is developed in."""
    package = Path(napari_feedback_seg.__file__).parent
    installed = package / "docs" / PAGES[tab]
    return installed if installed.is_file() else package.parents[1] / "docs" / PAGES[tab]


class HelpWindow(QTextBrowser):
    """Shows the page about a tab."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowFlag(Qt.WindowType.Window)
        self.setOpenExternalLinks(True)
        self.resize(720, 640)

    def show_page(self, tab: str) -> None:
        """Show the page about a tab."""
        path = page(tab)
        self.setSearchPaths([str(path.parent)])
        self.setWindowTitle(f"Help: {tab}")
        self.setMarkdown(path.read_text(encoding="utf-8"))
        self.show()
        self.raise_()
