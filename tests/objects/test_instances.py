from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.make import find_objects, way_through
from napari_feedback_seg.objects.options import ObjectOptions, Through

ISOTROPIC, THICK = (5.0, 5.0, 5.0), (40.0, 5.0, 5.0)


def balls(shape, *centres, radius=10, sides=(1, 1, 1)) -> np.ndarray:
    """Return where balls are."""
    found = np.zeros(shape, bool)
    places = np.indices(shape)
    for centre in centres:
        offsets = [(axis - at) * side for axis, at, side in zip(places, centre, sides, strict=True)]
        found |= sum(each**2 for each in offsets) <= radius**2
    return found


def find(evidence, voxel=ISOTROPIC, size=(64, 512, 512), **options):
    return finish(find_objects(evidence, ObjectOptions(**options), voxel, size=size))


def same_objects(one, other) -> bool:
    """Whether two numberings are the same up to the numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(each)) == len(each) for each in pairs)


def test_touching_balls_are_two_and_a_tube_is_one():
    touching = balls((30, 40, 60), (15, 20, 20), (15, 20, 38))
    tube = np.zeros_like(touching)
    tube[5:25, 10:30, 5:55] = True

    labels, count = find(touching)

    assert count == 2
    assert labels[15, 20, 20] != labels[15, 20, 38]
    assert (labels > 0).sum() == touching.sum()
    assert find(touching, split=0.0)[1] == 1
    assert find(tube)[1] == 1


def test_probability_cuts_where_the_outline_shows_no_neck():
    bar = np.zeros((21, 100), np.float32)
    bar[3:18, 3:97] = 0.95
    bar[:, 49:51] = np.minimum(bar[:, 49:51], 0.55)

    labels, count = find(bar, split=0.7)

    assert count == 2
    assert labels[10, 20] != labels[10, 80]
    assert find(bar > 0.5, split=0.7)[1] == 1


def test_two_dimensions_give_two_dimensions():
    labels, count = find(balls((1, 40, 60), (0, 20, 15), (0, 20, 45))[0])

    assert labels.shape == (40, 60)
    assert count == 2
    assert labels.dtype == np.uint32


def test_blocks_find_what_the_whole_finds():
    rng = np.random.default_rng(0)
    mask = balls((40, 80, 80), *rng.integers((0, 0, 0), (40, 80, 80), (12, 3)), radius=9)

    whole, count = find(mask)
    parts, of_parts = find(mask, size=(16, 32, 32))

    assert count == of_parts > 5
    assert same_objects(whole, parts)


class Grid:
    """Blocks of 12 x 24 x 24 voxels with gaps between them, made as they are read."""

    ndim = 3

    def __init__(self, depth: int) -> None:
        self.shape = (depth, 128, 128)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        z, y, x = np.ogrid[place]
        return (z % 16 < 12) & (y % 32 < 24) & (x % 32 < 24)


def test_memory_follows_the_block_and_not_the_volume(tmp_path):
    def peak(depth: int) -> int:
        evidence = Grid(depth)
        out = np.memmap(tmp_path / f"{depth}", np.uint32, "w+", shape=evidence.shape)
        tracemalloc.start()
        try:
            size = (16, 64, 64)
            _, count = finish(find_objects(evidence, ObjectOptions(), (50.0,) * 3, out=out, size=size))
            found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == depth // 16 * 16
        return found

    peak(16)  # what is loaded on the way
    assert peak(256) < 1.2 * peak(64)


def test_a_long_object_through_many_blocks_is_one():
    snake = np.zeros((48, 48, 48), bool)
    snake[20:28, 20:28, :] = snake[20:28, :, 38:46] = snake[:, 2:10, 38:46] = True

    assert find(snake, size=(16, 16, 16), split=0.0)[1] == 1


def test_thick_sections_are_linked_by_overlap_over_a_missing_one():
    stack = np.zeros((6, 60, 60), bool)
    for z in range(6):
        stack[z, 10 + 2 * z : 30 + 2 * z, 10:30] = True
        stack[z, 40:58, 40:58] = z > 1
    stack[3] = False

    labels, count = find(stack, THICK)

    assert count == 2
    assert labels[0, 15, 15] == labels[5, 30, 15]
    assert find(stack, THICK, gap=0)[1] == 4
    assert find(stack, THICK, through=Through.NONE)[1] == 8


def test_sections_without_a_missing_one_are_not_linked_over_their_neighbour():
    stack = np.zeros((3, 40, 80), bool)
    stack[0, 5:25, 5:25] = stack[2, 5:25, 5:25] = True
    stack[1, 5:25, 18:60] = True  # goes on in neither

    assert find(stack, THICK)[1] == 2


def test_way_through_follows_the_voxel():
    assert way_through(Through.AUTO, ISOTROPIC, (5, 9, 9)) is Through.VOLUME
    assert way_through(Through.AUTO, THICK, (5, 9, 9)) is Through.OVERLAP
    assert way_through(Through.AUTO, THICK, (9, 9)) is Through.NONE


def test_anisotropic_voxels_are_cut_where_the_neck_is_narrow_in_nm():
    sides = (4, 1, 1)
    touching = balls((16, 60, 100), (8, 30, 30), (8, 30, 66), radius=20, sides=sides)

    labels, count = find(touching, (20.0, 5.0, 5.0), through=Through.VOLUME)

    assert count == 2
    assert labels[8, 30, 30] != labels[8, 30, 66]


def test_specks_are_left_out_by_their_diameter_in_nm():
    mask = balls((1, 60, 60), (0, 15, 15), radius=10)[0] | balls((1, 60, 60), (0, 45, 45), radius=3)[0]

    assert find(mask, least_nm=0.0)[1] == 2
    assert find(mask, least_nm=80.0)[1] == 1
    assert find(mask, (5.0, 20.0, 20.0), least_nm=80.0)[1] == 2


def test_clean_up_steps():
    ring = balls((1, 60, 60), (0, 30, 30), radius=20)[0] & ~balls((1, 60, 60), (0, 30, 30), radius=5)[0]
    cracked = balls((1, 60, 60), (0, 30, 30), radius=20)[0]
    cracked[:, 29:31] = False
    thread = balls((1, 60, 120), (0, 30, 30), radius=20)[0] | balls((1, 60, 120), (0, 30, 90), radius=20)[0]
    thread[29:31, 40:80] = True

    assert find(ring, holes_nm=100)[0][30, 30] == 1
    assert find(ring, holes_nm=30)[0][30, 30] == 0
    assert find(cracked, split=0.0)[1] == 2
    assert find(cracked, split=0.0, close_nm=20)[1] == 1
    assert find(thread, split=0.0)[1] == 1
    assert find(thread, split=0.0, open_nm=20)[1] == 2
    rough = balls((1, 60, 60), (0, 30, 30), radius=20)[0] ^ (np.random.default_rng(0).random((60, 60)) > 0.95)
    assert find(rough, smooth_nm=10)[1] == 1


def test_nothing_and_everything():
    nothing, none = find(np.zeros((8, 20, 20), bool))
    everything, one = find(np.ones((8, 20, 20), bool))

    assert (none, one) == (0, 1)
    assert not nothing.any()
    assert everything.all()


@pytest.mark.parametrize(
    "options", [{"split": 1.0}, {"least_nm": -1.0}, {"gap": -1}, {"holes_nm": float("inf")}, {"threshold": 0}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match="not"):
        ObjectOptions(**options)


def test_what_is_no_section_is_refused():
    from napari_feedback_seg.errors import InputError

    with pytest.raises(InputError, match="two axes"):
        find(np.zeros((2, 2, 2, 2), bool))
