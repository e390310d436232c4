from __future__ import annotations

from pathlib import Path

import napari.settings
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QObject

import napari_feedback_seg
from napari_feedback_seg.models import library
from napari_feedback_seg.models.library import FOLDER_VARIABLE, use_models_folder
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock
from napari_feedback_seg.plugin.contributions.settings import (
    PLUGIN,
    Settings,
    apply_settings,
    read_settings,
    unwatch_settings,
    watch_settings,
)
from napari_feedback_seg.segmentation.prediction import SegmentOptions

MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")


@pytest.fixture
def registered(plugin_settings, npe2pm):
    """The plugin in a napari whose settings are in the test's folder."""
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield


@pytest.fixture
def page(registered):
    """What the page in Preferences edits."""
    return napari.settings.get_plugin_settings(PLUGIN).segmentation


@pytest.fixture
def _no_variable(monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    yield
    use_models_folder(None)


def test_the_defaults_are_those_of_the_manifest_and_of_segmenting(page):
    assert read_settings() == Settings(page.device, page.overlap)
    assert (Settings().device, Settings().overlap) == (SegmentOptions().device, SegmentOptions().overlap)


def test_where_the_plugin_is_not_registered_the_defaults_hold(plugin_settings, npe2pm):
    assert read_settings() == Settings()
    watch_settings(print)
    unwatch_settings(print)


def test_in_an_older_napari_the_defaults_hold(page, monkeypatch):
    page.device = "cpu"
    monkeypatch.delattr(napari.settings, "get_plugin_settings")
    assert read_settings() == Settings()


def test_what_was_set_is_there_after_a_restart(page, tmp_path):
    page.device, page.overlap, page.models_folder = "cpu", 0.5, str(tmp_path)
    expected = Settings("cpu", 0.5, tmp_path)
    assert read_settings() == expected
    file = napari.settings.get_plugin_settings(PLUGIN).config_path
    assert file.parent == tmp_path
    again = type(napari.settings.get_plugin_settings(PLUGIN))(config_path=file).segmentation
    assert (again.device, again.overlap, again.models_folder) == ("cpu", 0.5, str(tmp_path))


@pytest.mark.parametrize(("name", "value"), [("device", "tpu"), ("overlap", 0.95), ("overlap", -0.1)])
def test_the_page_takes_no_value_that_makes_no_sense(page, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(page, name, value)
    assert read_settings() == Settings()


def test_a_file_with_bad_values_gives_the_defaults(registered, tmp_path):
    (tmp_path / f"{PLUGIN}.yaml").write_text("segmentation:\n  device: tpu\n  overlap: 5\n  unknown: 1\n")
    assert read_settings() == Settings()


@pytest.mark.usefixtures("_no_variable")
def test_the_models_folder_reaches_the_library(page, tmp_path, monkeypatch):
    usual = library.models_folder()
    page.models_folder = f" {tmp_path / 'models'} "
    assert apply_settings().models_folder == tmp_path / "models"
    assert library.models_folder() == tmp_path / "models"
    page.models_folder = "~/models"
    apply_settings()
    assert library.models_folder() == Path.home() / "models"
    page.models_folder = ""
    apply_settings()
    assert library.models_folder() == usual
    page.models_folder = str(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "variable"))
    apply_settings()
    assert library.models_folder() == tmp_path / "variable"


@pytest.mark.usefixtures("_no_variable")
@pytest.mark.parametrize(
    ("text", "wrong"),
    [("models", "no full path"), ("{file}", "no folder"), ("~nobody-here/m", "no full path")],
)
def test_a_models_folder_that_is_none_gives_a_sentence_and_the_usual_one(page, tmp_path, text, wrong):
    usual = library.models_folder()
    file = tmp_path / "file"
    file.touch()
    page.models_folder = text.format(file=file)
    settings = apply_settings()
    assert settings.models_folder is None
    (message,) = settings.messages
    assert wrong in message
    assert library.models_folder() == usual


class Watcher(QObject):
    def __init__(self):
        super().__init__()
        self.seen = []

    def look(self, event):
        self.seen.append(read_settings())


def test_a_change_in_preferences_is_heard_of(page):
    watcher = Watcher()
    watch_settings(watcher.look)
    page.device = "cpu"
    page.overlap = 0.5
    assert watcher.seen[0] == Settings("cpu")
    assert watcher.seen[-1] == Settings("cpu", 0.5)
    count = len(watcher.seen)
    unwatch_settings(watcher.look)
    unwatch_settings(watcher.look)
    page.device = "auto"
    assert len(watcher.seen) == count


def test_watching_keeps_nothing_alive(page):
    watcher = Watcher()
    seen = watcher.seen
    watch_settings(watcher.look)
    del watcher
    page.device = "cpu"
    assert not seen


class TestPanel:
    @pytest.fixture
    def dock(self, page, make_napari_viewer, models_folder):
        page.device, page.overlap = "cpu", 0.4
        dock = FeedbackDock(make_napari_viewer())
        yield dock
        dock.cleanup()

    def test_the_page_is_where_the_panel_starts(self, dock):
        assert dock.session.device == "cpu"
        assert dock.segment_tab.device_box.currentText() == "CPU"
        assert dock.segment_tab.options_form.widgets["overlap"].value == 0.4

    def test_a_change_there_is_followed_and_leaves_what_was_chosen_in_the_panel(self, dock, page):
        tab = dock.segment_tab
        tab.options_form.widgets["overlap"].value = 0.5
        page.device = "auto"
        assert tab.options_form.widgets["overlap"].value == 0.5
        page.overlap = 0.1
        assert tab.options_form.widgets["overlap"].value == 0.1

    def test_what_is_wrong_there_is_said_when_the_panel_opens(self, page, make_napari_viewer, said):
        page.models_folder = "models"
        dock = FeedbackDock(make_napari_viewer())
        assert "'models' is no full path" in said()
        dock.cleanup()
