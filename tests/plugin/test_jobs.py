from __future__ import annotations

import gc
import weakref

import pytest

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.events import TileDone
from napari_feedback_seg.plugin.session.jobs import Jobs


@pytest.fixture
def jobs(viewer):
    jobs = Jobs()
    yield jobs
    jobs.cleanup()


def wait(qtbot, jobs):
    qtbot.waitUntil(lambda: not jobs.busy, timeout=10_000)


class Work:
    """A generator of steps that notes how it ended."""

    def __init__(self, steps=3, error=None, endless=False):
        self.steps, self.error, self.endless = steps, error, endless
        self.closed = False
        self.asked = 0

    def __call__(self):
        try:
            step = 0
            while self.endless or step < self.steps:
                step += 1
                self.asked += 1
                yield TileDone(min(step, self.steps), self.steps)
            if self.error:
                raise self.error
            return "result"
        finally:
            self.closed = True


def test_events_come_in_order_and_the_result_last(qtbot, jobs):
    found, work = [], Work()
    with qtbot.waitSignal(jobs.ended, timeout=10_000):
        assert jobs.run(work, title="Counting", on_event=found.append, on_done=found.append)
    assert found == [TileDone(1, 3), TileDone(2, 3), TileDone(3, 3), "result"]
    assert work.closed


def test_progress_counts_to_the_total(qtbot, jobs):
    found = []
    jobs.progressed.connect(lambda done, total, left: found.append((done, total, left)))
    jobs.run(Work(4), title="Counting")
    wait(qtbot, jobs)
    assert [each[:2] for each in found] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found[0][2] < 0  # nothing is known yet
    assert found[-1][2] == 0


@pytest.mark.parametrize(
    "error", [InputError("The image is upside down."), RuntimeError("out of memory"), KeyError("x")], ids=repr
)
def test_an_error_is_shown_and_ends_the_job(qtbot, jobs, said, error):
    failed, work = [], Work(error=error)
    jobs.run(work, title="Counting", on_failed=failed.append, on_done=failed.append)
    wait(qtbot, jobs)
    assert failed == [error]
    assert str(error) in said()
    assert work.closed


def test_cancel_closes_the_generator(qtbot, jobs, said):
    found, work = [], Work(endless=True)
    jobs.run(work, title="Counting", on_done=found.append, on_stopped=lambda: found.append("stopped"))
    qtbot.waitUntil(lambda: work.asked > 5)
    jobs.cancel()
    wait(qtbot, jobs)
    assert found == ["stopped"]
    assert work.closed
    assert "Counting: cancelled." in said()


def test_the_activity_dock_cancels(qtbot, jobs, monkeypatch):
    from napari.utils import cancelable_progress

    made = []
    first = cancelable_progress.__init__

    def note(self, *args, **kwargs):
        first(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(cancelable_progress, "__init__", note)
    work = Work(endless=True)
    jobs.run(work, title="Counting")
    qtbot.waitUntil(lambda: work.asked > 5)
    made[0].cancel()  # what the button in the activity dock does
    wait(qtbot, jobs)
    assert work.closed


def test_a_second_job_is_refused_with_a_sentence(qtbot, jobs, said):
    work, second = Work(endless=True), Work()
    jobs.run(work, title="The first")
    assert not jobs.run(second, title="The second")
    assert "The first is still running" in said()
    assert second.asked == 0
    jobs.cancel()
    wait(qtbot, jobs)
    assert jobs.run(second, title="The second")
    wait(qtbot, jobs)
    assert second.closed


def test_a_job_may_start_the_next(qtbot, jobs):
    found = []
    jobs.run(
        Work(),
        title="One",
        on_done=lambda _: jobs.run(Work(), title="Two", on_done=found.append),
    )
    qtbot.waitUntil(lambda: found == ["result"], timeout=10_000)
    wait(qtbot, jobs)


def test_cleanup_in_the_middle_ends_the_work_and_calls_nobody(qtbot, jobs):
    found, work = [], Work(endless=True)
    jobs.run(work, title="Counting", on_done=found.append, on_stopped=lambda: found.append("stopped"))
    qtbot.waitUntil(lambda: work.asked > 5)
    jobs.cleanup()
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
