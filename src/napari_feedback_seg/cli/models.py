"""``feedback-seg models``, ``models show``, ``models export`` and ``models import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_feedback_seg.cli.options import Half, Overwrite
from napari_feedback_seg.terminal import network_name, out, reporting

models_app = typer.Typer(help="List, show, export and import models.", invoke_without_command=True)


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
    methods: Annotated[
        bool, typer.Option("--methods", help="Print sentences for a methods section, with what to cite.")
    ] = False,
) -> None:
    """Print a model's card."""
    with reporting():
        from napari_feedback_seg.models.library import find_model
        from napari_feedback_seg.models.methods import methods_text
        from napari_feedback_seg.models.model_file import read_card

        path = find_model(name)
        card = read_card(path)
        if methods:
            out.print(escape(methods_text(card, path)), soft_wrap=True)
            return
        # In ASCII: a card that is sent to a file has to be read again, whatever the terminal's encoding.
        out.print_json(json.dumps(card.to_json()), ensure_ascii=True)


@models_app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or a model file.")],
    bioimageio: Annotated[
        Path, typer.Option("--bioimageio", metavar="FILE.zip", help="The bioimage.io package to write.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write a model as a bioimage.io package, which other programs can run."""
    with reporting():
        from napari_feedback_seg.models.bioimageio.export import export_bioimageio
        from napari_feedback_seg.models.library import load_model

        path = export_bioimageio(load_model(name), bioimageio, overwrite=overwrite)
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)


@models_app.command("import")
def import_model(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A bioimage.io package (.zip), a model file (.safetensors), or a PyTorch state_dict (.pt).",
        ),
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            help="For a state_dict: JSON as 'models show' prints it; name, spec, classes, pixel_size_nm and "
            "tile at least.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name in your models folder; as the file if not given.")
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="NM", help="For a package that does not say it: pixel size of its training."),
    ] = None,
    half: Half = False,
    overwrite: Overwrite = False,
) -> None:
    """Add a model to your library; nothing is ever unpickled, and no foreign code is run."""
    if pixel_size is not None and not 0 < pixel_size < float("inf"):
        raise typer.BadParameter(f"A pixel size is a number of nm above 0, not {pixel_size}.")
    if card is None and weights.suffix in (".pt", ".pth"):
        raise typer.BadParameter("Weights of PyTorch need a card: --card CARD.json.")
    with reporting():
        from dataclasses import replace

        from napari_feedback_seg.errors import ModelError
        from napari_feedback_seg.models.library import find_model, import_to_library, save_to_library
        from napari_feedback_seg.models.model import ModelCard
        from napari_feedback_seg.models.model_file import import_state_dict

        if card is None:
            added = import_to_library(weights, name, pixel_size_nm=pixel_size, overwrite=overwrite)
            path = find_model(added)
        else:
            try:
                parsed = json.loads(card.read_bytes())  # of any Unicode encoding
            except (OSError, ValueError) as error:
                raise ModelError(f"The card '{card}' cannot be read as JSON ({error}).") from error
            name = name or weights.stem
            model = import_state_dict(weights, replace(ModelCard.from_json(parsed), name=name))
            path = save_to_library(model, name, half=half, overwrite=overwrite)
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)
