from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import (
    atomic,
    check_output,
    label_writer,
    new_folder,
    replacing,
)

RNG = np.random.default_rng(0)
SECTION = RNG.integers(0, 255, (40, 50), np.uint8)
STACK = RNG.integers(0, 60000, (5, 40, 50), np.uint16)


class TestReplacing:
    def test_moves_when_complete(self, tmp_path):
        with replacing(tmp_path / "new" / "out.txt") as temporary:
            temporary.write_text("whole")
            assert not (tmp_path / "new" / "out.txt").exists()
            assert temporary.parent == tmp_path / "new"
        assert [each.name for each in (tmp_path / "new").iterdir()] == ["out.txt"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_keeps_what_was_there(self, tmp_path, error):
        path = tmp_path / "labels.tif"
        path.write_text("old")

        def stopped() -> None:
            with label_writer(path, (2, 4, 5), overwrite=True) as write:
                write(np.zeros((4, 5), np.uint8))
                raise error

        with pytest.raises(error):
            stopped()
        assert [each.name for each in tmp_path.iterdir()] == ["labels.tif"]
        assert path.read_text() == "old"

    def test_overwrites_only_when_asked(self, tmp_path):
        path = tmp_path / "out.txt"
        path.write_text("old")
        with pytest.raises(OutputError, match="already"):
            check_output(path)
        with pytest.raises(OutputError, match="already"), replacing(path):
            pytest.fail("the work had begun")
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"

    def test_what_another_program_has_open_on_windows_gets_a_name_beside_it(self, tmp_path, monkeypatch):
        path, replace = tmp_path / "labels.tif", os.replace
        path.write_text("old")
        tries = []

        def held(source, target):
            tries.append(target)
            if len(tries) < 4:
                raise PermissionError(errno.EACCES, "in use")
            replace(source, target)

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        monkeypatch.setattr(os, "replace", held)
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"
        monkeypatch.setattr(atomic, "_PATIENCE", 2)
        tries.clear()
        message = r"open in another program .* The new file is '.*labels-1\.tif'"
        with pytest.raises(OutputError, match=message), replacing(path, overwrite=True) as temporary:
            temporary.write_text("newer")
        assert path.read_text() == "new"
        assert (tmp_path / "labels-1.tif").read_text() == "newer"
        tries.clear()
        with (
            pytest.raises(OutputError, match=r"labels\.tif' cannot be written"),
            replacing(path, overwrite=True, beside=False) as temporary,
        ):
            temporary.write_text("newest")
        assert path.read_text() == "new"
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_folder_that_cannot_get_its_name_is_not_lost(self, tmp_path, monkeypatch):
        rename, tries = os.rename, []

        def held(source, target):
            tries.append(target)
            if len(tries) < 4:
                raise PermissionError(errno.EACCES, "in use")
            rename(source, target)

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        monkeypatch.setattr(os, "rename", held)
        with new_folder(tmp_path / "first") as folder:
            (folder / "labels.tif").touch()
        assert (tmp_path / "first" / "labels.tif").is_file()
        monkeypatch.setattr(atomic, "_PATIENCE", 2)
        tries.clear()
        with (
            pytest.raises(OutputError, match="is complete, but") as caught,
            new_folder(tmp_path / "two") as folder,
        ):
            (folder / "labels.tif").touch()
        assert str(folder) in str(caught.value)
        assert (folder / "labels.tif").is_file()
        with pytest.raises(ValueError, match="mine"), new_folder(tmp_path / "three") as folder:
            raise ValueError("mine")
        assert not folder.exists()

    def test_windows_says_of_every_folder_that_it_may_be_written(self, tmp_path, monkeypatch):
        def refused(*_, **__):
            raise PermissionError(errno.EACCES, "denied")

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        check_output(tmp_path / "out.tif")
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(Path, "touch", refused)
        with pytest.raises(OutputError, match="may not write"):
            check_output(tmp_path / "out.tif")

    def test_overwrites_nothing_that_came_meanwhile(self, tmp_path):
        path = tmp_path / "out.txt"

        def late() -> None:
            with replacing(path) as temporary:
                temporary.write_text("ours")
                path.write_text("theirs")

        with pytest.raises(OutputError, match="already"):
            late()
        assert path.read_text() == "theirs"
        assert list(tmp_path.iterdir()) == [path]

    def test_folder_in_the_way(self, tmp_path):
        with pytest.raises(OutputError, match="is a folder"):
            check_output(tmp_path, overwrite=True)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_device_or_a_pipe_is_no_file(self, tmp_path, overwrite):
        os.mkfifo(tmp_path / "pipe.tif")
        (tmp_path / "link.tif").symlink_to("/dev/null")
        for path in ("/dev/null", tmp_path / "pipe.tif", tmp_path / "link.tif"):
            with pytest.raises(OutputError, match="a device, a pipe or a socket"):
                check_output(path, overwrite)

    @pytest.mark.parametrize("dangling", [False, True])
    def test_a_link_is_written_through(self, tmp_path, dangling):
        target, link = tmp_path / "folder" / "real.txt", tmp_path / "link.txt"
        link.symlink_to(target)
        if not dangling:
            target.parent.mkdir()
            target.write_text("old")
        with pytest.raises(OutputError, match="already"):
            check_output(link)
        with replacing(link, overwrite=True) as temporary:
            temporary.write_text("new")
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert list(target.parent.iterdir()) == [target]

    def test_file_instead_of_a_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="is a file and not a folder"):
            check_output(tmp_path / "file" / "out.tif")

    def test_folder_that_may_not_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)  # the system's word; root may write anywhere
        with pytest.raises(OutputError, match="may not write"):
            check_output(tmp_path / "out.tif")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_full_disk_by_its_error(self, tmp_path, code):
        def full() -> None:
            with replacing(tmp_path / "out.txt") as temporary:
                temporary.write_text("half")
                raise OSError(code, os.strerror(code))

        with pytest.raises(OutputError, match="disk is full"):
            full()
        assert list(tmp_path.iterdir()) == []

    def test_full_disk(self, tmp_path):
        """A limit on the size of files is a disk that becomes full while writing."""
        noise = RNG.integers(0, 255, (1000, 1000), np.uint8)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
        try:
            with (
                pytest.raises(OutputError, match="disk is full"),
                label_writer(tmp_path / "labels.tif", noise.shape) as write,
            ):
                write(noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert list(tmp_path.iterdir()) == []
