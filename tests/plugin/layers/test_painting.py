from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_feedback_seg.plugin.layers.painting import Painting, move_stroke


class Later(list):
    """Calls that wait for their turn."""

    def __call__(self, call) -> None:
        self.append(call)

    def turn(self) -> None:
        calls, self[:] = self[:], []
        for call in calls:
            call()


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def result(viewer):
    return viewer.add_labels(np.full((3, 40, 30), 1, np.uint8), name="result")


@pytest.fixture
def corrections(viewer):
    return viewer.add_labels(np.zeros((3, 40, 30), np.uint8), name="corrections")


@pytest.fixture
def heard(viewer, result, corrections, later):
    """What a watch tells, as it comes."""
    painting, told = Painting(lambda: viewer, later), []
    painting.painted.connect(lambda layer, stroke: told.append((layer, stroke)))
    painting.redrawn.connect(lambda layer: told.append((layer, "redrawn")))
    painting.replaced.connect(lambda layer: told.append((layer, "replaced")))
    painting.watch([result, corrections])
    yield told
    painting.watch([])


def brush(layer, *point, value=2, size=5):
    layer.brush_size = size
    layer.paint(point, value)


class TestPainting:
    def test_a_stroke_is_told_of_once_it_is_written(self, corrections, heard, later):
        corrections.data_setitem(tuple(np.array([each]) for each in (1, 5, 6)), 3)
        assert not heard
        later.turn()
        ((layer, stroke),) = heard
        assert (layer, stroke.sections) == (corrections, {1})
        assert corrections.data[1, 5, 6] == 3

    def test_one_across_the_sections_is_on_all_of_them(self, viewer, corrections, heard, later):
        viewer.dims.order = (1, 0, 2)
        corrections.n_edit_dimensions = 3
        later.turn()
        heard.clear()
        brush(corrections, 1, 20, 20)
        later.turn()
        assert heard[0][1].sections == {0, 1, 2}

    def test_of_a_single_section_it_is_section_0(self, viewer, later):
        layer = viewer.add_labels(np.zeros((40, 30), np.uint8))
        painting, sections = Painting(lambda: viewer, later), []
        painting.watch([layer])
        painting.painted.connect(lambda _, stroke: sections.append(stroke.sections))
        brush(layer, 20, 20)
        later.turn()
        assert sections == [{0}]

    @pytest.mark.parametrize("tool", ["brush", "fill", "polygon", "index"])
    def test_a_stroke_knows_its_pixels(self, viewer, corrections, heard, later, tool):
        viewer.dims.set_point(0, 1)
        before = corrections.data.copy()
        if tool == "brush":
            brush(corrections, 1, 20, 15)
        elif tool == "fill":
            corrections.fill((1, 3, 3), 4)
        elif tool == "polygon":
            corrections.paint_polygon([(1, 3, 3), (1, 3, 20), (1, 30, 20)], 2)
        else:
            corrections.data_setitem((np.array([1, 1]), np.array([4, 5]), np.array([2, 2])), 2)
        later.turn()
        again = before.copy()
        for part in heard[0][1].parts:
            np.testing.assert_array_equal(before[part.index], part.before)
            again[part.index] = part.after
        assert again.any()
        np.testing.assert_array_equal(again, corrections.data)

    def test_of_an_undo_only_that_something_was_drawn(self, viewer, corrections, heard, later):
        brush(corrections, 0, 20, 20)
        later.turn()
        heard.clear()
        corrections.undo()
        corrections.undo()
        later.turn()
        assert heard == [(corrections, "redrawn")]

    def test_nothing_of_the_slider(self, viewer, heard, later):
        viewer.dims.set_point(0, 2)
        later.turn()
        assert not heard

    def test_other_data(self, corrections, heard):
        corrections.data = np.ones((3, 40, 30), np.uint8)
        assert (corrections, "replaced") in heard

    def test_it_can_be_told_of_at_once(self, viewer, corrections, later):
        painting, told = Painting(lambda: viewer, later), []
        painting.watch([corrections])
        painting.painted.connect(lambda layer, _: told.append(layer))
        brush(corrections, 0, 20, 20)
        painting.tell()
        assert told == [corrections]
        later.turn()
        assert told == [corrections]

    def test_a_layer_that_is_watched_no_more_is_not_heard(self, viewer, result, corrections, later):
        painting, told = Painting(lambda: viewer, later), []
        painting.painted.connect(lambda layer, _: told.append(layer))
        painting.watch([result, corrections])
        painting.watch([corrections])
        brush(result, 0, 20, 20)
        brush(corrections, 0, 20, 20)
        later.turn()
        assert told == [corrections]


class TestMove:
    def move(self, heard, result, corrections):
        (stroke,) = (stroke for layer, stroke in heard if layer == result and stroke != "redrawn")
        move_stroke(stroke, result, corrections)

    def test_a_stroke_on_the_result_is_one_on_the_corrections(self, result, corrections, heard, later):
        brush(result, 0, 20, 20)
        brush(result, 0, 20, 22, value=3)
        later.turn()
        painted = result.data.copy()
        corrections.visible = False
        self.move(heard, result, corrections)
        assert (result.data == 1).all()
        np.testing.assert_array_equal(corrections.data, np.where(painted != 1, painted, 0))
        assert corrections.visible
        later.turn()
        assert heard[-1][0] == corrections

    def test_its_undo_is_that_of_the_corrections(self, result, corrections, heard, later):
        brush(result, 0, 20, 20)
        later.turn()
        self.move(heard, result, corrections)
        painted = corrections.data.copy()
        result.undo()  # by a script: there is nothing to undo
        assert (result.data == 1).all()
        keys = {str(key): action for key, action in result.keymap.items()}
        keys["Ctrl+Z"](result)
        assert not corrections.data.any()
        keys["Ctrl+Shift+Z"](result)
        np.testing.assert_array_equal(corrections.data, painted)

    def test_erasing_on_the_result_erases_a_correction(self, result, corrections, heard, later):
        corrections.data[0, 18:23, 18:23] = 4
        brush(result, 0, 20, 20, value=0, size=20)
        later.turn()
        self.move(heard, result, corrections)
        assert (result.data == 1).all()
        assert not corrections.data.any()

    def test_one_that_was_undone_meanwhile_is_none(self, result, corrections, heard, later):
        brush(result, 0, 10, 10)
        brush(result, 0, 30, 20, value=3)
        result.undo()
        later.turn()
        self.move(heard, result, corrections)
        assert (result.data == 1).all()
        assert set(np.unique(corrections.data)) == {0, 2}

    def test_without_corrections_it_is_taken_back(self, result, heard, later):
        brush(result, 0, 20, 20)
        later.turn()
        self.move(heard, result, None)
        assert (result.data == 1).all()

    def test_it_does_not_matter_of_which_type_the_labels_are(self, viewer, later):
        result = Labels(np.ones((20, 20), np.int32))
        corrections = Labels(np.zeros((20, 20), np.uint8))
        painting, strokes = Painting(lambda: viewer, later), []
        painting.painted.connect(lambda _, stroke: strokes.append(stroke))
        painting.watch([result])
        brush(result, 5, 5, value=4)
        later.turn()
        move_stroke(strokes[0], result, corrections)
        assert corrections.data[5, 5] == 4
