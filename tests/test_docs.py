"""The examples and tables in docs/ are what the code does."""

from __future__ import annotations

import re
import runpy
from inspect import getdoc
from pathlib import Path
from pydoc import locate

import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from PIL import Image

import napari_feedback_seg

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"), re.S
)

PAGES = pytest.mark.parametrize(
    "page",
    [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)


SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PUBLIC = re.findall(
    r"^::: (\S+)", (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8"), re.M
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_of_the_gallery_makes_its_picture(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    shown = ROOT / "docs" / "images" / "gallery" / f"{script.stem}.jpg"
    with Image.open(f"{script.stem}.jpg") as made, Image.open(shown) as known:
        assert made.size == known.size
        difference = np.abs(np.asarray(made, float) - np.asarray(known, float)).mean()
    assert difference < 8  # grey values; another computer rounds otherwise


def test_the_gallery_shows_every_script() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 5
    for script in SCRIPTS:
        assert f'--8<-- "examples/{script.name}"' in page
        assert f"(images/gallery/{script.stem}.jpg)" in page


def test_every_public_name_is_in_the_reference() -> None:
    shown = {name.rpartition(".")[2] for name in PUBLIC}
    assert set(napari_feedback_seg.__all__) - {"__version__"} <= shown


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_of_the_reference_is_documented(name: str) -> None:
    found = locate(name)
    assert found is not None
    assert getdoc(found)


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.split("\n")[0][:40] for text in EXAMPLES])
def test_example_runs(example: str) -> None:
    exec(compile(example, "docs/how-to/python.md", "exec"), {})


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 5


def test_scores_are_those_of_the_cards() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "model_scores.py"))
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert script["page"](text) == text


def test_the_page_on_architecture_names_what_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = Path(napari_feedback_seg.__file__).parent
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert any(source.rglob(name)), name
    for each in source.iterdir():
        if each.is_dir() and each.name != "__pycache__":
            assert f"\n| `{each.name}/`" in text


@pytest.mark.parametrize("link", ["[gone](gone.md)", "[gone](index.md#gone)", "![gone](gone.png)"])
def test_the_site_is_not_built_with_a_broken_link(link: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{link}\n")
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(tmp_path / "docs"),
        site_dir=str(tmp_path / "site"),
        hooks=[],
        nav=None,
        plugins=[],
    )
    with pytest.raises(Abort, match="strict"):
        build(config)


def test_the_site_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > 25
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe|source)[^>]*(?:src|href)=[\"']?(https?:|//)", page.read_text("utf-8")
        )
        assert not loaded, page
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:|//)", style.read_text("utf-8")), style


@PAGES
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"^[A-Z]+_[A-Z_]+$", page.read_text(encoding="utf-8"), re.M)


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
