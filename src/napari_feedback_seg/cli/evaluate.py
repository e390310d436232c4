"""``feedback-seg evaluate``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Device, Flips, KeepSpecks, Overlap, PixelSize
from napari_feedback_seg.terminal import drain, err, out, reporting, score_table, spans


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or a model file.")],
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Folder of a data set, or sstem for the public one, downloaded once."
        ),
    ],
    sections: Annotated[
        str,
        typer.Option(
            help="Numbers such as 15-19 or 0,3,7; or train, validation, test, as in the model's card."
        ),
    ] = "test",
    device: Device = "auto",
    overlap: Overlap = 0.25,
    pixel_size: PixelSize = None,
    flips: Flips = False,
    keep_specks: KeepSpecks = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    to_card: Annotated[
        bool,
        typer.Option(
            "--to-card", help="Write the scores into the model file, under the name of the sections."
        ),
    ] = False,
) -> None:
    """Print the scores of each class on labelled sections, and of the cells that the membranes enclose."""
    with reporting():
        from napari_feedback_seg.datasets.sstem import load_dataset
        from napari_feedback_seg.evaluation.evaluate import (
            PARTS,
            caveats,
            choose_sections,
            score,
            write_to_card,
        )
        from napari_feedback_seg.models.library import load_model
        from napari_feedback_seg.segmentation.prediction import SegmentOptions

        loaded, data = load_model(model), load_dataset(dataset, cells=True)
        try:
            numbers = choose_sections(sections, loaded.card, data)
            if to_card and sections not in PARTS:
                raise ValueError(f"--to-card goes with --sections {', '.join(PARTS)}.")
            if to_card and [each.name for each in loaded.card.data] != [data.name]:
                about = ", ".join(each.name for each in loaded.card.data) or "no data set"
                raise ValueError(f"The card is about {about}, not {data.name} alone: no --to-card.")
            options = SegmentOptions(
                device=device,
                overlap=overlap,
                pixel_size_nm=pixel_size,
                flips=flips,
                remove_specks=not keep_specks,
                first_round=loaded.card.spec.rounds > 1,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        scores = drain(score(loaded, data, numbers, options), "scoring")
        for message in (*scores.get("messages", []), *caveats(loaded.card, data, numbers)):
            err.print(f"[yellow]Note:[/yellow] {escape(message)}", soft_wrap=True)
        if to_card:
            write_to_card(loaded, sections, scores)
        if as_json:
            sys.stdout.write(json.dumps(scores, indent=2) + "\n")
        else:
            out.print(score_table(f"{loaded.card.name} on sections {spans(numbers)} of {data.name}", scores))
