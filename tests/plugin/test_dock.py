from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from types import GeneratorType

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from npe2 import PluginManifest
from qtpy.QtCore import QCoreApplication, QEvent, QThreadPool
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QTabBar, QTableView

import napari_feedback_seg
from napari_feedback_seg.plugin.contributions.dock import (
    FeedbackDock,
    open_attention,
    open_correct,
    open_segment,
)
from napari_feedback_seg.plugin.layers.image import UNFINISHED_KEY

PLUGIN, NAME = "napari-feedback-seg", "Feedback segmentation"


@pytest.fixture
def viewer(make_napari_viewer, plugin_settings, npe2pm, models_folder):
    manifest = PluginManifest.from_file(Path(napari_feedback_seg.__file__).with_name("napari.yaml"))
    with npe2pm.tmp_plugin(manifest=manifest):
        yield make_napari_viewer()


def docks(viewer):
    return [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, FeedbackDock)]


def destroy_what_is_deleted():
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()
    gc.collect()


def close_by_x(viewer, dock):
    dock.parent().destroyOnClose()  # what the x of its title bar calls
    destroy_what_is_deleted()


class TestOpening:
    def test_the_menus_open_one_dock_on_their_tab(self, viewer):
        for command, tab in (
            (open_segment, "Segment"),
            (open_correct, "Correct"),
            (open_attention, "Attention"),
        ):
            command(viewer)
            (dock,) = docks(viewer)
            assert dock.tabs.tabText(dock.tabs.currentIndex()) == tab

    def test_a_hidden_dock_is_shown_again(self, viewer):
        open_segment(viewer)
        (dock,) = docks(viewer)
        dock.parent().hide()
        open_correct(viewer)
        assert docks(viewer) == [dock]
        assert not dock.parent().isHidden()

    def test_after_the_x_a_new_one_opens(self, viewer):
        open_segment(viewer)
        close_by_x(viewer, docks(viewer)[0])
        assert docks(viewer) == []
        open_segment(viewer)
        assert len(docks(viewer)) == 1

    def test_it_fits_a_small_screen(self, viewer):
        open_segment(viewer)
        (dock,) = docks(viewer)
        assert dock.minimumSizeHint().width() <= 400
        assert dock.minimumSizeHint().height() <= 500

    def test_every_control_is_reached_by_keyboard(self, viewer):
        from qtpy.QtCore import Qt

        open_segment(viewer)
        dock = docks(viewer)[0]
        kinds = (QAbstractButton, QComboBox, QAbstractSpinBox)
        found = [each for kind in kinds for each in dock.findChildren(kind)]
        # Qt's own: the arrows of a row of tabs, and the corner of a table, which Ctrl+A stands for.
        controls = [each for each in found if not isinstance(each.parent(), (QTabBar, QTableView))]
        assert len(controls) > 40
        assert not [
            (type(each).__name__, type(each.parent()).__name__, each.toolTip())
            for each in controls
            if not each.focusPolicy() & Qt.FocusPolicy.TabFocus
        ]


@pytest.fixture
def running(viewer, qtbot, section):
    """A dock in the middle of a segmentation. It is not handed out: a fixture would hold it."""
    viewer.add_image(np.tile(section, (20, 8, 8)), name="large")
    open_segment(viewer)
    (dock,) = docks(viewer)
    dock.session.model_name = "small"
    tab = dock.segment_tab
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    tab.segment()
    qtbot.waitUntil(lambda: tab.progress.maximum() > 0 and tab.progress.value() > 0, timeout=60_000)


def nothing_runs():
    """Return whether no thread works, and no generator of the engine waits to be closed."""
    alive = [
        each for each in gc.get_objects() if type(each) is GeneratorType and each.__name__ == "segment_stack"
    ]
    return QThreadPool.globalInstance().activeThreadCount() == 0 and not any(each.gi_frame for each in alive)


@pytest.mark.usefixtures("running")
class TestEnding:
    def test_hidden_it_goes_on(self, viewer, qtbot):
        (dock,) = docks(viewer)
        dock.parent().hide()
        qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60_000)
        assert dock.session.jobs.busy
        dock.session.jobs.cancel()
        qtbot.waitUntil(lambda: not dock.session.jobs.busy, timeout=60_000)

    def test_closed_by_x_the_work_ends(self, viewer, qtbot):
        close_by_x(viewer, docks(viewer)[0])
        qtbot.waitUntil(nothing_runs, timeout=60_000)
        assert viewer.layers["large"] is not None

    def test_closed_viewer_ends_the_work(self, viewer, qtbot):
        viewer.close()
        qtbot.waitUntil(nothing_runs, timeout=60_000)

    def test_a_closed_dock_listens_no_more(self, viewer, section):
        state = docks(viewer)[0].session
        close_by_x(viewer, docks(viewer)[0])
        viewer.add_image(section)  # would raise in a dead dock
        viewer.layers.clear()
        assert state.image is None


def test_after_its_jobs_nothing_holds_the_closed_dock(viewer, section, qtbot, tmp_path):
    viewer.add_image(section)
    open_segment(viewer)
    (dock,) = docks(viewer)
    dock.session.model_name = "small"
    dock.segment_tab.segment()
    qtbot.waitUntil(lambda state=dock.session: not state.jobs.busy, timeout=60_000)
    dock.segment_tab.measure_panel.measure()
    qtbot.waitUntil(lambda state=dock.session: not state.jobs.busy, timeout=60_000)
    assert dock.segment_tab.export_button.export_to(tmp_path / "exported")
    qtbot.waitUntil(lambda state=dock.session: not state.jobs.busy, timeout=60_000)
    alive = [weakref.ref(dock), weakref.ref(dock.correct_tab), weakref.ref(dock.segment_tab)]
    close_by_x(viewer, dock)
    del dock
    destroy_what_is_deleted()
    assert [each() for each in alive] == [None, None, None]


@pytest.mark.slow
def test_open_and_close_again_and_again_leave_nothing(viewer, section):
    viewer.add_image(section)
    alive = []
    for _ in range(12):
        open_segment(viewer)
        (dock,) = docks(viewer)
        alive += [weakref.ref(dock), weakref.ref(dock.correct_tab), weakref.ref(dock.segment_tab)]
        close_by_x(viewer, dock)
        del dock
    destroy_what_is_deleted()
    assert sum(each() is not None for each in alive) == 0


def test_a_dock_that_is_opened_again_finds_the_session_as_it_was(viewer, section):
    viewer.add_image(section, name="one")
    two = viewer.add_image(section, name="two")
    open_segment(viewer)
    (dock,) = docks(viewer)
    session = dock.session
    session.image = viewer.layers["one"]
    session.model_name = "small"
    session.segmenting.set(overlap=0.5)
    close_by_x(viewer, dock)
    del dock
    open_segment(viewer)
    (dock,) = docks(viewer)
    assert dock.session is session
    assert dock.segment_tab.image_box.current_choice == "one"
    assert dock.segment_tab.options_form.widgets["overlap"].value == 0.5
    assert dock.segment_tab.models.chooser.currentText() == "small"
    session.image = two
    assert dock.segment_tab.image_box.current_choice == "two"


def test_a_session_goes_with_its_viewer(models_folder):
    from napari.components import ViewerModel

    from napari_feedback_seg.plugin.contributions.sessions import session_of

    def make():
        viewer = ViewerModel()
        viewer.add_image(np.zeros((8, 8)))
        assert session_of(viewer) is session_of(viewer)
        return weakref.ref(session_of(viewer))

    held = make()
    gc.collect()
    assert held() is None


def test_opening_the_dock_imports_neither_torch_nor_monai():
    code = (
        "import sys, napari_feedback_seg.plugin.contributions.dock; "
        "print(sorted({'torch', 'monai'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip().endswith("[]")


def test_a_dock_of_a_proxy_is_of_the_viewer_that_it_stands_for(make_napari_viewer, models_folder, section):
    one = make_napari_viewer()
    make_napari_viewer()  # the current one now
    dock = FeedbackDock(PublicOnlyProxy(one))
    assert dock.session.layers.viewer is one
    dock.cleanup()


def test_what_was_painted_last_is_saved_when_the_viewer_is_closed(viewer, section, models_folder):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, NAME)
    viewer.show()
    viewer.add_image(section, name="cells")
    correcting = dock.session.correcting
    correcting.paint_with(2)
    correcting.corrections.layer.data[20:30, 20:30] = 2
    kept = correcting.journal.draft
    assert kept.saved == []
    viewer.close()
    assert kept.load_section(0)[20:30, 20:30].all()


def test_an_image_that_is_complete_later_is_turned_to(viewer, section):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, NAME)
    first = viewer.add_image(section, name="first")
    sample = viewer.add_image(section, name="loading", metadata={UNFINISHED_KEY: True})
    QApplication.processEvents()
    assert dock.session.image == first
    sample.metadata = {}
    sample.name = "sample"
    assert dock.session.image == sample


def test_a_dock_is_of_its_own_viewer(make_napari_viewer, models_folder, section):
    one, two = make_napari_viewer(), make_napari_viewer()
    dock = FeedbackDock(one)
    one.add_image(section, name="in one")
    assert dock.session.image == one.layers["in one"]
    two.add_image(section, name="in two")
    assert dock.session.image == one.layers["in one"]
    dock.cleanup()
