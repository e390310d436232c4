"""``feedback-seg reproduce``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Device, PixelSize
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.terminal import err, out, reporting, watch_training

if TYPE_CHECKING:
    from napari_feedback_seg.evaluation.reproduce import Run


def reproduce(
    table: Annotated[int, typer.Option(min=1, max=4, help="Number of the paper's table.")],
    dataset: Annotated[
        str, typer.Option(help="Folder of a data set, or sstem for the public one, downloaded once.")
    ] = "sstem",
    results: Annotated[
        Path, typer.Option(help="Folder of the results, which several machines may share.")
    ] = Path("reproduction"),
    recipe: Annotated[
        str, typer.Option(help="paper: as we read the paper; ours: that of the bundled models.")
    ] = "paper",
    networks: Annotated[
        str, typer.Option(help="Only these networks of the table, such as unet,self.", show_default="all")
    ] = "",
    folds: Annotated[str, typer.Option(help="Numbers such as 0 or 0-4.")] = "0-4",
    seeds: Annotated[str, typer.Option(help="Numbers such as 0 or 0-2.")] = "0-2",
    width: Annotated[
        int | None, typer.Option(min=1, help="Channels of the first block.", show_default="the recipe's")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs.", show_default="the recipe's")] = None,
    key_pooling: Annotated[
        int | None, typer.Option(min=1, help="1 is exact attention.", show_default="the recipe's")
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, the machine's best; bf16 or fp32, for machines that are to share.")
    ] = "auto",
    pixel_size: PixelSize = None,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing, only make the table of what is there.")
    ] = False,
) -> None:
    """Train the networks of one of the paper's tables, and print it beside the paper's figures.

    A run that is there is not repeated, one that was interrupted goes on from its last epoch.
    """
    with reporting("The last full epoch is kept. Give the same command again to go on."):
        from napari_feedback_seg.datasets.dataset import FOLDS
        from napari_feedback_seg.evaluation.evaluate import choose_numbers
        from napari_feedback_seg.evaluation.reproduce import plan, read_results
        from napari_feedback_seg.evaluation.tables import blocks, markdown, networks_of

        failed = 0
        if not report:
            known = networks_of(table)
            chosen = [each.strip() for each in networks.split(",")] if networks else known
            try:
                if not set(chosen) <= set(known):
                    raise ValueError(f"The networks of table {table} are {', '.join(known)}.")
                runs = plan(
                    [each for each in known if each in chosen],
                    recipe,
                    choose_numbers(folds, "folds", FOLDS),
                    choose_numbers(seeds, "seeds", 1000),
                    width=width,
                    key_pooling=key_pooling,
                    epochs=epochs,
                    precision=precision,
                )
            except (ValueError, FeedbackSegError) as error:
                raise typer.BadParameter(str(error)) from error
            failed = _perform(runs, dataset, pixel_size, results, device)
        found = blocks(read_results(results), table)
        text = markdown(found) or f"{results} holds no finished run of table {table}."
        out.print(text, markup=False, soft_wrap=True)
        if failed:
            raise typer.Exit(1)


def _perform(runs: list[Run], dataset: str, pixel_size: float | None, results: Path, device: str) -> int:
    """Do the runs that are not there; return how many failed."""
    from napari_feedback_seg.datasets.sstem import load_dataset
    from napari_feedback_seg.evaluation.reproduce import check_data, perform, result_path
    from napari_feedback_seg.io.claim import ClaimedError

    data, failed = load_dataset(dataset), 0
    data = replace(data, pixel_size_nm=pixel_size or data.pixel_size_nm)
    check_data(results, data)
    missing = [run for run in runs if not result_path(results, run).exists()]
    out.print(f"{len(runs)} runs, of which {len(runs) - len(missing)} are in {escape(str(results))}.")
    for run in missing:
        out.print(f"[bold]{run.name}[/bold]")
        try:
            with closing(perform(run, data, results, device)) as events:
                watch_training(events)
        except ClaimedError as error:
            out.print(f"Left out: {escape(str(error))}", soft_wrap=True)
        except FeedbackSegError as error:
            failed += 1
            err.print(f"[red]Error:[/red] {run.name}: {escape(str(error))}", soft_wrap=True)
    return failed
