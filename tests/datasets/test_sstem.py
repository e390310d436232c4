from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from napari_feedback_seg.datasets import sstem
from napari_feedback_seg.errors import InputError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_merged_labels_become_the_four_classes_of_the_paper() -> None:
    merged = np.array([[0, 32, 64, 96, 128, 159], [191, 223, 255, 255, 191, 223]], np.uint8)
    classes = sstem.merged_to_classes(merged, Path("labels.png"))
    assert classes.tolist() == [[1, 1, 1, 1, 1, 1], [2, 3, 4, 4, 2, 3]]
    with pytest.raises(InputError, match=r"do not define: \[7\]"):
        sstem.merged_to_classes(np.full((2, 2), 7, np.uint8), Path("labels.png"))
    with pytest.raises(InputError, match="8-bit"):
        sstem.merged_to_classes(np.zeros((2, 2), bool), Path("labels.png"))


def test_without_a_network_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_FEEDBACK_SEG_CACHE", str(tmp_path))
    monkeypatch.setattr(sstem, "_SOURCE", "http://127.0.0.1:9/")  # nobody listens there
    with pytest.raises(InputError, match="cannot be downloaded"):
        sstem.fetch_sstem([0])


def test_what_was_changed_on_the_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the cache that is not what it should be is fetched again, not used."""
    for name in ("raw/00.tif", "labels/labels00000000.png"):
        wrong = tmp_path / "stack1" / name
        wrong.parent.mkdir(parents=True)
        wrong.write_bytes(b"not the section")
    monkeypatch.setenv("NAPARI_FEEDBACK_SEG_CACHE", str(tmp_path))
    monkeypatch.setattr(sstem, "_SOURCE", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match="cannot be downloaded"):
        sstem.fetch_sstem([0])


def test_real_sections(sstem_folder: Path) -> None:
    dataset = sstem.load_dataset(sstem_folder)
    assert len(dataset.images) == 20
    assert {image.shape for image in dataset.images} == {(1024, 1024)}
    labels = np.stack(dataset.labels)
    shares = [(labels == value).mean() * 100 for value in (1, 2, 3, 4)]
    assert shares == pytest.approx([20.0, 5.4, 0.56, 74.1], abs=0.06)  # as the paper's protocol is read
    assert dataset.fold(0) == (tuple(range(12)), (12, 13, 14))
    assert dataset.test == (15, 16, 17, 18, 19)


def test_the_download_is_checked_against_the_real_files(sstem_folder: Path) -> None:
    for line in Path(sstem.__file__).with_name("sstem_sha256.txt").read_text().splitlines():
        name, digest = line.split()
        assert hashlib.sha256((sstem_folder / name).read_bytes()).hexdigest() == digest


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    for name in ("raw", "labels"):
        (tmp_path / "stack1" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"no file .*00\.tif"):
        sstem.load_dataset(tmp_path)


def test_a_page_in_place_of_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that asks for a login answers everything with a page of its own."""
    for name in ("raw/00.tif", "labels/labels00000000.png"):
        page = tmp_path / "portal" / "stack1" / name
        page.parent.mkdir(parents=True)
        page.write_bytes(b"<html>Please log in</html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "portal")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(sstem, "_SOURCE", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv(sstem.CACHE_VARIABLE, str(tmp_path / "cache"))
    try:
        with pytest.raises(InputError, match="checksum"):
            sstem.fetch_sstem([0])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(sstem.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be saved in .*cache.*NAPARI_FEEDBACK_SEG_CACHE"):
        sstem.fetch_sstem([0])


def test_what_is_cached_is_known(tmp_path: Path, sstem_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sstem.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(sstem, "_SOURCE", "http://127.0.0.1:9/")
    (tmp_path / "stack1" / "raw").mkdir(parents=True)
    assert not sstem.is_sstem_cached([3], labels=False)
    raw = tmp_path / "stack1" / "raw" / "03.tif"
    raw.write_bytes((sstem_folder / "stack1" / "raw" / "03.tif").read_bytes())
    assert sstem.is_sstem_cached([3], labels=False)
    assert not sstem.is_sstem_cached([3])
    assert not sstem.is_sstem_cached([3, 4], labels=False)
    assert sstem.fetch_sstem([3], labels=False) == tmp_path
    assert sstem.read_sstem_image(tmp_path, 3).shape == sstem.SECTION_SHAPE
    raw.write_bytes(raw.read_bytes()[:-1])
    assert not sstem.is_sstem_cached([3], labels=False)
