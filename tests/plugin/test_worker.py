"""Jobs in a thread, as the dock runs them."""

from __future__ import annotations

import gc
import threading
import weakref
from threading import Event

import pytest

from napari_feedback_seg.plugin import garbage
from napari_feedback_seg.plugin.session.jobs import Jobs
from napari_feedback_seg.plugin.worker import QtRunner
from napari_feedback_seg.segmentation.events import TileDone


@pytest.fixture
def jobs(viewer):
    jobs = Jobs(QtRunner())
    yield jobs
    jobs.cleanup()


def wait(qtbot, jobs):
    qtbot.waitUntil(lambda: not jobs.busy, timeout=10_000)


class Work:
    """Steps without end."""

    closed, asked = False, 0

    def __call__(self):
        try:
            while True:
                self.asked += 1
                yield TileDone(1, 3)
        finally:
            self.closed = True


def test_events_come_in_order_and_the_result_last(qtbot, jobs):
    def work():
        for step in range(1, 200):
            yield TileDone(step, 199)
        return "result"

    found = []
    jobs.run(work, title="Counting", on_event=found.append, on_done=found.append)
    wait(qtbot, jobs)
    assert found == [*(TileDone(step, 199) for step in range(1, 200)), "result"]


def test_an_error_of_torch_is_told_too(qtbot, jobs):
    def work():
        yield TileDone(1, 2)
        raise RuntimeError("out of memory")

    failed = []
    jobs.run(work, title="Counting", on_failed=failed.append)
    wait(qtbot, jobs)
    assert str(failed[0]) == "out of memory"


@pytest.fixture
def bars(monkeypatch):
    """The progress bars of napari that were made."""
    from napari.utils import cancelable_progress

    made = []
    first = cancelable_progress.__init__

    def note(self, *args, **kwargs):
        first(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(cancelable_progress, "__init__", note)
    return made


def test_napari_is_not_drawn_anew_all_the_time(qtbot, jobs, bars):
    jobs.run(lambda: (event for event in ()), title="Counting")
    wait(qtbot, jobs)
    assert not bars


def test_the_activity_dock_cancels(qtbot, viewer, bars):
    jobs, work, found = Jobs(QtRunner(), bar=True), Work(), []
    jobs.run(work, title="Counting", on_stopped=lambda: found.append("stopped"))
    qtbot.waitUntil(lambda: work.asked > 5)
    bars[0].cancel()  # what the button in the activity dock does
    wait(qtbot, jobs)
    assert work.closed
    assert found == ["stopped"]


def test_cleanup_in_the_middle_ends_the_work_and_calls_nobody(qtbot, jobs):
    found, work = [], Work()
    jobs.run(work, title="Counting", on_done=found.append, on_stopped=lambda: found.append("stopped"))
    qtbot.waitUntil(lambda: work.asked > 5)
    jobs.cleanup()
    qtbot.waitUntil(lambda: work.closed, timeout=10_000)
    qtbot.wait(50)
    assert found == []


def test_what_the_work_held_is_free_afterwards(qtbot, jobs):
    class Big:
        pass

    held = []

    def work():
        big = Big()
        held.append(weakref.ref(big))
        yield TileDone(1, 2)
        yield TileDone(2, 2)
        del big

    jobs.run(work, title="Holding")
    wait(qtbot, jobs)
    gc.collect()
    assert held[0]() is None


class _Circle:
    """Garbage that only a search finds, with a last will that says in which thread it is carried out."""

    def __init__(self, threads):
        self.itself = self
        weakref.finalize(self, lambda: threads.append(threading.get_ident()))


def test_garbage_is_collected_on_the_gui_thread_while_a_job_runs(qtbot, jobs, monkeypatch):
    monkeypatch.setattr(garbage, "EVERY_MS", 20)
    threads, stop = [], Event()

    def work():
        assert not gc.isenabled()
        while not stop.wait(0.001):
            _Circle(threads)
            yield TileDone(1, 2)

    gc.enable()
    try:
        jobs.run(work, title="Littering")
        qtbot.waitUntil(lambda: len(threads) > 1000, timeout=10_000)
        stop.set()
        wait(qtbot, jobs)
        qtbot.waitUntil(gc.isenabled, timeout=10_000)
    finally:
        gc.disable()
    assert set(threads) == {threading.get_ident()}


def test_garbage_stays_uncollected_where_it_was(qtbot, jobs, monkeypatch):
    monkeypatch.setattr(garbage, "EVERY_MS", 20)
    assert not gc.isenabled()  # during each test of the plugin
    jobs.run(lambda: iter([TileDone(1, 1)]), title="Counting")
    wait(qtbot, jobs)
    qtbot.wait(100)
    assert not gc.isenabled()
