from __future__ import annotations

import json

import numpy as np
import pytest

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.plugin.session.drafts import Draft, drafts, first_draft, free, unsaved_folder


@pytest.fixture
def draft(tmp_path):
    return Draft(tmp_path / "kept", "cells", (3, 70, 50))


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_what_is_written_is_read(draft, share):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (70, 50), np.uint8) * (rng.random((70, 50)) < share)
    draft.save_section(1, labels)
    np.testing.assert_array_equal(draft.load_section(1), labels)
    assert draft.load_section(1).dtype == np.uint8
    assert draft.saved == [1]
    draft.save_section(1, np.zeros_like(labels))
    assert draft.saved == []


def test_one_of_an_earlier_version_is_read(draft):
    labels = np.zeros((70, 50), np.uint32)
    labels[3, 4] = 2
    draft.folder.mkdir()
    np.savez_compressed(draft.folder / "section-00000.npz", labels=labels)
    np.testing.assert_array_equal(draft.load_section(0), labels)
    about = {"image": "cells", "shape": [3, 70, 50], "time": 5.0, "model": "gone.safetensors"}
    (draft.folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    assert (draft.of, draft.time, draft.models) == ("cells", 5.0, [])


@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04"])
def test_a_damaged_file_is_a_sentence(draft, content):
    draft.save_section(0, np.ones((70, 50), np.uint8))
    (draft.folder / "section-00000.npz").write_bytes(content)
    with pytest.raises(InputError, match="section 0 cannot be read"):
        draft.load_section(0)


@pytest.mark.parametrize("labels", [np.ones((70, 51), np.uint8), np.ones((70, 50)), np.full((70, 50), 300)])
def test_so_is_one_that_does_not_fit(draft, labels):
    draft.folder.mkdir()
    np.savez(draft.folder / "section-00000.npz", labels=labels)
    with pytest.raises(InputError, match=r"do not fit|no class can have"):
        draft.load_section(0)


def test_a_file_of_another_name_is_no_section(draft):
    draft.save_section(2, np.ones((70, 50), np.uint8))
    (draft.folder / "section-00002-1.npz").write_bytes(b"")
    assert draft.saved == [2]


def test_a_file_in_the_way_is_an_error_of_its_own(tmp_path):
    (tmp_path / "kept").write_text("in the way")
    with pytest.raises(OutputError):
        Draft(tmp_path / "kept", "cells", (70, 50)).save_section(0, np.ones((70, 50), np.uint8))


def test_a_damaged_note_is_none(draft):
    draft.save_section(0, np.ones((70, 50), np.uint8))
    (draft.folder / "about.json").write_text("[1, 2")
    assert (draft.about, draft.of, draft.time) == ({}, "cells", 0.0)


def test_all_of_it_is_removed_but_what_is_of_others(draft):
    draft.save_section(0, np.ones((70, 50), np.uint8))
    draft.note({})
    draft.checkpoint.write_bytes(b"state")
    (draft.folder / "mine.txt").write_text("not of the plugin")
    draft.remove()
    assert [path.name for path in draft.folder.iterdir()] == ["mine.txt"]
    assert not draft.taken


def test_they_go_by_the_file_or_else_the_name_and_by_the_shape(models_folder):
    first = first_draft("/data/cells.tif", "cells", (70, 50))
    assert first.folder == first_draft("/data/cells.tif", "renamed", (70, 50)).folder
    others = [
        ("/data/other.tif", "cells", (70, 50)),
        ("/data/cells.tif", "cells", (7, 5)),
        ("", "cells", (70, 50)),
    ]
    assert len({first.folder, *(first_draft(*each).folder for each in others)}) == 4
    assert first.folder.parent == unsaved_folder()


def test_those_of_one_image_are_the_newest_first(models_folder):
    first = first_draft("", "cells", (70, 50))
    for number, seconds in ((1, 10), (2, 30), (5, 20)):
        each = first.beside(number)
        each.save_section(0, np.ones((70, 50), np.uint8))
        each.note({})
        about = json.loads((each.folder / "about.json").read_text())
        (each.folder / "about.json").write_text(json.dumps({**about, "time": seconds}))
    first.beside(7).folder.mkdir()  # empty
    assert [each.time for each in drafts(first)] == [30, 20, 10]
    assert free(first, [first.beside(3)]) == first.beside(4)
