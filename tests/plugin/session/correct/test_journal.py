from __future__ import annotations

import numpy as np
import pytest
from skimage.io import imsave

from napari_feedback_seg.correction.strokes import Stroke
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.drafts import drafts, first_draft
from napari_feedback_seg.plugin.session.session import Session


@pytest.fixture
def image(viewer, session, section):
    return viewer.add_image(section, name="cells")


@pytest.fixture
def journal(session):
    return session.correcting.journal


@pytest.fixture
def draft(section):
    """Where the corrections of an image of this name and shape are kept first."""
    return lambda name="cells", shape=section.shape: first_draft("", name, shape)


@pytest.fixture
def killed(viewer, session, runner):
    """Begin anew as after a crash; return the new session."""
    sessions = []

    def killed():
        session.correcting.journal.flush()
        session.cleanup()
        viewer.layers.clear()
        sessions.append(Session(ViewerLayers(viewer, runner.later), runner))
        sessions[-1].model_name = "small"
        return sessions[-1]

    yield killed
    for each in sessions:
        each.cleanup()


@pytest.fixture
def paint_in(paint, runner):
    """Paint a square in a session."""

    def paint_in(session, value, *corner):
        session.correcting.paint_with(value)
        paint(session.correcting.corrections.layer, value, *corner)
        runner.finish()
        session.correcting.journal.flush()

    return paint_in


class TestWriting:
    def test_a_stroke_is_kept_and_its_undo(self, session, runner, image, journal, draft, stroke):
        layer = stroke(2, 20, 20)
        journal.flush()
        np.testing.assert_array_equal(draft().load_section(0), layer.data)
        assert draft().of == "cells"
        layer.undo()
        runner.finish()
        journal.flush()
        assert draft().saved == []

    def test_only_what_has_changed_is_written(self, viewer, session, runner, section, journal, draft, stroke):
        viewer.add_image(np.stack([section] * 3), name="cells")
        for z in range(3):
            stroke(2, z, 20, 20)
        journal.flush()
        kept = draft(shape=(3, *section.shape))
        files = sorted(kept.folder.glob("section-*.npz"))
        before = [path.stat().st_mtime_ns for path in files]
        stack = session.image
        session.image = viewer.add_image(section, name="another")
        session.image = stack
        layer = stroke(3, 1, 60, 60)
        layer.refresh()
        runner.finish()
        journal.flush()
        after = [path.stat().st_mtime_ns for path in files]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]

    def test_what_cannot_be_written_is_said_once_and_tried_again(
        self, runner, image, journal, draft, stroke, said, models_folder
    ):
        (models_folder / "unsaved").write_text("a file in the way")
        for row in (20, 40):
            stroke(2, row, 20)
            journal.flush()
            runner.finish()
            assert said().count("could not be saved by themselves") == 1
        (models_folder / "unsaved").unlink()
        layer = stroke(2, 60, 20)
        journal.flush()
        np.testing.assert_array_equal(draft().load_section(0), layer.data)

    def test_each_image_has_its_own(self, viewer, session, image, journal, draft, section, stroke):
        stroke(2, 20, 20)
        viewer.add_image(section, name="other")
        stroke(3, 50, 50)
        journal.flush()
        assert [draft(name).load_section(0).max() for name in ("cells", "other")] == [2, 3]

    def test_two_images_of_one_file_have_each_its_own(
        self, viewer, session, section, tmp_path, stroke, killed, npe2pm
    ):
        imsave(tmp_path / "cells.tif", section, check_contrast=False)
        with npe2pm.tmp_plugin(package="napari"):
            for name in ("one", "two"):
                viewer.open(tmp_path / "cells.tif", plugin="napari", name=name)
            stroke(2, 20, 20)
            new = killed()
            for name in ("two", "one"):
                viewer.open(tmp_path / "cells.tif", plugin="napari", name=name)
        assert not new.correcting.journal.offer
        new.image = viewer.layers["two"]
        assert "corrections of 'two'" in new.correcting.journal.offer


class TestOffer:
    def test_corrections_are_offered_and_restored(self, viewer, image, stroke, killed, section):
        painted = stroke(2, 20, 20).data.copy()
        new = killed()
        journal = new.correcting.journal
        assert not journal.offer
        viewer.add_image(section, name="cells")
        assert "corrections of 'cells'" in journal.offer
        said = []
        new.said.connect(lambda text, _: said.append(text))
        journal.restore()
        assert said == ["What was kept is back. Press Segment to see the strokes answered."]
        np.testing.assert_array_equal(new.correcting.corrections.layer.data, painted)
        assert new.correcting.corrections.counts[0][2].pixels == 36
        assert not journal.offer

    def test_the_state_of_a_fine_tune_that_was_cut_off_goes_with_them(
        self, viewer, image, journal, stroke, killed, section
    ):
        stroke(2, 20, 20)
        journal.flush()
        journal.draft.checkpoint.write_bytes(b"state")
        new = killed()
        viewer.add_image(section, name="cells")
        new.correcting.journal.restore()
        assert new.correcting.journal.draft.checkpoint.read_bytes() == b"state"

    def test_what_is_muted_comes_with_them(self, viewer, session, image, stroke, killed, section):
        stroke(1, 20, 20)
        stroke(3, 40, 40)
        pixels = np.argwhere(session.correcting.corrections.labels(0) == 1).astype(np.int32)
        muted = Stroke(("", 0), 1, pixels)
        session.instant.mute(muted, True)
        session.instant.mute_class(3, True)
        again = killed()
        viewer.add_image(section, name="cells")
        again.correcting.journal.restore()
        assert again.instant.teaching.is_muted(muted)
        assert again.instant.teaching.muted_classes == (3,)

    def test_or_discarded(self, viewer, image, stroke, killed, section, draft):
        stroke(2, 20, 20)
        new = killed()
        viewer.add_image(section, name="cells")
        assert "corrections of 'cells'" in new.correcting.journal.warning
        assert "will be deleted" in new.correcting.journal.warning
        new.correcting.journal.discard()
        assert (draft().saved, new.correcting.journal.offer) == ([], "")

    def test_not_for_an_image_that_is_no_longer_there(self, viewer, image, stroke, killed, section):
        stroke(2, 20, 20)
        new = killed()
        told = []
        new.said.connect(lambda text, _: told.append(text))
        viewer.layers.remove(viewer.add_image(section, name="cells"))
        new.correcting.journal.restore()
        assert "'cells' is no longer there" in "".join(told)

    def test_damaged_ones_are_a_sentence_and_stay(
        self, viewer, image, stroke, killed, section, draft, paint_in
    ):
        stroke(2, 20, 20)
        new = killed()
        path = draft().folder / "section-00000.npz"
        path.write_bytes(b"damaged")
        told = []
        new.said.connect(lambda text, _: told.append(text))
        viewer.add_image(section, name="cells")
        new.correcting.journal.restore()
        assert "cannot be read" in "".join(told)
        assert new.correcting.journal.offer
        paint_in(new, 3, 50, 50)
        assert path.read_bytes() == b"damaged"

    def test_strokes_beside_an_offer_are_kept_and_both_come_back(
        self, viewer, image, stroke, killed, section, draft, paint_in
    ):
        stroke(2, 20, 20)
        new = killed()
        journal = new.correcting.journal
        viewer.add_image(section, name="cells")
        paint_in(new, 3, 50, 50)
        assert draft().load_section(0)[20, 20] == 2
        assert draft().beside(2).load_section(0)[50, 50] == 3
        viewer.layers.clear()
        viewer.add_image(section, name="cells")
        assert "1 older one" in journal.offer
        journal.restore()
        assert journal.offer
        journal.restore()
        assert not journal.offer
        layer = new.correcting.corrections.layer
        assert [layer.data[place] for place in ((20, 20), (50, 50))] == [2, 3]
        journal.flush()
        assert [each.load_section(0)[20, 20] for each in drafts(draft())] == [2]

    def test_a_deleted_layer_is_offered_and_not_written_over(
        self, viewer, session, image, journal, draft, paint, stroke
    ):
        session.correcting.paint_with(2)
        layer = session.correcting.corrections.layer
        paint(layer, 2, 20, 20)
        viewer.layers.remove(layer)  # before anybody has heard of the stroke
        assert "corrections of 'cells'" in journal.offer
        stroke(3, 50, 50)
        journal.flush()
        assert draft().load_section(0)[20, 20] == 2
        journal.discard()
        assert (journal.offer, draft().saved, draft().beside(2).saved) == ("", [], [0])

    def test_they_go_by_the_file_whatever_its_path_reads_like_and_whatever_it_is_called(
        self, viewer, session, section, tmp_path, monkeypatch, stroke, killed, npe2pm
    ):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            imsave(tmp_path / folder / "cells.tif", section, check_contrast=False)
        with npe2pm.tmp_plugin(package="napari"):
            monkeypatch.chdir(tmp_path / "one")
            [image] = viewer.open("cells.tif", plugin="napari")
            image.name = "mine"
            stroke(2, 20, 20)
            journal = killed().correcting.journal
            monkeypatch.chdir(tmp_path / "two")
            viewer.open("cells.tif", plugin="napari")
            assert not journal.offer
            viewer.layers.clear()
            viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
        assert "corrections of 'mine'" in journal.offer

    def test_a_class_keeps_its_meaning(self, viewer, session, image, stroke, killed, section, paint_in):
        session.correcting.add_class("nucleus", "#56b4e9")
        stroke(5, 20, 20)
        new = killed()
        viewer.add_image(section, name="cells")
        new.correcting.add_class("vesicles", "#00ff00")
        paint_in(new, 5, 60, 60)
        new.correcting.journal.restore()
        corrections = new.correcting.corrections
        names = {each.value: each.name for each in corrections.classes}
        found = [names[corrections.layer.data[place]] for place in ((20, 20), (60, 60))]
        assert found == ["nucleus", "vesicles"]


class TestWhatIsThere:
    """Nothing is offered that is there, and nothing that is there is in danger."""

    def test_corrections_opened_from_a_file_are_not_offered_once_more(
        self, viewer, image, stroke, killed, section, draft
    ):
        labels = stroke(2, 20, 20).data.astype(np.int32)
        new = killed()
        viewer.add_image(section, name="cells")
        assert new.correcting.journal.offer
        viewer.add_labels(labels, name="cells corrections")
        assert not new.correcting.journal.offer
        assert new.correcting.journal.draft == draft()

    def test_after_a_rename_only_the_model_is_offered_and_only_that_is_deleted(
        self, viewer, image, journal, stroke, killed, section, draft, small_model
    ):
        labels = stroke(2, 20, 20).data.copy()
        path = save_model(small_model, draft().folder.parent / "small fine-tuned.safetensors")
        journal.note_model(path)
        new = killed()
        opened = viewer.add_image(section, name="cells")
        opened.name = "mine"
        viewer.add_labels(labels, name="mine corrections")
        opened.name = "cells"
        found = new.correcting.journal
        new.image = viewer.add_image(section, name="another")
        new.image = opened
        assert "a model" in found.offer
        assert "There are corrections" not in found.offer
        assert "a model" in found.warning
        found.discard()
        found.flush()
        assert not path.exists()
        assert not found.offer
        np.testing.assert_array_equal(draft().load_section(0), labels)

    @pytest.fixture
    def two_models(self, journal, stroke, draft, small_model, image):
        """Corrections, and two models that learnt from them."""
        stroke(2, 20, 20)
        journal.flush()
        names = ("small first", "small second")
        paths = [draft().folder.parent / f"{name}.safetensors" for name in names]
        for path in paths:
            journal.note_model(save_model(small_model, path))
        return paths

    def test_all_models_that_learnt_from_them_are_restored_the_oldest_first(
        self, viewer, two_models, killed, section
    ):
        new = killed()
        viewer.add_image(section, name="cells")
        found = new.correcting.journal
        assert found.offer.endswith("on 1 section, and 2 models that learnt from them.")
        found.restore()
        assert new.model_name == "small second"
        new.correcting.undo()
        assert new.model_name == "small first"
        assert not found.offer
        viewer.layers.remove(new.correcting.corrections.layer)
        assert found.offer.endswith("on 1 section.")  # the models are there
        found.discard()
        assert all(path.exists() for path in two_models)

    def test_or_discarded_all(self, viewer, two_models, killed, section):
        new = killed()
        viewer.add_image(section, name="cells")
        new.correcting.journal.discard()
        assert not any(path.exists() for path in two_models)
        assert not new.correcting.journal.offer

    def test_one_that_is_saved_is_no_longer_kept(self, viewer, two_models, killed, section):
        new = killed()
        viewer.add_image(section, name="cells")
        found = new.correcting.journal
        found.restore()
        new.correcting.save_as("mine")
        found.flush()
        assert found.draft.noted_models == two_models[:1]

    def test_a_draft_of_an_earlier_version_names_one(
        self, viewer, image, journal, stroke, killed, section, draft, small_model
    ):
        stroke(2, 20, 20)
        journal.flush()
        path = save_model(small_model, draft().folder.parent / "small fine-tuned.safetensors")
        journal.note({"model": str(path)})
        new = killed()
        viewer.add_image(section, name="cells")
        found = new.correcting.journal
        found.restore()
        assert new.model_name == "small fine-tuned"
        new.correcting.save_as("mine")
        found.flush()
        assert found.draft.noted_models == []

    def test_the_model_is_restored_with_the_corrections(
        self, viewer, image, journal, stroke, killed, section, draft, small_model
    ):
        stroke(2, 20, 20)
        path = save_model(small_model, draft().folder.parent / "small fine-tuned.safetensors")
        journal.note_model(path)
        new = killed()
        viewer.add_image(section, name="cells")
        assert "and the model that learnt from them" in new.correcting.journal.offer
        new.correcting.journal.restore()
        assert new.model_name == "small fine-tuned"
        assert not new.correcting.journal.offer
