"""What is read of an image that is not in memory, and on which thread."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.plugin.session.segment.exporting import export_result
from napari_feedback_seg.plugin.session.segment.segmenting import What

COUNT = 12


class Recorded:
    """A lazy stack (Z, Y, X) that notes which section is read, and whether that holds the window up."""

    def __init__(self, planes, runner):
        self.on_gui, self.off_gui = set(), set()

        def read(block_info=None):
            z = block_info[None]["array-location"][0][0]
            (self.off_gui if runner.in_thread else self.on_gui).add(z)
            return planes[z : z + 1]

        chunks = ((1,) * len(planes), *planes.shape[1:])
        self.array = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))


@pytest.fixture(autouse=True)
def _no_answers(session):
    """Let a stroke be a correction alone: the result stays what the model says."""
    session.instant.set_on(False)


@pytest.fixture
def lazy(section, runner):
    return Recorded(np.stack([section, section[::-1]] * (COUNT // 2)), runner)


def test_segment_measure_compare_and_export_read_on_the_gui_thread_what_is_shown_alone(
    viewer, session, runner, segment, stroke, lazy, tmp_path
):
    viewer.add_image(lazy.array, name="cells", contrast_limits=(0, 255))
    viewer.dims.set_point(0, 3)
    lazy.on_gui.clear()
    session.segmenting.choose(What.ALL)
    result = segment()
    assert lazy.off_gui == set(range(COUNT))
    stroke(2, 3, 10, 10)
    session.measuring.start(10)
    runner.finish()
    assert session.measuring.measures is not None
    viewer.add_labels(result.data.copy(), name="truth")
    session.comparing.choose(labels=result, truth=viewer.layers["truth"])
    session.comparing.start()
    runner.finish()
    assert session.comparing.scores is not None
    viewer.layers.selection.active = result
    assert export_result(session, tmp_path)
    runner.finish()
    assert (tmp_path / "cells-segmented").is_dir()
    session.correcting.fine_tune()
    assert lazy.on_gui <= {3}


def test_a_lazy_truth_is_read_off_the_gui_thread(viewer, session, runner, segment, section, lazy):
    viewer.add_image(np.stack([section] * COUNT), name="cells")
    session.segmenting.choose(What.ALL)
    result = segment()
    truth = Recorded(np.array(result.data), runner)
    viewer.add_labels(truth.array, name="truth")
    session.comparing.choose(labels=result)
    truth.on_gui.clear()
    session.comparing.start()
    runner.finish()
    session.comparing.look()
    assert session.comparing.scores["mean_iou"] == 1
    shown = viewer.dims.current_step[0]
    assert truth.on_gui <= {shown, COUNT // 2}, "the section in the middle tells whether it is a mask"


def test_the_visible_part_of_a_pyramid_reads_little_of_its_finest_level(viewer, session, runner, segment):
    side, block, read = 8192, 512, []
    rng = np.random.default_rng(0)
    tissue = rng.integers(60, 200, (block, block), dtype=np.uint8)

    def finest(block_info=None):
        rows, columns = block_info[None]["array-location"]
        read.append((rows[0], columns[0]))
        return tissue

    chunks = ((block,) * (side // block),) * 2
    whole = da.map_blocks(finest, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0), np.uint8))
    coarse = np.tile(tissue[::16, ::16], (side // block, side // block))
    coarse[:, : coarse.shape[1] // 2] = 0  # a border, which the coarse level shows
    layer = viewer.add_image([whole, coarse], multiscale=True, name="large", contrast_limits=(0, 255))
    levels = session.layers.sections(layer).levels
    assert [level.shape for level in levels] == [(side, side), (512, 512)]
    read.clear()
    region = (slice(6000, 6064), slice(6000, 6064))
    result = segment(Part((0,), region))
    assert result.data.any()
    assert 0 < len(set(read)) < 60  # of 256, for the statistics and the part
    assert all(column >= side // 2 - block for _, column in read), "the border is not sampled"
