from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_feedback_seg.plugin.layers.results import ResultWriter
from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.jobs import Failed, Returned
from napari_feedback_seg.plugin.session.records import RunRecord
from napari_feedback_seg.plugin.session.session import Session
from napari_feedback_seg.segmentation.prediction import Prediction


class Stepped:
    """A generator that goes on when a test says so."""

    def __init__(self, runner, work, on_event, on_end):
        self.runner, self.events, self.on_event, self.on_end = runner, work(), on_event, on_end
        self.stopped, self.over, self.shown = False, False, []

    def stop(self):
        self.stopped = True

    def show(self, done, total):
        self.shown.append((done, total))

    def step(self):
        """Do what is done up to the next event; return whether there was one."""
        outcome = None
        if not self.stopped:
            self.runner.in_thread = True
            try:
                event = next(self.events)
            except StopIteration as stop:
                self.runner.in_thread, outcome = False, Returned(stop.value)
            except Exception as error:  # noqa: BLE001
                self.runner.in_thread, outcome = False, Failed(error)
            else:
                self.runner.in_thread = False
                self.on_event(event)
                return True
        self.events.close()
        self.over = True
        self.on_end(outcome)
        return False


class Runner:
    """Runs generators in the test's own thread, step by step."""

    def __init__(self):
        self.started, self.waiting = [], []
        self.in_thread = False  # whether what runs now would run off the GUI thread

    def start(self, work, title, on_event, on_end):
        self.started.append(Stepped(self, work, on_event, on_end))
        return self.started[-1]

    def later(self, call):
        self.waiting.append(call)

    @property
    def running(self):
        return [each for each in self.started if not each.over]

    def step(self, count=1):
        """Take steps of what runs."""
        for _ in range(count):
            self.running[0].step()

    def finish(self):
        """Run everything to its end, and what is to be done later, too."""
        while self.running or self.waiting:
            for call in self.waiting[:]:
                self.waiting.remove(call)
                call()
            if self.running:
                self.step()


@pytest.fixture
def runner():
    return Runner()


@pytest.fixture
def viewer(listeners):
    viewer = ViewerModel()
    yield viewer
    assert not listeners(viewer)


@pytest.fixture
def session(viewer, runner, models_folder):
    """A session without a window, whose model is ``small``."""
    session = Session(ViewerLayers(viewer, runner.later), runner)
    session.model_name = "small"
    session.device = "cpu"
    yield session
    session.cleanup()


@pytest.fixture
def said(session):
    """What the session tells the user, as it comes."""
    texts = []
    session.said.connect(lambda text, _: texts.append(text))
    return lambda: "\n".join(texts)


@pytest.fixture
def segment(session, runner):
    """Segment and wait; return the result layer."""

    def segment(*arguments, **options):
        session.segmenting.segment(*arguments, **options)
        runner.finish()
        return session.result

    return segment


@pytest.fixture
def paint():
    """Paint a square on a layer, as the brush does: it is told before it is written."""

    def paint(layer, value, *corner, side=6):
        rows, columns = np.mgrid[corner[-2] : corner[-2] + side, corner[-1] : corner[-1] + side]
        places = [*(np.full(rows.size, z) for z in corner[:-2]), rows.ravel(), columns.ravel()]
        layer.data_setitem(tuple(places), value)

    return paint


@pytest.fixture
def stroke(session, runner, paint):
    """Choose a class, paint a square with it, and let the session hear of it; return the layer."""

    def stroke(value, *corner, side=6):
        session.correcting.paint_with(value)
        layer = session.correcting.corrections.layer
        paint(layer, value, *corner, side=side)
        runner.finish()
        return layer

    return stroke


@pytest.fixture
def add_result(viewer, session):
    """Show labels as what a model says of the image of the session; return the layer."""

    def add_result(labels, model="small", sections=None):
        planes = labels if labels.ndim == 3 else [labels]
        whole = (slice(0, labels.shape[-2]), slice(0, labels.shape[-1]))
        record = RunRecord(model)
        writer = ResultWriter(viewer, session.image, labels.shape, session.card.classes, record)
        for z in range(len(planes)) if sections is None else sections:
            writer.write(z, Prediction(planes[z], None, None, whole, "cpu", ()))
        session.tell("result")
        return session.result

    return add_result
