from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.session import Session


@pytest.fixture
def from_file(viewer, tmp_path, section):
    """Open a TIFF file as napari's own reader does, without a unit."""

    def open_file(name="cells.tif", size_nm=None):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        options = {}
        if size_nm:
            height, width = size_nm
            options = {"resolution": (1e7 / width, 1e7 / height), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(path, section, **options)
        layer = viewer.add_image(tifffile.imread(path), name=name)
        layer.source.__dict__["path"] = str(path)
        return layer

    return open_file


@pytest.fixture
def sizes(session):
    return session.pixel_sizes


def test_the_layer_comes_first(sizes, from_file):
    image = from_file(size_nm=(8, 8))
    image.scale, image.units = (5, 6), ("nm", "nm")
    assert sizes.size == (5, 6)
    assert not sizes.unknown


def test_then_the_file_behind_it_each_axis_apart(sizes, from_file):
    from_file(size_nm=(8, 4))
    assert sizes.size == pytest.approx((8, 4))
    assert not sizes.unknown


def test_the_distance_of_the_sections_is_that_of_the_file(sizes, viewer, tmp_path, section):
    path = tmp_path / "stack.tif"
    stack = np.stack([section] * 3)
    metadata = {"spacing": 50.0, "unit": "nm", "axes": "ZYX"}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1 / 4, 1 / 4), metadata=metadata)
    image = viewer.add_image(stack)
    image.source.__dict__["path"] = str(path)
    assert sizes.size == pytest.approx((4, 4))
    assert sizes.spacing_of(image) == pytest.approx(50)


def test_else_somebody_has_to_say_it(sizes, from_file):
    from_file()
    assert sizes.unknown
    assert sizes.size is None
    sizes.typed = 6.0
    assert sizes.size == (6, 6)
    assert sizes.unknown  # it can still be put right


def test_what_was_typed_is_remembered_for_the_file_and_for_no_other_folder(
    session, sizes, viewer, runner, from_file, section
):
    from_file("one/a.tif")
    sizes.typed = 6.0
    from_file("two/b.tif")
    assert sizes.size is None
    viewer.add_image(section, name="of no file")
    assert sizes.size is None
    later = Session(ViewerLayers(viewer, runner.later), runner)  # napari was started again
    later.image = viewer.layers["one/a.tif"]
    assert later.pixel_sizes.size == (6, 6)
    later.image = viewer.layers["two/b.tif"]
    assert later.pixel_sizes.size is None
    later.cleanup()


def test_an_image_of_the_same_folder_takes_it_over_until_another_is_typed(sizes, from_file, session, viewer):
    from_file("a.tif")
    sizes.typed = 6.0
    assert not sizes.taken_over
    from_file("b.tif")
    assert (sizes.size, sizes.taken_over) == ((6, 6), True)
    sizes.typed = 9.0
    assert (sizes.size, sizes.taken_over) == ((9, 9), False)
    from_file("c.tif")
    assert (sizes.size, sizes.taken_over) == ((9, 9), True)  # the last one that was typed
    session.image = viewer.layers["a.tif"]
    assert (sizes.size, sizes.taken_over) == ((6, 6), False)
    from_file("d.tif", size_nm=(4, 4))
    assert sizes.size == pytest.approx((4, 4))


def test_what_an_older_version_remembered_for_the_next_image_is_for_none(
    models_folder, viewer, runner, section
):
    (models_folder / "pixel-sizes.json").write_text('{"": 10.0}')
    session = Session(ViewerLayers(viewer, runner.later), runner)
    viewer.add_image(section)
    assert session.pixel_sizes.size is None
    session.cleanup()


def test_a_damaged_memory_is_none(models_folder, viewer, runner, section):
    (models_folder / "pixel-sizes.json").write_text("[1, 2")
    session = Session(ViewerLayers(viewer, runner.later), runner)
    viewer.add_image(section)
    assert session.pixel_sizes.size is None
    session.cleanup()


@pytest.mark.parametrize(
    ("size", "notable", "can_rescale"), [(4.6, False, False), (9.2, True, True), (460, True, False)]
)
def test_it_is_compared_with_the_models(session, sizes, viewer, section, size, notable, can_rescale):
    viewer.add_image(section, scale=(size, size), units="nm")
    assert (sizes.notable, sizes.can_rescale) == (notable, can_rescale)
    sizes.set_rescale(True)
    assert (sizes.to_rescale_from is not None) == can_rescale
