from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_feedback_seg.models.library import ModelEntry, load_model
from napari_feedback_seg.models.model_file import read_card, save_model


def test_it_needs_neither_qt_nor_napari_nor_torch():
    code = (
        "import sys, napari_feedback_seg.plugin.session.session; "
        "print(sorted({'torch', 'napari', 'qtpy', 'PySide6'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"


class TestImage:
    def test_the_newest_is_chosen_and_the_active_one_followed(self, session, viewer, section):
        one = viewer.add_image(section, name="one")
        two = viewer.add_image(section, name="two")
        assert session.image == two
        viewer.layers.selection.active = one
        assert session.image == one
        viewer.layers.remove(one)
        assert session.image == two
        assert session.images == [two]

    def test_a_stroke_turns_to_the_image_of_its_layer(self, session, viewer, runner, section):
        one = viewer.add_image(section, name="one")
        session.segmenting.segment()
        runner.finish()
        result = session.result
        viewer.add_image(section, name="two")
        result.paint((10, 10), 3)
        runner.finish()
        assert session.image == one

    def test_what_changes_is_told_by_part(self, session, viewer, section):
        image = viewer.add_image(section)
        parts = []
        session.changed.connect(parts.append)
        image.scale = (2, 2)
        assert "image" in parts
        assert "pixels" not in parts
        parts.clear()
        image.data = section[::-1]
        assert {"pixels", "image", "result"} <= set(parts)
        parts.clear()
        image.name = "another"
        assert "layers" in parts


class TestModel:
    def test_reading_the_library_again_keeps_an_unsaved_model_in_use(self, session, small_model, tmp_path):
        path = save_model(small_model, tmp_path / "tuned.safetensors")
        session.unsaved["tuned"] = ModelEntry("tuned", path, False, read_card(path))
        session.refresh_models("tuned")
        in_use = []
        session.changed.connect(lambda _: in_use.append(session.model_name))
        session.refresh_models()
        assert set(in_use) == {"tuned"}
        assert session.entry.path == path

    def test_one_that_is_gone_gives_way(self, session, models_folder):
        (models_folder / "small.safetensors").unlink()
        session.refresh_models()
        assert session.entry is not None
        assert session.model_name != "small"

    def test_it_is_loaded_once(self, session):
        assert session.load_model(session.entry) is session.load_model(session.entry)
        assert session.load_model(session.entry).digest == load_model("small").digest


@pytest.fixture
def stack(section):
    return np.stack([section, section[::-1], section[:, ::-1]])


def test_its_rest_ends_the_job_and_tells_nobody(session, viewer, runner, stack):
    viewer.add_image(stack)
    told = []
    session.changed.connect(told.append)
    session.segmenting.segment()
    runner.step(2)
    session.rest()
    told.clear()
    runner.finish()
    assert told == []
    assert not session.jobs.busy
    session.segmenting.segment()  # and it works again
    runner.finish()
    assert session.result.data.any()


def test_what_was_said_of_an_image_goes_with_it(session, viewer, runner, segment, section):
    assert not session.segmenting.segment()
    assert "There is no image" in session.status
    one = viewer.add_image(section, name="one")
    assert session.status == ""
    segment()
    assert session.status.startswith("Done in")
    two = viewer.add_image(section, name="two")
    assert session.status == ""
    session.segmenting.segment()
    viewer.layers.selection.active = one
    runner.finish()
    assert session.image == one
    assert session.status.startswith("two: Done in")
    viewer.layers.remove(two)
    session.image = None
    assert session.status == ""
