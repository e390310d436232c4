from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.session.correct.painted.classes import PaintClasses


@pytest.fixture
def classes():
    found = PaintClasses()
    found.follow(EM_CLASSES)
    return found


def names(classes):
    return {each.value: each.name for each in classes.all}


def test_a_new_class_has_the_next_value_or_one_that_was_painted_with(classes):
    assert classes.add("nucleus", "#56b4e9", 0.8).value == 5
    assert classes.add("vesicles", "#00ff00", 0.8, unknown=[77]).value == 77
    assert [each.name for each in classes.added] == ["nucleus", "vesicles"]
    with pytest.raises(InputError, match="There is a class 'nucleus' already"):
        classes.add("nucleus", "#000000", 0.8)


def test_only_an_added_class_can_be_removed(classes):
    new = classes.add("nucleus", "#56b4e9", 0.8)
    classes.remove(new)
    assert not classes.added
    with pytest.raises(InputError, match="The model knows 'membrane'"):
        classes.remove(EM_CLASSES[0])


def test_an_added_class_goes_out_of_the_way_of_another_model(classes):
    classes.add("vesicles", "#00ff00", 0.8)
    classes.add("nucleus", "#56b4e9", 0.8)
    classes.follow([*EM_CLASSES, LabelClass(5, "nucleus", "#56b4e9")])
    assert (names(classes)[5], names(classes)[7]) == ("nucleus", "vesicles")
    assert [each.name for each in classes.added] == ["vesicles"]


def test_labels_keep_their_meaning(classes):
    classes.add("nucleus", "#56b4e9", 0.8)
    meant = [LabelClass(5, "vesicles", "#00ff00"), LabelClass(1, "membrane", "#e69f00")]
    table = classes.take([*meant, LabelClass(9, "unused", "#000000")], {1, 5})
    assert (table[1], names(classes)[table[5]]) == (1, "vesicles")
    assert table[5] not in (5, 1)
    assert "unused" not in names(classes).values()
    np.testing.assert_array_equal(classes.take(meant[:1], {5})[5], table[5])


def test_there_are_at_most_255(classes):
    for number in range(251):
        classes.add(f"class {number}", "#000000", 0.8)
    with pytest.raises(InputError, match="255 classes already"):
        classes.add("one more", "#000000", 0.8)
