from __future__ import annotations

import pytest

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.session.jobs import Jobs, Pace, State
from napari_feedback_seg.segmentation.events import TileDone


@pytest.fixture
def jobs(runner):
    return Jobs(runner)


@pytest.fixture
def said(jobs):
    texts = []
    jobs.said.connect(lambda text, _: texts.append(text))
    return texts


class Work:
    """A generator of steps that notes how it ended."""

    def __init__(self, steps=3, error=None):
        self.steps, self.error, self.closed, self.asked = steps, error, False, 0

    def __call__(self):
        try:
            for step in range(1, self.steps + 1):
                self.asked += 1
                yield TileDone(step, self.steps)
            if self.error:
                raise self.error
            return "result"
        finally:
            self.closed = True


def test_events_come_in_order_and_the_result_last(runner, jobs):
    found, work = [], Work()
    jobs.ended.connect(lambda: found.append("ended"))
    assert jobs.run(work, title="Counting", on_event=found.append, on_done=found.append)
    runner.finish()
    assert found == [TileDone(1, 3), TileDone(2, 3), TileDone(3, 3), "result", "ended"]
    assert work.closed


def test_its_state_is_that_of_the_controller_whose_job_it_is(runner, jobs):
    mine, other = object(), object()
    assert jobs.state_of(mine) is State.IDLE
    jobs.run(Work(), title="Counting", owner=mine)
    assert jobs.state_of(mine) is State.LOADING
    runner.step()
    assert (jobs.state_of(mine), jobs.state_of(other)) == (State.RUNNING, State.IDLE)
    jobs.cancel()
    assert jobs.state is State.CANCELLING
    runner.finish()
    assert jobs.state is State.IDLE


def test_progress_counts_to_the_total(runner, jobs):
    found = []
    jobs.progressed.connect(lambda done, total, left: found.append((done, total, left)))
    jobs.run(Work(4), title="Counting")
    runner.finish()
    assert [each[:2] for each in found] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found[0][2] < 0  # nothing is known yet


@pytest.mark.parametrize(
    "error", [InputError("The image is upside down."), RuntimeError("out of memory"), KeyError("x")], ids=repr
)
def test_an_error_is_said_and_ends_the_job(runner, jobs, said, error):
    failed, work = [], Work(error=error)
    jobs.run(work, title="Counting", on_failed=failed.append, on_done=failed.append)
    runner.finish()
    assert failed == [error]
    assert str(error) in "\n".join(said)
    assert not jobs.busy


def test_what_cannot_be_shown_ends_the_job_with_a_sentence(runner, jobs, said):
    def fail(_):
        raise InputError("It cannot be shown.")

    work = Work(20)
    jobs.run(work, title="Showing", on_event=fail)
    runner.finish()
    assert work.asked == 1
    assert said == ["It cannot be shown."]


def test_cancel_closes_the_generator(runner, jobs, said):
    found, work = [], Work(20)
    jobs.run(work, title="Counting", on_done=found.append, on_stopped=lambda: found.append("stopped"))
    runner.step(5)
    jobs.cancel()
    runner.finish()
    assert found == ["stopped"]
    assert (work.closed, work.asked) == (True, 5)
    assert said == ["Counting: cancelled."]


def test_a_second_job_is_refused_with_a_sentence(runner, jobs, said):
    second = Work()
    jobs.run(Work(), title="The first")
    assert not jobs.run(second, title="The second")
    assert "The first is still running" in said[0]
    assert second.asked == 0
    runner.finish()
    assert jobs.run(second, title="The second")


def test_a_job_that_starts_another_is_never_idle_in_between(runner, jobs):
    busy, ended, second = [], [], Work()
    for signal in (jobs.started, jobs.ended):
        signal.connect(lambda *_: busy.append((jobs.busy, jobs.state)))
    jobs.ended.connect(lambda: ended.append(jobs.title))

    def go_on(_):
        busy.append((jobs.busy, jobs.state))
        jobs.run(second, title="Two")

    jobs.run(Work(), title="One", on_done=go_on)
    runner.step(5)
    assert [each for each, _ in busy] == [True, True, True]
    assert State.IDLE not in [state for _, state in busy]
    assert ended == []
    jobs.cancel()  # it is the second that is cancelled
    runner.finish()
    assert second.asked == 1
    assert ended == ["Two"]


def test_cleanup_in_the_middle_ends_the_work_and_calls_nobody(runner, jobs):
    found, work = [], Work(20)
    jobs.run(work, title="Counting", on_done=found.append, on_stopped=lambda: found.append("stopped"))
    runner.step(5)
    jobs.cleanup()
    jobs.cleanup()
    runner.finish()
    assert work.closed
    assert found == []


def test_a_slow_beginning_fades_away():
    pace, now = Pace(), 0.0
    pace.begin(now)
    found = []
    for step in range(1, 101):
        now += 5.0 if step <= 2 else 0.5  # the first calls of a network are slow
        found.append(pace.seconds_left(step, 100, now))
    truth = [0.5 * (100 - step) for step in range(1, 101)]
    for done in (10, 20, 50, 90):
        assert found[done - 1] == pytest.approx(truth[done - 1], rel=0.25)


@pytest.mark.parametrize("apart", [0.001, 0.03], ids=["idle", "busy"])
def test_steps_of_one_batch_count_as_one(apart):
    pace = Pace()
    pace.begin(0.0)
    found = [
        pace.seconds_left(8 * batch + k, 80, 2.0 * (batch + 1) + k * apart)
        for batch in range(3)
        for k in range(1, 9)
    ]
    assert found[7] == pytest.approx(9 * (2 + apart), rel=0.01)  # after the first batch of ten, of 2 s each
    assert found[15] == pytest.approx(8 * (2 + apart), rel=0.01)
    assert found[16] == pytest.approx(16, rel=0.2)  # in the middle of a batch, too


def test_the_time_left_is_never_none_while_work_is_left(runner, jobs, monkeypatch):
    now = iter((0.0, 1.0, 1.1, 2.0, 2.1))
    monkeypatch.setattr("napari_feedback_seg.plugin.session.jobs.time.monotonic", lambda: next(now))

    def work():
        yield "the model is loaded"
        for done in range(1, 5):
            yield TileDone(done, 4)
            if done == 2:
                yield "a section is done"

    found = []
    jobs.progressed.connect(lambda *_: found.append(jobs.in_words))
    jobs.run(work, title="Counting")
    runner.finish()
    assert found == [
        "Counting: 25 %, about 3 s left",
        "Counting: 50 %, about 1 s left",
        "Counting: 75 %, about 1 s left",
        "Counting: 100 %",
    ]


def test_another_count_begins_anew():
    pace = Pace()
    pace.begin(0.0)
    for step in range(1, 11):
        pace.seconds_left(step, 10, float(step))
    assert pace.seconds_left(1, 10, 15.0) == pytest.approx(45)


def test_what_comes_before_the_first_step_does_not_count():
    pace = Pace()
    assert pace.seconds_left(1, 10, 100.0) < 0
    assert pace.seconds_left(2, 10, 101.0) == pytest.approx(8)
