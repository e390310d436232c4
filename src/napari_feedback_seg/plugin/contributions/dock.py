"""The one dock: tabs Segment, Correct, Objects and Attention over one shared state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QSize
from qtpy.QtWidgets import QFrame, QScrollArea, QTabWidget, QToolButton, QWidget

from napari_feedback_seg.plugin.attention.tab import AttentionTab
from napari_feedback_seg.plugin.contributions.help import HelpWindow
from napari_feedback_seg.plugin.contributions.hint import Hint
from napari_feedback_seg.plugin.contributions.sessions import session_of
from napari_feedback_seg.plugin.contributions.settings import apply_settings, unwatch_settings, watch_settings
from napari_feedback_seg.plugin.correct.tab import CorrectTab
from napari_feedback_seg.plugin.forms.row import column
from napari_feedback_seg.plugin.forms.tab_order import order_tabs
from napari_feedback_seg.plugin.objects.tab import ObjectsTab
from napari_feedback_seg.plugin.segment.pixel_size import PixelSizeLine
from napari_feedback_seg.plugin.segment.tab import SegmentTab

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtGui import QHideEvent, QResizeEvent

PLUGIN, NAME = "napari-feedback-seg", "Feedback segmentation"


class FeedbackDock(QWidget):
    """The dock, as the Plugins menu opens it."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # Some ways of opening hand in a proxy, whose layers are new objects at every look.
        self.session = session_of(getattr(napari_viewer, "__wrapped__", napari_viewer))
        self.session.said.connect(self._say)
        watch_settings(self._on_settings)
        self._on_settings()
        self.hint = Hint()
        self.pixel_size = PixelSizeLine(self.session)
        self.tabs = QTabWidget()
        help_button = QToolButton()
        help_button.setText("?")
        help_button.setToolTip("Open the page about this tab (F1)")
        help_button.setShortcut("F1")
        help_button.clicked.connect(self.show_help)
        self.help = HelpWindow(self)
        self.tabs.setCornerWidget(help_button)
        self.segment_tab = SegmentTab(self.session)
        self.correct_tab = CorrectTab(self.session)
        self.objects_tab = ObjectsTab(self.session)
        self.attention_tab = AttentionTab(self.session)
        for name, tab in (
            ("Segment", self.segment_tab),
            ("Correct", self.correct_tab),
            ("Objects", self.objects_tab),
            ("Attention", self.attention_tab),
        ):
            self.tabs.addTab(_scrolling(tab), name)
        column(self, self.hint, self.pixel_size, self.tabs)
        self.setMinimumWidth(260)
        self.session.changed.connect(self._order_tabs)
        self._order_tabs("model")
        self.destroyed.connect(self.session.rest)

    def sizeHint(self) -> QSize:
        """Return a width that leaves the image most of a small screen."""
        return QSize(360, 640)

    def show_tab(self, name: str) -> None:
        """Bring a tab to the front: ``segment``, ``correct``, ``objects`` or ``attention``."""
        for index in range(self.tabs.count()):
            if self.tabs.tabText(index).lower() == name:
                self.tabs.setCurrentIndex(index)

    def _order_tabs(self, part: str) -> None:
        if part in ("model", "result"):  # for which widgets are made and removed
            for tab in (self.segment_tab, self.correct_tab, self.objects_tab, self.attention_tab):
                order_tabs(tab)

    def show_help(self) -> None:
        """Open the page about the tab in front."""
        self.help.show_page(self.tabs.tabText(self.tabs.currentIndex()))

    def event(self, event: QEvent | None) -> bool:
        """Clean up when the dock is closed: then Qt takes the parent away."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.cleanup()
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Leave a low dock to its tabs."""
        super().resizeEvent(event)
        self.hint.make_room(self.height())

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Save what was painted: the window may be about to close."""
        self.session.correcting.journal.flush()
        super().hideEvent(event)

    def cleanup(self) -> None:
        """End the job and let go of the viewer; may be called again."""
        unwatch_settings(self._on_settings)
        self.session.rest()

    def _on_settings(self, _: Any = None) -> None:
        settings = apply_settings()
        self.session.apply(settings)
        for message in settings.messages:
            show_warning(message)

    def _say(self, text: str, level: str) -> None:
        {"info": show_info, "warning": show_warning, "error": show_error}[level](text)


def open_segment(viewer: Viewer) -> None:
    """Open the dock, or raise the one that is there, with the tab Segment."""
    _open(viewer, "segment")


def open_correct(viewer: Viewer) -> None:
    """Open the dock, or raise the one that is there, with the tab Correct."""
    _open(viewer, "correct")


def open_objects(viewer: Viewer) -> None:
    """Open the dock, or raise the one that is there, with the tab Objects."""
    _open(viewer, "objects")


def open_attention(viewer: Viewer) -> None:
    """Open the dock, or raise the one that is there, with the tab Attention."""
    _open(viewer, "attention")


def _open(viewer: Viewer, tab: str) -> None:
    dock_widget, dock = viewer.window.add_plugin_dock_widget(PLUGIN, NAME)
    dock_widget.show()
    dock_widget.raise_()
    dock.show_tab(tab)


def _scrolling(tab: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidget(tab)
    return area
