"""The examples and tables in docs/ are what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"), re.S
)

PAGES = pytest.mark.parametrize(
    "page",
    [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.split("\n")[0][:40] for text in EXAMPLES])
def test_example_runs(example: str) -> None:
    exec(compile(example, "docs/how-to/python.md", "exec"), {})


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 5


def test_scores_are_those_of_the_cards() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "model_scores.py"))
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert script["page"](text) == text


@PAGES
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"^[A-Z]+_[A-Z_]+$", page.read_text(encoding="utf-8"), re.M)


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
