"""The button that exports the result at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_feedback_seg.plugin.session.segment.exporting import export_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_feedback_seg.plugin.session.session import Session


class ExportButton(QPushButton):
    """Asks for a folder, and exports the result at hand to a new one in it.

    Parameters
    ----------
    session : Session
        The session.
    least : callable
        Returns the least size of a profile in the table.
    """

    def __init__(self, session: Session, least: Callable[[], float | None]) -> None:
        super().__init__("Export...")
        self._session, self._least = session, least
        self.setToolTip(
            "<qt>Write labels, probabilities, objects, tables and a record of the run into a new folder</qt>"
        )
        self.clicked.connect(self._ask_for_folder)
        session.changed.connect(self._draw)
        self._draw("result")

    def export_to(self, folder: str | Path) -> bool:
        """Export the result to a new folder in ``folder``; return whether that has begun."""
        return export_result(self._session, folder, self._least(), self._say)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to a new folder in")
        if folder:
            self.export_to(folder)

    def _say(self, run: Path) -> None:
        sentence = f"Exported to {run.parent}. Open {run.name} in napari to have the layers again."
        show_info(sentence)
        self._session.note(sentence)

    def _draw(self, part: str) -> None:
        if part in ("image", "result", "job"):
            self.setEnabled(self._session.result_at_hand is not None and not self._session.jobs.busy)
