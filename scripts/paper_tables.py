"""Write the tables of the runs in benchmarks/results into docs/benchmarks/paper.md."""

from __future__ import annotations

from pathlib import Path

from napari_feedback_seg.evaluation.reproduce import read_results
from napari_feedback_seg.evaluation.tables import TABLES, blocks, markdown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "paper.md"
RESULTS = ROOT / "benchmarks" / "results"


def tables() -> str:
    """Return the Markdown of every table, without those whose lines are all in another."""
    results = read_results(RESULTS)
    found = [block for table in TABLES for block in blocks(results, table)]
    repeated = [each for each in found if any(set(each.scores) < set(other.scores) for other in found)]
    return markdown([block for block in found if block not in repeated])


def page(text: str) -> str:
    """Return the page with its tables replaced by those of the runs."""
    start = text.index("\n", text.index("<!-- runs:")) + 1
    return f"{text[:start]}\n{tables()}{text[text.index('<!-- end of runs -->') :]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
