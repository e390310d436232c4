"""What `make demo` would do, with a screen and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def planned(target: str, folder: Path, **variables: str) -> str:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MAKEFLAGS", "MAKELEVEL", "VENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    venv = f"VENV={folder / 'venv'}"
    done = subprocess.run(
        ["make", "-n", target, venv], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has a screen")
def test_without_a_screen_the_demo_needs_no_qt(tmp_path: Path) -> None:
    text = planned("demo", tmp_path)
    assert "feedback-seg demo" in text
    assert "venv all" not in text
    assert "open_demo" not in text


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_with_a_screen_the_demo_opens_napari_after_it_has_written(tmp_path: Path, variable: str) -> None:
    text = planned("demo", tmp_path, **{variable: ":0"})
    assert "venv all" in text
    assert text.index("feedback-seg demo") < text.index("contributions.open_demo demo")


def test_the_tests_do_not_ask_for_a_screen(tmp_path: Path) -> None:
    assert planned("test", tmp_path) == planned("test", tmp_path, DISPLAY=":0")


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    command = ["scripts/setup.sh", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
