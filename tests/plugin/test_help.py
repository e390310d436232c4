"""The help window shows the pages of the documentation, with their pictures and links."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QUrl
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QWidget

from napari_feedback_seg.plugin.contributions.help import PAGES, HelpWindow, page

IMAGE = QTextDocument.ResourceType.ImageResource.value


@pytest.fixture
def window(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    window = HelpWindow(parent)
    yield window
    window.close()


@pytest.mark.parametrize("tab", PAGES)
def test_each_tab_has_its_page(tab, window):
    window.show_page(tab)
    first = page(tab).read_text(encoding="utf-8").splitlines()[0]
    assert window.toPlainText().startswith(first.removeprefix("# "))


def test_a_link_opens_the_other_page(window):
    window.show_page("Correct")
    window.setSource(window.source().resolved(QUrl("../explanation/strokes.md")))
    assert window.toPlainText().startswith("How strokes feed back")


def test_a_picture_is_no_wider_than_the_window(window):
    window.show_page("Correct")
    picture = window.loadResource(IMAGE, QUrl("../images/correct-before.jpg"))
    assert 100 < picture.width() <= window.viewport().width()


def test_a_picture_that_is_not_installed_leaves_no_mark(window):
    window.show_page("Correct")
    assert window.loadResource(IMAGE, QUrl("../images/gone.jpg")).width() == 1
