"""The pages of the documentation, in a window of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QImage, QTextDocument
from qtpy.QtWidgets import QTextBrowser, QWidget

import napari_feedback_seg

PAGES = {
    "Segment": "get-started.md",
    "Correct": "how-to/correct.md",
    "Objects": "how-to/objects.md",
    "Attention": "how-to/attention-maps.md",
}
_MARGIN = 32  # a picture in a list stands that far in, and a little more


def page(tab: str) -> Path:
    """Return the page about a tab: in an installed package, or in the folder that it is developed in."""
    package = Path(napari_feedback_seg.__file__).parent
    installed = package / "docs" / PAGES[tab]
    return installed if installed.is_file() else package.parents[1] / "docs" / PAGES[tab]


class HelpWindow(QTextBrowser):
    """Shows the page about a tab. Its links open other pages; Alt+Left goes back."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowFlag(Qt.WindowType.Window)
        self.setOpenExternalLinks(True)
        self.resize(720, 640)

    def show_page(self, tab: str) -> None:
        """Show the page about a tab."""
        self.setWindowTitle(f"Help: {tab}")
        self.setSource(QUrl.fromLocalFile(str(page(tab))), QTextDocument.ResourceType.MarkdownResource)
        self.show()
        self.raise_()

    def loadResource(self, kind: int, name: QUrl) -> Any:
        """Return a picture no wider than the window, and nothing for one that is not installed."""
        if kind != QTextDocument.ResourceType.ImageResource.value:
            return super().loadResource(kind, name)
        picture = QImage(self.source().resolved(name).toLocalFile())
        if picture.isNull():
            picture = QImage(1, 1, QImage.Format.Format_ARGB32)
            picture.fill(Qt.GlobalColor.transparent)
        width = self.viewport().width() - 2 * _MARGIN
        smooth = Qt.TransformationMode.SmoothTransformation
        return picture.scaledToWidth(width, smooth) if picture.width() > width else picture
