"""Write the tables of the runs in benchmarks/results into docs/benchmarks/paper.md."""

from __future__ import annotations

from pathlib import Path

from napari_feedback_seg.evaluation.reproduce import read_results
from napari_feedback_seg.evaluation.tables import TABLES, blocks, markdown, networks_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "paper.md"
RESULTS = ROOT / "benchmarks" / "results"


def tables() -> str:
    """Return the Markdown of every table of which there is more than U-Net, and more than in Table 1."""
    results = read_results(RESULTS)
    networks = {each.run.network for each in results} - {"unet"}
    others = {2: networks_of(1), 3: networks_of(1)}  # which repeat two lines of it
    told = [table for table in TABLES if networks & set(networks_of(table)) - set(others.get(table, ()))]
    return markdown([block for table in told for block in blocks(results, table)])


def page(text: str) -> str:
    """Return the page with its tables replaced by those of the runs."""
    start = text.index("\n", text.index("<!-- runs:")) + 1
    return f"{text[:start]}\n{tables()}{text[text.index('<!-- end of runs -->') :]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
