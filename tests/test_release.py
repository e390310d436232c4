"""A release can be cut: the version and what is asked for are the same wherever they stand."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from napari_feedback_seg import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load(text("CITATION.cff"))["version"] == __version__
    assert yaml.safe_load(text("recipe/recipe.yaml"))["context"]["version"] == __version__
    newest = re.findall(r"^## (\d\S*) \((\S+)\)$", text("CHANGELOG.md"), re.M)[0]
    assert newest == (__version__, str(yaml.safe_load(text("CITATION.cff"))["date-released"]))


def test_the_recipe_asks_for_what_the_package_asks_for() -> None:
    wanted = {
        line.replace("torch", "pytorch", 1) if line.startswith("torch>") else line
        for line in PROJECT["dependencies"]
    }
    found = yaml.safe_load(text("recipe/recipe.yaml"))["requirements"]["run"][1:]
    assert {line.replace(" ", "", 1) for line in found} == wanted


def test_every_python_that_is_named_is_tested() -> None:
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d", line)}
    matrix = yaml.safe_load(text(".github/workflows/test.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert set(matrix["python"]) == named
    assert len(matrix["os"]) == 3


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_files_for_github_can_be_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_report_of_a_problem_asks_for_what_info_prints() -> None:
    form = yaml.safe_load(text(".github/ISSUE_TEMPLATE/problem.yml"))
    [asked] = [part for part in form["body"] if part["id"] == "info"]
    assert "feedback-seg info" in asked["attributes"]["description"]
    assert asked["validations"]["required"]


def test_no_dependency_has_an_upper_pin_that_is_not_explained() -> None:
    pinned = [line for line in PROJECT["dependencies"] if "<" in line]
    assert pinned == ["bioimage-cpp>=0.10,<0.11"]  # below 1.0, and each minor version changes names
