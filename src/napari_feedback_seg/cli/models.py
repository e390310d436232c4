"""``feedback-seg models``, ``models show`` and ``models import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_feedback_seg.cli.options import Half, Overwrite
from napari_feedback_seg.terminal import network_name, out, reporting

models_app = typer.Typer(help="List, show and import models.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models at hand: those that come with the package, and your own."""
    if context.invoked_subcommand:
        return
    with reporting():
        from napari_feedback_seg.models.library import DEFAULT_MODEL, list_models, models_folder

        table = Table("name", "network", "nm/px", "mean IoU", "licence", box=None)
        for entry in list_models():
            if entry.card is None:
                table.add_row(escape(entry.name), f"[red]{escape(entry.error or '')}[/red]")
                continue
            mean = entry.card.scores.get("validation", {}).get("mean_iou")
            table.add_row(
                escape(entry.name) + (" (default)" if entry.name == DEFAULT_MODEL else ""),
                network_name(entry.card.spec.to_json()),
                f"{entry.card.pixel_size_nm:g}",
                f"{mean:.1%}" if mean else "",
                escape(entry.card.licence),
            )
        out.print(table)
        out.print("Mean IoU is that on the model's own validation sections.")
        out.print(f"Your own models: {escape(str(models_folder()))}", soft_wrap=True)


@models_app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or a model file.")],
) -> None:
    """Print a model's card."""
    with reporting():
        from napari_feedback_seg.models.library import find_model
        from napari_feedback_seg.models.model_file import read_card

        # In ASCII: a card that is sent to a file has to be read again, whatever the terminal's encoding.
        out.print_json(json.dumps(read_card(find_model(name)).to_json()), ensure_ascii=True)


@models_app.command("import")
def import_model(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A PyTorch state_dict: .pt or .pth.")],
    card: Annotated[
        Path,
        typer.Option(
            "--card",
            help="JSON as 'models show' prints it; name, spec, classes, pixel_size_nm, tile at least.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name in your models folder.")],
    half: Half = False,
    overwrite: Overwrite = False,
) -> None:
    """Turn PyTorch weights into a model of your library; nothing is ever unpickled."""
    with reporting():
        from dataclasses import replace

        from napari_feedback_seg.errors import ModelError
        from napari_feedback_seg.models.library import save_to_library
        from napari_feedback_seg.models.model import ModelCard
        from napari_feedback_seg.models.model_file import import_state_dict

        try:
            parsed = json.loads(card.read_bytes())  # of any Unicode encoding
        except (OSError, ValueError) as error:
            raise ModelError(f"The card '{card}' cannot be read as JSON ({error}).") from error
        model = import_state_dict(weights, replace(ModelCard.from_json(parsed), name=name))
        path = save_to_library(model, name, half=half, overwrite=overwrite)
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)
