from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_feedback_seg.plugin.layers.results import probability_layers
from napari_feedback_seg.plugin.session.versions import Version


@pytest.fixture
def result(session, viewer, segment, section):
    """A result with probabilities."""
    viewer.add_image(section, name="cells")
    session.segmenting.set(probabilities=True)
    return segment()


@pytest.mark.parametrize("packed", [True, False])
def test_a_version_that_is_shown_and_hidden_again_leaves_all_as_it_was(session, viewer, result, packed):
    labels, record = result.data.copy(), session.layers.record_of(result)
    probabilities = [each.data.copy() for each in probability_layers(viewer, result)]
    version = Version(replace(record, runs=()))
    version.keep(0, np.ones_like(labels), None)
    if not packed:
        version.put(0, np.ones_like(labels))
    version.swap(session.layers, result)
    assert (result.data == 1).all()
    assert session.layers.record_of(result).runs == ()
    version.swap(session.layers, result)
    np.testing.assert_array_equal(result.data, labels)
    assert session.layers.record_of(result) == record
    for each, before in zip(probability_layers(viewer, result), probabilities, strict=True):
        np.testing.assert_array_equal(each.data, before)


def test_only_what_was_there_first_is_kept():
    version = Version()
    for label in (1, 2):
        version.keep(3, np.full((4, 5), label, np.uint8), None)
    assert version.sections == [3]
    assert (version.plane(3) == 1).all()
    version.drop(3)
    assert version.sections == []


def test_a_run_that_is_undone_takes_its_probabilities_along(session, viewer, result):
    assert all(each.data.any() for each in probability_layers(viewer, result))
    session.last_run.undo()
    assert not any(each.data.any() for each in probability_layers(viewer, result))


def test_the_first_run_that_is_undone_leaves_nothing_and_says_so(session, viewer, result):
    labels = result.data.copy()
    session.last_run.undo()
    assert not result.data.any()
    assert probability_layers(viewer, result) == []
    assert session.status == "The result of the last run is gone: there was none before."
    session.last_run.undo()
    np.testing.assert_array_equal(result.data, labels)
    assert session.status == "The result of the last run is back."
