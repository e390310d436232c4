"""What fails a test that leaves something behind."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
from napari.components import ViewerModel

from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.session import Session
from napari_feedback_seg.plugin.worker import QtRunner


def test_a_thread_is_found(left_over):
    assert left_over() == []
    stop = Event()
    thread = Thread(target=stop.wait, name="left")
    thread.start()
    assert left_over() == ["left"]
    stop.set()
    thread.join()
    assert left_over() == []


def test_who_listens_to_a_viewer_is_found(listeners, models_folder, qtbot):
    viewer, runner = ViewerModel(), QtRunner()
    viewer.add_labels(np.zeros((8, 9), np.uint8))
    assert listeners(viewer) == set()
    session = Session(ViewerLayers(viewer, runner.later), runner)
    assert listeners(viewer) == {"ViewerLayers", "Painting"}
    session.instant.set_picking(True)
    assert listeners(viewer) == {"ViewerLayers", "Painting", "Pointing"}
    qtbot.wait(1)
    session.rest()
    assert listeners(viewer) == {"ViewerLayers", "Painting"}
    session.cleanup()
    assert listeners(viewer) == set()


def test_a_job_is_found_and_who_listens_to_a_session(left_over, models_folder, qtbot):
    viewer, runner = ViewerModel(), QtRunner()
    session = Session(ViewerLayers(viewer, runner.later), runner)
    assert left_over() == []
    heard = []
    session.changed.connect(heard.append)
    assert left_over() == ["a session has a job, or somebody listens to it"]
    session.changed.disconnect(heard.append)
    assert left_over() == []
    stop = Event()

    def work():
        yield
        stop.wait()

    session.jobs.run(work, title="Waiting")
    assert session.jobs.busy
    stop.set()
    assert left_over() == ["a session has a job, or somebody listens to it"]  # not heard yet
    qtbot.waitUntil(lambda: not session.jobs.busy)
    assert left_over() == []
    session.cleanup()
