from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.models.model_file import save_model


@pytest.fixture(autouse=True)
def _no_answers(session):
    """Let a stroke be a correction alone: the result stays what the model says."""
    session.instant.set_on(False)


@pytest.fixture
def comparing(session):
    return session.comparing


@pytest.fixture
def compared(comparing, runner):
    """Compare and wait; return the scores."""

    def compared():
        comparing.start()
        runner.finish()
        return comparing.scores

    return compared


@pytest.fixture
def truth(viewer, segment, section):
    """A result, and a ground truth that differs in a corner and leaves another out."""
    viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
    data = segment().data.copy()
    data[:10, :10] = np.where(data[:10, :10] == 1, 2, 1)
    data[-10:, -10:] = 0
    return viewer.add_labels(data, name="truth", scale=(4.6, 4.6), units="nm")


def names(layers):
    return [layer.name for layer in layers]


def iou(truth, found, value):
    counted = (truth > 0) & (found > 0)
    one, other = (truth == value) & counted, (found == value) & counted
    return pytest.approx((one & other).sum() / (one | other).sum())


def test_scores_and_a_layer_of_the_errors(viewer, session, compared, truth):
    active = viewer.layers.selection.active
    assert compared()["iou"]["membrane"] == iou(truth.data, session.result.data, 1)
    wrong = viewer.layers["cells labels errors"]
    expected = np.zeros_like(truth.data)
    expected[:10, :10] = truth.data[:10, :10]
    np.testing.assert_array_equal(wrong.data, expected)
    np.testing.assert_array_equal(wrong.scale, truth.scale)
    assert wrong.units == truth.units
    assert wrong.get_color(4)[3] > 0.5  # cytoplasm too is to be seen where it was missed
    assert viewer.layers.selection.active == active


def test_again_the_errors_are_updated_in_place(viewer, session, compared, truth):
    compared()
    count = len(viewer.layers)
    truth.data = session.result.data.copy()
    assert compared()["mean_iou"] == 1
    assert len(viewer.layers) == count
    assert not viewer.layers["cells labels errors"].data.any()
    viewer.layers["cells"].translate = (40, 0)
    compared()
    np.testing.assert_array_equal(viewer.layers["cells labels errors"].translate, (40, 0))


def test_what_is_not_segmented_does_not_count(viewer, session, segment, compared, section):
    viewer.add_image(np.stack([section, section[::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    session.segmenting.choose(session.segmenting.what.SECTION)
    truth = segment().data.copy()
    truth[1] = 1
    viewer.add_labels(truth, name="truth")
    scores = compared()
    assert scores["mean_iou"] == 1
    assert scores["left_out"] == 0.5
    assert not viewer.layers["cells labels errors"].data.any()


def test_scores_of_another_result_do_not_stay(viewer, session, comparing, compared, segment, truth, section):
    compared()
    session.segmenting.set(overlap=0.5)
    segment()
    assert comparing.scores is None
    assert comparing.outdated
    compared()
    viewer.add_image(section, name="another")
    assert comparing.scores is None
    assert not comparing.outdated  # of this image nothing was compared


def test_a_truth_of_several_resolutions(viewer, session, compared, truth):
    viewer.layers.remove(truth)
    fine = session.result.data.copy()
    viewer.add_labels([fine, fine[::2, ::2]], name="pyramid", multiscale=True)
    assert compared()["mean_iou"] == 1


def test_without_a_truth_of_the_same_shape_there_is_nothing_to_compare(viewer, comparing, segment, section):
    assert "two Labels layers" in comparing.missing
    viewer.add_image(section, name="cells")
    viewer.add_labels(section[:50] // 100, name="smaller")
    segment()
    assert comparing.truths == []
    assert "same shape as 'cells labels' (96 x 80)" in comparing.missing
    assert not comparing.start()


def test_values_that_are_no_class_are_a_sentence(viewer, compared, truth, said):
    truth.data[0, 0] = 77
    compared()
    assert "values that are no class (77)" in said()
    assert "cells labels errors" not in viewer.layers


@pytest.mark.parametrize("painted", ["result", "truth"])
def test_what_is_painted_since_is_in_no_score(session, runner, comparing, compared, truth, painted):
    result = session.result
    layer = {"result": result, "truth": truth}[painted]
    first = compared()
    layer.brush_size = 30
    layer.paint((50, 40), 3)  # on the result it goes to the corrections
    runner.finish()
    assert comparing.scores is None
    assert comparing.outdated
    second = compared()
    counts = np.asarray(session.correcting.corrections.of_result(result))
    assert second["iou"]["synapse"] == iou(truth.data, counts, 3)
    assert second["iou"]["synapse"] != first["iou"]["synapse"]
    assert not comparing.outdated


@pytest.mark.parametrize("painted", ["result", "truth"])
def test_what_is_undone_since_is_in_no_score(session, runner, comparing, compared, truth, painted):
    layer = {"result": session.result, "truth": truth}[painted]
    layer.brush_size = 30
    layer.paint((50, 40), 3)
    runner.finish()
    assert compared() is not None
    (truth if painted == "truth" else session.correcting.corrections.layer).undo()
    runner.finish()
    assert comparing.scores is None
    assert comparing.outdated


def test_pixels_that_are_replaced_or_set_by_a_script_are_in_no_score(comparing, compared, truth):
    compared()
    truth.data = np.where(truth.data == 4, 2, truth.data)
    assert comparing.scores is None
    assert compared() is not None
    truth.data[40:60] = 3  # of which napari knows nothing
    comparing.look()
    assert comparing.scores is None


def test_a_stroke_undone_on_another_section_counts(
    viewer, session, runner, comparing, compared, section, segment
):
    viewer.add_image(np.stack([section, section[::-1], section]), name="cells")
    session.segmenting.choose(session.segmenting.what.ALL)
    truth = viewer.add_labels(segment().data.copy(), name="truth")
    viewer.dims.set_point(0, 2)
    truth.brush_size = 20
    truth.paint((2, 50, 40), 3)
    compared()
    viewer.dims.set_point(0, 0)
    runner.finish()
    assert comparing.scores is not None
    truth.undo()
    runner.finish()
    assert comparing.scores is None


def test_a_stroke_while_it_is_compared_makes_it_out_of_date(viewer, runner, comparing, truth):
    comparing.start()
    runner.step()
    truth.paint((50, 40), 3)
    runner.finish()
    assert comparing.scores is None
    assert comparing.outdated
    assert "cells labels errors" not in viewer.layers


def test_what_changes_no_pixel_leaves_the_scores(viewer, session, runner, comparing, compared, truth):
    compared()
    for layer in (truth, session.result):
        layer.visible = False
        layer.visible = True
        layer.contour = 1
        layer.refresh()
    viewer.layers["cells labels errors"].paint((50, 40), 3)
    viewer.add_points(np.zeros((1, 2)))
    truth.name = "another name"
    runner.finish()
    assert comparing.scores is not None


def test_an_array_on_disk_is_not_read_again(viewer, runner, comparing, compared):
    labels = np.random.default_rng(0).integers(1, 5, (4, 60, 50)).astype(np.uint8)
    read = []

    def plane(block_info=None):
        z = block_info[None]["array-location"][0][0]
        read.append(z)
        return labels[z : z + 1]

    lazy = da.map_blocks(plane, chunks=((1,) * 4, 60, 50), dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    viewer.add_labels(labels.copy(), name="found")
    truth = viewer.add_labels(lazy, name="truth")
    viewer.dims.set_point(0, 1)
    comparing.choose(labels=viewer.layers["found"])
    assert compared()["mean_iou"] == 1
    runner.finish()
    read.clear()
    truth.refresh()  # napari itself reads what is displayed
    runner.finish()
    comparing.look()
    assert set(read) <= {1}
    assert comparing.scores is not None


def test_the_truth_is_no_layer_that_was_made_here(viewer, session, comparing, truth):
    session.correcting.paint_with(2)
    viewer.add_labels(truth.data, metadata={"feedback-seg-attention": {}})
    viewer.add_labels(truth.data, metadata={"feedback-seg-errors": "cells labels"})
    assert "cells corrections" in viewer.layers
    assert names(comparing.truths) == ["truth"]
    assert names(comparing.choices) == ["truth", "cells labels"]


def test_an_older_result_may_be_the_truth_but_after_what_others_made(
    viewer, session, runner, comparing, compared, truth
):
    result = session.result
    record = {**result.metadata["feedback-seg"], "image_id": "of another day"}
    older = viewer.add_labels(result.data.copy(), name="older", metadata={"feedback-seg": record})
    assert comparing.labels.name == "older"
    viewer.layers.selection.active = viewer.layers["cells"]
    assert comparing.labels.name == "cells labels"
    assert names(comparing.truths) == ["truth", "older"]
    comparing.choose(truth=older)
    assert compared()["mean_iou"] == 1
    older.paint((50, 40), 3)
    runner.finish()
    assert comparing.scores is None


def test_two_plain_layers_are_compared_with_the_classes_of_the_model(viewer, comparing, compared, section):
    viewer.add_image(section)
    mine = np.uint8(section // 64 + 1)
    other = np.where(section % 7 == 0, 2, mine)
    viewer.add_labels(mine, name="mine", scale=(4, 4))
    viewer.add_labels(other, name="colleague's")
    viewer.add_labels(mine[:50], name="smaller")
    comparing.choose(labels=viewer.layers["mine"])
    assert names(comparing.choices) == ["smaller", "colleague's", "mine"]
    assert names(comparing.truths) == ["colleague's"]
    scores = compared()
    assert list(scores["iou"]) == [each.name for each in EM_CLASSES]
    assert scores["iou"]["mitochondria"] == iou(other, mine, 2)
    errors = viewer.layers["mine errors"]
    np.testing.assert_array_equal(errors.data, np.where(mine == other, 0, other))
    np.testing.assert_array_equal(errors.scale, (4, 4))


def test_the_labels_are_those_at_hand_until_others_are_chosen(viewer, comparing, segment, truth, section):
    assert comparing.labels.name == "cells labels"
    comparing.choose(labels=truth)
    assert names(comparing.truths) == ["cells labels"]
    viewer.add_points(np.zeros((1, 2)))
    assert comparing.labels == truth
    viewer.add_image(section, name="another")
    segment()
    assert comparing.labels.name == "another labels"
    viewer.layers.selection.active = viewer.layers["cells labels"]
    assert comparing.labels.name == "cells labels"
    comparing.choose(labels=truth)
    viewer.layers.remove(truth)
    assert comparing.labels.name == "cells labels"


def test_scores_by_the_classes_of_a_model_go_with_it(
    viewer, session, comparing, compared, section, small_model, models_folder
):
    others = tuple(replace(each, name=f"my {each.name}") for each in EM_CLASSES)
    model = replace(small_model, card=replace(small_model.card, classes=others))
    save_model(model, models_folder / "mine.safetensors")
    session.refresh_models()
    for name in ("one", "other"):
        viewer.add_labels(np.uint8(section // 64 + 1), name=name)
    assert "membrane" in compared()["iou"]
    session.refresh_models()
    assert comparing.scores is not None
    session.model_name = "mine"
    assert comparing.scores is None
    assert "my membrane" in compared()["iou"]


def test_a_shape_that_changed_in_the_meantime_is_a_sentence(comparing, compared, truth, said):
    truth.data = truth.data[:50]
    compared()
    assert "The shapes differ" in said()
    assert comparing.scores is None


def test_sides_that_no_power_of_two_divides(viewer, segment, compared):
    image = np.random.default_rng(0).integers(0, 255, (97, 81), dtype=np.uint8)
    viewer.add_image(image, name="odd")
    result = segment()
    assert result.data.shape == (97, 81)
    assert result.data.all()
    viewer.add_labels(result.data.copy(), name="truth")
    assert compared()["mean_iou"] == 1


def test_nothing_is_held_when_the_session_rests(session, comparing, compared, truth):
    compared()
    session.rest()
    assert comparing.scores is None
    truth.paint((50, 40), 3)
    truth.undo()


class TestMask:
    @pytest.fixture
    def mask(self, viewer, segment, section):
        """A mask of the mitochondria, as napari opens it: an image. Some rows of it are empty."""
        viewer.add_image(section, name="cells")
        found = segment().data == 2
        found[:20] = False
        return viewer.add_image(np.uint8(255) * found, name="mito mask")

    def test_it_is_recognised_and_scored_as_one_class(self, viewer, comparing, compared, mask):
        assert comparing.truth == mask
        assert comparing.mask.of.name == "mitochondria"
        scores = compared()
        assert set(scores["iou"]) == {"mitochondria", "everything else"}
        truth, found = mask.data > 0, (viewer.layers["cells labels"].data == 2)
        assert scores["iou"]["mitochondria"] == pytest.approx((truth & found).sum() / (truth | found).sum())

    def test_outside_of_it_may_be_unlabelled(self, comparing, compared, mask):
        comparing.choose(rest_is_other=False)
        assert compared()["iou"]["mitochondria"] == 1

    def test_one_that_is_replaced_is_compared_again(self, comparing, compared, mask):
        compared()
        mask.data = np.zeros_like(mask.data)
        assert comparing.scores is None

    def test_labels_of_the_classes_are_no_mask(self, comparing, truth):
        assert comparing.mask is None
