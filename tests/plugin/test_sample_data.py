from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import ErrorNotification, notification_manager
from npe2 import PluginManifest
from qtpy.QtCore import QThreadPool, QTimer

import napari_feedback_seg
from napari_feedback_seg.datasets import sstem
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import em_sections, pixel_size_nm

NAME = "napari-feedback-seg"
MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")
NOBODY = "http://127.0.0.1:9/"
LONG = 60_000  # ms; a busy machine is slow
LOADING = " (downloading)"


@pytest.fixture
def viewer(make_napari_viewer, npe2pm, said):
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield make_napari_viewer()
        QThreadPool.globalInstance().waitForDone()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    monkeypatch.setattr(sstem, "_SOURCE", NOBODY)
    monkeypatch.setenv(sstem.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def downloaded(cache, sstem_folder):
    """A cache with everything in it."""
    cache.mkdir()
    (cache / "stack1").symlink_to(sstem_folder / "stack1")


class Server(ThreadingHTTPServer):
    """Serves the files of the data set; those after the first ``free`` only when ``gate`` is open."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.free, self.gate = 100, threading.Event()
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if len(self.server.asked) > self.server.free:
            self.server.gate.wait(60)
        super().do_GET()

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(cache, sstem_folder, monkeypatch):
    server = Server(sstem_folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(sstem, "_SOURCE", f"http://127.0.0.1:{server.server_port}/")
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_in_window(viewer, qtbot):
    """Open a sample as the menu does, while the event loop runs; return its layer."""

    def open_in_window(key: str):
        opened: list = []
        QTimer.singleShot(0, lambda: opened.extend(viewer.open_sample(NAME, key)))
        qtbot.waitUntil(lambda: bool(opened), timeout=LONG)
        return opened[0]

    return open_in_window


def errors_with_traceback():
    return [each for each in notification_manager.records if isinstance(each, ErrorNotification)]


def raw(folder: Path, number: int) -> np.ndarray:
    return tifffile.imread(folder / "stack1" / "raw" / f"{number:02d}.tif")


@pytest.mark.usefixtures("downloaded")
def test_a_downloaded_section_opens_at_once_and_offline(viewer, sstem_folder, said, open_in_window):
    layer = open_in_window("sstem_section")
    np.testing.assert_array_equal(layer.data, raw(sstem_folder, sstem.DEMO_SECTION))
    assert layer.name == "ssTEM section, Drosophila VNC"
    assert layer.axis_labels == ("y", "x")
    assert pixel_size_nm(layer) == (4.6, 4.6)
    assert em_sections(layer).count == 1
    assert layer.metadata["licence"] == "CC BY-NC-SA 3.0"
    assert "Gerhard" in layer.metadata["citation"]
    assert "CC BY-NC-SA 3.0" in said()


@pytest.mark.usefixtures("downloaded")
def test_a_downloaded_stack_has_its_sections_in_order(viewer, sstem_folder):
    (layer,) = viewer.open_sample(NAME, "sstem_stack")
    assert layer.data.shape == (20, 1024, 1024)
    assert layer.data.dtype == np.uint8
    for number in (0, 7, 19):
        np.testing.assert_array_equal(layer.data[number], raw(sstem_folder, number))
    np.testing.assert_allclose(layer.scale, (47.5, 4.6, 4.6))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert layer.axis_labels == ("z", "y", "x")


def test_in_a_window_the_layer_gets_its_pixels_later(
    open_in_window, server, cache, sstem_folder, said, qtbot
):
    server.free = 0
    layer = open_in_window("sstem_section")
    assert layer.name == f"ssTEM section, Drosophila VNC{LOADING}"
    assert not layer.data.any()
    changes: list = []
    layer.events.data.connect(changes.append)
    server.gate.set()
    qtbot.waitUntil(lambda: LOADING not in layer.name, timeout=LONG)
    np.testing.assert_array_equal(layer.data, raw(sstem_folder, sstem.DEMO_SECTION))
    assert changes
    assert layer.contrast_limits == [0, 255]
    assert "CC BY-NC-SA 3.0" in said()
    assert server.asked == [f"/stack1/raw/{sstem.DEMO_SECTION:02d}.tif"]
    assert sstem.is_sstem_cached([sstem.DEMO_SECTION], labels=False)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [f"{sstem.DEMO_SECTION:02d}.tif"]


def test_a_stack_appears_section_by_section(open_in_window, server, sstem_folder, qtbot):
    server.free = 2
    layer = open_in_window("sstem_stack")
    qtbot.waitUntil(lambda: len(server.asked) == 3, timeout=LONG)
    np.testing.assert_array_equal(layer.data[1], raw(sstem_folder, 1))
    assert not layer.data[2].any()
    server.gate.set()
    qtbot.waitUntil(lambda: LOADING not in layer.name, timeout=LONG)
    np.testing.assert_array_equal(layer.data[19], raw(sstem_folder, 19))


@pytest.mark.usefixtures("cache")
def test_without_a_network_a_sentence_says_so(viewer, open_in_window, said, qtbot):
    open_in_window("sstem_section")
    qtbot.waitUntil(lambda: "Is this computer on the network?" in said(), timeout=LONG)
    qtbot.waitUntil(lambda: not viewer.layers, timeout=LONG)
    assert not errors_with_traceback()


@pytest.mark.usefixtures("cache")
def test_a_script_waits_and_gets_the_error(viewer):
    with pytest.raises(InputError, match="cannot be downloaded"):
        viewer.open_sample(NAME, "sstem_section")
    assert not viewer.layers


def test_a_script_waits_for_the_pixels(viewer, server, sstem_folder):
    (layer,) = viewer.open_sample(NAME, "sstem_section")
    np.testing.assert_array_equal(layer.data, raw(sstem_folder, sstem.DEMO_SECTION))


def test_deleting_the_layer_ends_the_download(viewer, open_in_window, server, said, qtbot):
    server.free = 1
    layer = open_in_window("sstem_stack")
    qtbot.waitUntil(lambda: len(server.asked) == 2, timeout=LONG)
    viewer.layers.remove(layer)
    server.gate.set()
    qtbot.waitUntil(lambda: "cancelled" in said(), timeout=LONG)
    assert len(server.asked) == 2
    assert not viewer.layers
    assert not errors_with_traceback()


def test_closing_the_viewer_ends_the_download(viewer, open_in_window, server, qtbot):
    server.free = 1
    open_in_window("sstem_stack")
    qtbot.waitUntil(lambda: len(server.asked) == 2, timeout=LONG)
    viewer.close()
    server.gate.set()
    assert QThreadPool.globalInstance().waitForDone(LONG)
    qtbot.wait(50)
    assert len(server.asked) == 2
    assert not errors_with_traceback()


@pytest.mark.slow
def test_the_built_in_section_does_not_hold_the_window_up(open_in_window, qtbot):
    layer = open_in_window("builtin_em_section")
    assert layer.name == "Built-in EM-like section (preparing)"
    qtbot.waitUntil(lambda: layer.name == "Built-in EM-like section", timeout=LONG)
    assert layer.data.std() > 10
    assert pixel_size_nm(layer) == (4.6, 4.6)
