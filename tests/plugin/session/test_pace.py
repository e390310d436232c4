from __future__ import annotations

import pytest

from napari_feedback_seg.plugin.session.pace import Pace


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


def test_steps_of_one_batch_count_as_one():
    pace = Pace()
    pace.begin(0.0)
    found = [
        pace.seconds_left(8 * batch + k, 80, 2.0 * (batch + 1) + k / 1000)
        for batch in range(3)
        for k in range(1, 9)
    ]
    assert found[7] == pytest.approx(18, rel=0.01)  # after the first batch of ten, of 2 s each
    assert found[15] == pytest.approx(16, rel=0.01)
    assert found[16] == pytest.approx(16, rel=0.2)  # in the middle of a batch, too


def test_what_comes_before_the_first_step_does_not_count():
    pace = Pace()
    assert pace.seconds_left(1, 10, 100.0) < 0
    assert pace.seconds_left(2, 10, 101.0) == pytest.approx(8)
