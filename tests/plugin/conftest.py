from __future__ import annotations

import gc
import shutil
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QThreadPool

from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.plugin.session.session import Session

PACKAGE = "napari_feedback_seg"
OF_A_SESSION = {"ViewerLayers", "Painting", "ObjectLayers"}  # which lives as long as the viewer
LONG = 60_000  # ms; a busy machine is slow


@pytest.fixture
def models_folder(tmp_path, monkeypatch, small_model_file):
    """A models folder with the model ``small``, whose tiles are 64 px."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(small_model_file, folder)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def viewer(request, plugin_settings, npe2pm, listeners):
    """napari's viewer; with its window, which takes most of a second, where ``window`` is marked."""
    if request.node.get_closest_marker("window") is None:
        viewer = ViewerModel()
        yield viewer
        assert listeners(viewer) <= OF_A_SESSION
        return
    with npe2pm.tmp_plugin(package="napari"):  # which reads and writes the common files
        yield request.getfixturevalue("make_napari_viewer")()


@pytest.fixture
def dock(viewer, models_folder, qtbot):
    from napari_feedback_seg.plugin.contributions.dock import FeedbackDock

    dock = FeedbackDock(viewer)
    dock.session.model_name = "small"
    if hasattr(viewer, "window"):
        viewer.window.add_dock_widget(dock, name="Feedback segmentation")
        yield dock
    else:
        qtbot.addWidget(dock)
        yield dock
        dock.cleanup()


@pytest.fixture
def tab(dock):
    return dock.segment_tab


@pytest.fixture
def section():
    """Something to see, (96, 80) uint8."""
    rows, columns = np.mgrid[:96, :80]
    waves = np.sin(rows / 7) + np.cos(columns / 5) + 0.3 * np.random.default_rng(0).standard_normal((96, 80))
    return np.uint8(np.clip(127 + 50 * waves, 0, 255))


@pytest.fixture
def said():
    """What the viewer tells the user, as it comes."""
    notification_manager.records.clear()

    def texts() -> str:
        return "\n".join(record.message for record in notification_manager.records)

    return texts


@pytest.fixture
def press(qtbot):
    def press(button) -> None:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return press


@pytest.fixture
def finish(qtbot):
    """Wait for the dock's job to end."""

    def finish(dock) -> None:
        qtbot.waitUntil(lambda: not dock.session.jobs.busy, timeout=LONG)

    return finish


@pytest.fixture
def segment(dock, tab, press, finish):
    """Press Segment and wait; return the result layer."""

    def segment():
        press(tab.segment_button)
        finish(dock)
        return dock.session.result

    return segment


@pytest.fixture
def left_over():
    """Name what is left since this was asked for: jobs, threads, and whoever listens to a session."""
    threads = set(threading.enumerate())

    def left_over(*, sessions=True):
        pool = QThreadPool.globalInstance()
        workers = [] if pool.waitForDone(LONG) else ["a worker still runs"]
        left = [each.name for each in threading.enumerate() if each not in threads and not each.daemon]
        left = [name for name in left if not name.startswith("ThreadPoolExecutor")]  # dask keeps its pool
        if sessions:
            gc.collect()
        used = ["a session has a job, or somebody listens to it"] if sessions and _in_use() else []
        return [*workers, *left, *used]

    return left_over


@pytest.fixture
def listeners():
    """Name the classes and functions of this package that listen to a viewer or to its layers."""

    def listeners(viewer):
        scene, layers = getattr(viewer, "scene", viewer), viewer.layers
        callbacks = []
        for each in (viewer, viewer.dims, scene.camera, layers, layers.selection, *layers):
            callbacks += getattr(each, "mouse_drag_callbacks", ())
            for emitter in each.events.emitters.values():
                # of a method, napari keeps a reference to the object and the name
                callbacks += [
                    getattr(call[0](), call[1], None) if isinstance(call, tuple) else call
                    for call in emitter.callbacks
                ]
        ours = [call for call in callbacks if getattr(call, "__module__", "").startswith(PACKAGE)]
        return {call.__qualname__.split(".")[0] for call in ours}

    return listeners


@pytest.fixture(autouse=True)
def _no_garbage_is_collected_in_threads():
    """Collect none during a test, but between tests, on the GUI thread.

    pytest-qt leaves connected timers as garbage. PySide takes Qt's lock to delete one in a thread, and then
    waits for Python's lock; the GUI thread, which makes the next timer, has that and waits for Qt's.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def _no_leaks(request, left_over):
    """Fail a test that leaves something; a viewer that is left fails it, too, by napari's own fixture."""
    yield
    sessions = bool({"viewer", "make_napari_viewer"} & set(request.fixturenames))
    assert not left_over(sessions=sessions)
    if sessions:
        gc.freeze()  # what is there now stays: later searches for garbage pass over it


def _in_use():
    sessions = [each for each in gc.get_objects() if type(each) is Session]
    return [each for each in sessions if each.jobs.busy or len(each.changed) or len(each.said)]
