from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_feedback_seg.plugin.attention.matrix import MatrixTable
from napari_feedback_seg.plugin.attention.tab import AttentionTab
from napari_feedback_seg.plugin.session.attention.view import View

LONG = 60_000  # ms; a busy machine is slow


@pytest.fixture
def session(dock):
    return dock.session


@pytest.fixture
def tab(dock):
    dock.show_tab("attention")
    return dock.attention_tab


@pytest.fixture
def answer(qtbot, session):
    """Wait until what was asked for is shown, or refused."""

    def answer() -> None:
        qtbot.waitUntil(lambda: not session.jobs.busy, timeout=LONG)

    return answer


@pytest.mark.window
class TestMouse:
    @pytest.fixture
    def canvas(self, viewer, tab, section, qtbot):
        """The widget that napari draws in, and the image below it."""
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        viewer.show()
        viewer.window.resize(1000, 700)
        window = next(each for each in QApplication.topLevelWidgets() if each.windowTitle() == "napari")
        drawn = [
            each for each in window.findChildren(QWidget) if type(each).__name__ == "CanvasBackendDesktop"
        ]
        size = None
        while size != drawn[0].size():  # on a busy machine it takes a while to be what it will be
            size = drawn[0].size()
            qtbot.wait(100)
        viewer.reset_view()
        qtbot.wait(100)
        return drawn[0], image

    def test_click_and_drag_follow_the_mouse_and_do_not_pan(
        self, viewer, session, tab, canvas, answer, press, qtbot
    ):
        widget, _ = canvas
        camera = viewer.scene.camera
        centre, zoom = camera.center, camera.zoom
        middle = QPoint(widget.width() // 2, widget.height() // 2)
        press(tab.pick_button)
        answer()
        qtbot.mouseMove(widget, middle)
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
        answer()
        first = session.attention.found.pixel
        at = np.array(centre[-2:]) / 4.6
        assert abs(first.y - at[0]) <= 2
        assert abs(first.x - at[1]) <= 2
        wanted = round(60 / zoom / 4.6)
        for step in (20, 40):
            _move(widget, middle + QPoint(step, 0))
            answer()

        def followed() -> bool:
            _move(widget, middle + QPoint(60, 0))  # again: napari drops moves that come too fast
            return abs(session.attention.found.pixel.x - first.x - wanted) <= 2

        qtbot.waitUntil(followed, timeout=LONG)
        answer()
        assert session.attention.found.pixel.y == first.y
        qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=middle + QPoint(60, 0))
        assert camera.center == pytest.approx(centre)
        assert camera.mouse_pan

    def test_switched_off_the_mouse_is_napari_s(self, viewer, session, tab, canvas, answer, press, qtbot):
        widget, _ = canvas
        middle = QPoint(widget.width() // 2, widget.height() // 2)
        press(tab.pick_button)
        answer()
        press(tab.pick_button)
        assert not session.attention.picking
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
        qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=middle)
        assert session.attention.found is None

    def test_pick_takes_the_brush_out_of_the_hand(
        self, viewer, session, dock, tab, canvas, answer, press, qtbot
    ):
        widget, _ = canvas
        corrections = dock.session.correcting
        corrections.paint_with(3)
        painted = corrections.corrections.layer
        assert painted.mode == "paint"
        press(tab.pick_button)
        answer()
        _click(qtbot, widget)
        answer()
        assert not np.any(painted.data)
        assert "cells attention" in viewer.layers
        assert viewer.layers.selection.active == painted

    def test_a_brush_that_is_taken_up_ends_picking(
        self, viewer, session, dock, tab, canvas, answer, press, qtbot
    ):
        widget, _ = canvas
        press(tab.pick_button)
        answer()
        dock.session.correcting.paint_with(3)
        assert not tab.pick_button.isChecked()
        _click(qtbot, widget)
        answer()
        assert "cells attention" not in viewer.layers
        assert np.any(dock.session.correcting.corrections.layer.data == 3)


class TestTab:
    def test_what_is_picked_and_chosen_is_shown(self, viewer, session, tab, answer, press, qtbot, section):
        """One walk through the tab; what each step does is tested with the session."""
        image = viewer.add_image(section, name="cells")
        truth = viewer.add_labels(np.ones_like(section), name="by hand", visible=False)
        viewer.layers.selection.active = image
        assert "Switch Pick on" in tab.found.text()
        press(tab.pick_button)
        answer()
        session.attention.pick(image.data_to_world((30, 20)))
        answer()
        found = session.attention.found
        assert f"<b>{found.pixel.label_class.name}</b> at row 30, column 20" in tab.found.text()
        for each in found.pixel.strongest:
            assert f"{each.times:.1f} x" in tab.found.text()
            assert f"{each.label_class.name} at {each.y}, {each.x}" in tab.found.text()
        assert "16 x 16 places of 4 x 4 pixels" in tab.found.text()
        assert "1 is as much as the average place" in tab.meaning.text()
        assert not tab.class_box.isVisibleTo(tab)
        tab.form.widgets["view"].native.setCurrentText(View.CLASS.value)
        answer()
        assert session.attention.options.label == tab.class_box.currentData()
        assert tab.class_box.isVisibleTo(tab)
        assert tab.matrix.isVisibleTo(tab)
        assert tab.matrix.rowCount() == 4
        tab.class_box.setCurrentIndex(1)
        tab.class_box.activated.emit(1)
        assert session.attention.options.label == tab.class_box.itemData(1)
        tab.form.widgets["view"].native.setCurrentText(View.CHANGED.value)
        assert not tab.matrix.isVisibleTo(tab)
        assert "to right" not in tab.counts.text()
        tab.truth_box.native.setCurrentText("by hand")
        assert session.attention.truth == truth
        assert "to right" in tab.counts.text()
        press(tab.hide_button)
        assert not viewer.layers["cells attention"].visible
        press(tab.clear_button)
        assert list(viewer.layers) == [image, truth]
        assert "Switch Pick on" in tab.found.text()
        assert not tab.hide_button.isChecked()
        assert not tab.clear_button.isEnabled()

    def test_cancel(self, viewer, session, tab, answer, press, section):
        image = viewer.add_image(section, name="cells")
        session.attention.pick(image.data_to_world((30, 20)))
        assert tab.progress.isVisibleTo(tab)
        press(tab.cancel_button)
        answer()
        assert tab.status.text() == "Cancelled."
        assert not tab.progress.isVisibleTo(tab)

    def test_unet_has_no_attention_and_the_tab_says_why(self, session, tab):
        session.model_name = "unet-w16"
        assert "The model unet-w16 looks at the image once" in tab.about.text()
        assert not tab.pick_button.isEnabled()
        session.model_name = "small"
        assert tab.pick_button.isEnabled()
        assert tab.about.isHidden()

    @pytest.mark.window
    def test_tab_that_is_opened_later_shows_what_there_is(self, viewer, session, tab, answer, section):
        image = viewer.add_image(section, name="cells")
        session.attention.pick(image.data_to_world((30, 20)))
        answer()
        later = AttentionTab(session)
        viewer.window.add_dock_widget(later, name="Later")
        assert later.found.text() == tab.found.text() != ""

    @pytest.mark.window
    def test_dock_closed_while_it_computes(self, viewer, session, dock, section, qtbot):
        image = viewer.add_image(section, name="cells")
        session.attention.pick(image.data_to_world((30, 20)))
        dock.cleanup()
        qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=LONG)
        QApplication.processEvents()
        assert "cells attention" not in viewer.layers


def test_matrix_says_in_words_what_a_cell_means(qtbot, small_model):
    table = MatrixTable()
    qtbot.addWidget(table)
    matrix = np.full((4, 4), 0.5)
    matrix[1, 2] = 3.25
    matrix[3] = np.nan
    table.show_matrix(matrix, small_model.card.classes)
    assert table.item(1, 2).text() == "3.2"
    assert table.item(1, 2).toolTip() == (
        "mitochondria looks at synapse 3.25 times as much as at the average place"
    )
    assert table.item(3, 0).toolTip() == "There is no cytoplasm or no membrane in this tile."
    lightness = [table.item(*at).background().color().lightness() for at in ((0, 0), (1, 2))]
    assert lightness[0] < lightness[1]
    assert [table.verticalHeaderItem(row).text() for row in range(4)] == [
        each.name for each in small_model.card.classes
    ]


def _click(qtbot, widget):
    qtbot.mouseMove(widget, widget.rect().center())
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())


def _move(widget, position, held=True):
    """Move the mouse with the left button held, as qtbot cannot."""
    QApplication.sendEvent(widget, _mouse(widget, position, QEvent.Type.MouseMove, held))


def _mouse(widget, position, kind, held=False):
    button = Qt.MouseButton.LeftButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.NoButton
    return QMouseEvent(
        kind,
        QPointF(position),
        QPointF(widget.mapToGlobal(position)),
        button,
        Qt.MouseButton.LeftButton if held else Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )


@pytest.mark.window
def test_a_deleted_layer_leaves_no_vertices_behind(viewer, dock):
    """Otherwise OpenGL could read them when the next layer is drawn, which ends the process."""
    from vispy.gloo import get_current_canvas, gl

    layer = viewer.add_points(np.zeros((1, 2)))
    get_current_canvas().set_current()
    gl.glEnableVertexAttribArray(5)
    assert gl.glGetVertexAttrib(5, gl.GL_VERTEX_ATTRIB_ARRAY_ENABLED) == 1
    viewer.layers.remove(layer)
    assert gl.glGetVertexAttrib(5, gl.GL_VERTEX_ATTRIB_ARRAY_ENABLED) == 0
    gl.glDisableVertexAttribArray(5)
