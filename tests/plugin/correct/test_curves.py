from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.plugin.correct.curves import Curves
from napari_feedback_seg.plugin.session.correct.fine_tuning import Losses


@pytest.fixture
def curves(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    return curves


def drawn(curves):
    """The losses that are drawn, as shares of the highest, by curve."""
    return [item.getData() for item in curves.curves]


def test_both_losses_are_drawn_and_named(curves):
    curves.show_losses(Losses([(1, 2.0), (2, 1.5), (3, 1.0)], [(3, 0.5)], total=10))
    (steps, training), (at, held_out) = drawn(curves)
    assert (steps.tolist(), training.tolist()) == ([1, 2, 3], [1, 0.75, 0.5])
    assert (at.tolist(), held_out.tolist()) == ([3], [1])
    assert "training loss 1.00" in curves.legend.text()
    assert "held-out loss 0.50" in curves.legend.text()


def test_parts_are_not_joined(curves):
    curves.show_losses(Losses([(1, 1.0), (2, 1.0), (11, 1.0), (12, 1.0)], breaks=[2], total=20))
    steps, losses = drawn(curves)[0]
    assert np.isnan(losses[steps == 2.5])
    assert np.isfinite(losses[np.isin(steps, [1, 2, 11, 12])]).all()


def test_without_held_out_corrections_it_says_so(curves):
    curves.show_losses(Losses(held_out=[(1, 0.25)], is_held_out=False))
    assert "loss on all corrections 0.25" in curves.legend.text()
    curves.show_losses(Losses())
    assert "held-out loss" in curves.legend.text()
