"""``feedback-seg run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Overwrite
from napari_feedback_seg.terminal import err, out, reporting


def run(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECORD.json", help="A recipe, or the record of a result that was exported."),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE", help="What to do it with; the image of the record if not given."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the results go.")
    ] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command lines, and do nothing.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Repeat what a record says, or the steps of a recipe, with other images."""
    with reporting("What was finished stays; nothing half-written was left."):
        from napari_feedback_seg.cli.recipe import (
            FORMAT,
            checked_steps,
            filled_in,
            needs_image,
            paths_of,
            read_file,
            recorded_steps,
            run_step,
        )
        from napari_feedback_seg.errors import InputError
        from napari_feedback_seg.io import open_image
        from napari_feedback_seg.segmentation.command_line import shell_line

        data = read_file(recipe)
        is_recipe = data["format"] == FORMAT
        steps = checked_steps(data) if is_recipe else []
        of_record = None if is_recipe else (data.get("image") or {}).get("path")
        chosen = images or ([Path(of_record)] if of_record else [])
        if not chosen and (not is_recipe or needs_image(steps)):
            raise InputError(f"Name an image: feedback-seg run {recipe.name} IMAGE.")
        lines: list[list[str]] = []
        for image, name in paths_of(chosen) if chosen else [(Path(), "")]:
            if not is_recipe:
                steps, said = recorded_steps(data, recipe, open_image(image), bool(images))
                for sentence in said:
                    err.print(f"[yellow]{escape(name)}:[/yellow] {escape(sentence)}", soft_wrap=True)
            places = {"output": str(output), "here": str(recipe.absolute().parent)}
            lines += filled_in(steps, image=str(image), name=name, **places)
        if overwrite:
            lines = [[*words, "--overwrite"] for words in lines]
        if not dry_run:
            output.mkdir(parents=True, exist_ok=True)
        for words in lines:
            out.print(escape(shell_line(["feedback-seg", *words])), soft_wrap=True)
            if not dry_run and (code := run_step(words)):
                raise typer.Exit(code)
