from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io.claim import ClaimedError, claim

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from napari_feedback_seg.io.claim import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".self-w16.lock"


def test_only_one_holds_it_and_the_next_one_after_it(path: Path) -> None:
    with (
        claim(path),
        pytest.raises(ClaimedError, match="self-w16 is being run by another process"),
        claim(path),
    ):
        pass
    with claim(path):
        pass


def test_it_goes_when_the_work_fails(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(path):
        raise KeyboardInterrupt
    with claim(path):
        pass


def test_it_goes_with_the_process_however_that_ends(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ClaimedError), claim(path):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with claim(path):
        pass


def test_a_claim_of_an_earlier_version_does_not_hold(path: Path) -> None:
    path.write_text('{"host": "elsewhere", "pid": 1}', encoding="utf-8")
    with claim(path):
        pass


def test_it_can_be_let_go_in_another_thread(path: Path) -> None:
    stack = ExitStack()
    stack.enter_context(claim(path))
    with ThreadPoolExecutor(1) as other:
        other.submit(stack.close).result()
    with claim(path):
        pass


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), claim(tmp_path / "file" / ".a.lock"):
        pass


def test_only_one_of_many_gets_it(path: Path) -> None:
    for _ in range(30):
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
