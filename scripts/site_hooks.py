"""What the site has and no page says: the options of each command, and the files at the root."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from typer.cli import get_docs_for_click
from typer.main import get_command

from napari_feedback_seg.cli import app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill the places that a page leaves for the commands, or for a file at the root."""
    del page, config, files
    markdown = re.sub("<!-- commands -->", lambda _: commands(), markdown)
    return re.sub(r"<!-- file (\S+) -->", lambda found: file_at_root(found[1]), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put right what mkdocstrings does not read in docstrings: roles, and the hyphen of a type."""
    del page, config, files
    html = re.sub(
        r":(?:func|class|meth|mod|data|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>", r"<code>\1</code>", html
    )
    return re.sub(r"\b(array|path) - like", r"\1-like", html)


def commands() -> str:
    """Return every command with its arguments and options, as Markdown."""
    command = get_command(app)
    with command.make_context("feedback-seg", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, indent=1, name="feedback-seg")
    return unescape(text)


def file_at_root(name: str) -> str:
    """Return the text of a file, with links that are right within ``docs/``."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
