from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.evaluation import claim as module
from napari_feedback_seg.evaluation.claim import BEAT_S, STALE_S, ClaimedError, claim

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "self-w16.claim"


def written(path: Path, host: str, pid: int, age_s: float = 0, **place: str) -> None:
    who = {"host": host, "pid": pid, "since": "2026-01-02 03:04:05", "token": "x"}
    path.write_text(json.dumps({**who, **module._place(), **place}))
    os.utime(path, (time.time() - age_s,) * 2)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_it_says_who_holds_it_and_goes_when_it_ends(path: Path) -> None:
    with claim(path):
        held = json.loads(path.read_text())
        assert (held["host"], held["pid"]) == (platform.node(), os.getpid())
        with pytest.raises(ClaimedError, match=f"process {os.getpid()} on .* delete"), claim(path):
            pass
        assert json.loads(path.read_text()) == held
    assert not list(path.parent.iterdir())


def test_it_goes_when_the_work_fails(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(path):
        raise KeyboardInterrupt
    assert not list(path.parent.iterdir())


def test_that_of_another_machine_holds_while_it_is_renewed(path: Path) -> None:
    written(path, "elsewhere", 1, age_s=STALE_S - 60)
    with pytest.raises(ClaimedError, match="on elsewhere since 2026-01-02 03:04:05"), claim(path):
        pass
    written(path, "elsewhere", 1, age_s=STALE_S + 60)
    with claim(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot ask without ending the process.")
def test_that_of_a_process_that_ended_here_is_taken_over(path: Path) -> None:
    written(path, platform.node(), os.getppid())
    with pytest.raises(ClaimedError), claim(path):
        pass
    written(path, platform.node(), ended_process())
    with claim(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("place", "gone"), [({"machine": "another"}, False), ({"processes": "x"}, False), ({"boot": "x"}, True)]
)
def test_a_name_alone_is_no_machine(place: dict[str, str], gone: bool, path: Path) -> None:
    written(path, platform.node(), ended_process(), **place)
    if gone:
        with claim(path):
            assert json.loads(path.read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(ClaimedError), claim(path):
            pass


def test_a_clock_that_is_fast_takes_nothing_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, "elsewhere", 1)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 2 * STALE_S)
    with pytest.raises(ClaimedError), claim(path):
        pass
    assert list(path.parent.iterdir()) == [path]


def test_one_that_is_just_being_written_holds(path: Path) -> None:
    path.touch()
    with pytest.raises(ClaimedError), claim(path):
        pass


@pytest.mark.parametrize("stale", [False, True])
def test_only_one_of_many_gets_it(stale: bool, path: Path) -> None:
    for _ in range(30):
        if stale:
            written(path, "elsewhere", 1, age_s=2 * STALE_S)
        start = Barrier(8)

        def take(_: int, start: Barrier = start) -> ExitStack | None:
            stack = ExitStack()
            start.wait()
            try:
                stack.enter_context(claim(path))
            except ClaimedError:
                return None
            return stack

        with ThreadPoolExecutor(8) as threads:
            held = [each for each in threads.map(take, range(8)) if each]
        assert len(held) == 1
        held[0].close()
        assert not list(path.parent.iterdir())


def test_renewing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    with claim(path) as renew:
        os.utime(path, (0, 0))
        renew()
        assert path.stat().st_mtime == 0  # too early
        monkeypatch.setattr(module.time, "monotonic", lambda: now + 2 * BEAT_S)
        renew()
        assert path.stat().st_mtime > time.time() - 60


def test_who_was_taken_over_stops_and_leaves_the_new_claim(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    with claim(path) as renew:
        written(path, "elsewhere", 1)
        monkeypatch.setattr(module.time, "monotonic", lambda: now + 2 * BEAT_S)
        with pytest.raises(TrainingError, match="Somebody else has taken"):
            renew()
    assert json.loads(path.read_text())["host"] == "elsewhere"
