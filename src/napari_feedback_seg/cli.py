"""The command line: ``feedback-seg segment | evaluate | train | models | demo``.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_feedback_seg import __version__
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.terminal import (
    drain,
    err,
    network_name,
    out,
    progress_bar,
    reporting,
    score_table,
    spans,
    watch_training,
)

# torch takes seconds to import: each command imports what it needs, so that help is quick.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Segment EM sections into membrane, mitochondria, synapse and cytoplasm with feedback attention.",
)
models_app = typer.Typer(help="List, show and import models.", invoke_without_command=True)
app.add_typer(models_app, name="models")


Model = Annotated[str, typer.Option("--model", "-m", help="Name of a model, or a model file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Overlap = Annotated[float, typer.Option(help="Overlap of neighbouring tiles, 0 to below 1.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Pixel size of the images in nm, if the file does not say.")
]
Flips = Annotated[bool, typer.Option("--flips", help="Average over flips and turns: slower, steadier.")]
Half = Annotated[bool, typer.Option("--half", help="Store the convolutions in 16 bits: half the file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


def main() -> None:
    """Run the command line."""
    # Being ended is being stopped: what is half-written goes, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it has to say, our errors say better
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command()
def segment(
    images: Annotated[
        list[str], typer.Argument(metavar="IN...", help="TIFF or PNG files, folders, or globs in quotes.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="A file for one input, a folder for several."),
    ],
    model: Model = "default",
    device: Device = "auto",
    overlap: Overlap = 0.25,
    pixel_size: PixelSize = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each class.")
    ] = False,
    first_round: Annotated[
        bool, typer.Option("--first-round", help="Also write the labels of the first round.")
    ] = False,
    flips: Flips = False,
    overwrite: Overwrite = False,
) -> None:
    """Segment images into label TIFFs: 1 membrane, 2 mitochondria, 3 synapse, 4 cytoplasm."""
    with reporting("Files that were finished stay; nothing half-written was left."):
        from napari_feedback_seg.segmentation.files import FileDone, FileFailed, plan, segment_files
        from napari_feedback_seg.segmentation.prediction import SegmentOptions

        try:
            jobs = plan(images, output, probabilities=probabilities, first_round=first_round)
            options = SegmentOptions(
                device=device,
                overlap=overlap,
                pixel_size_nm=pixel_size,
                flips=flips,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        from napari_feedback_seg.models.library import load_model

        failed = 0
        with progress_bar() as progress:
            bar = progress.add_task("loading", total=None)
            for event in segment_files(jobs, load_model(model), options, overwrite=overwrite):
                name = escape(event.job.source.name)
                if isinstance(event, FileFailed):
                    failed += 1
                    err.print(f"[red]Error:[/red] {name}: {escape(str(event.error))}", soft_wrap=True)
                elif isinstance(event, FileDone):
                    for message in event.messages:
                        err.print(f"[yellow]{name}:[/yellow] {escape(message)}", soft_wrap=True)
                    for path in event.job.outputs:
                        out.print(f"wrote {escape(str(path))}", soft_wrap=True)
                    out.print(f"{name}: {event.seconds:.1f} s on {event.device}", soft_wrap=True)
                else:
                    text = f"{name}, section {event.section + 1} of {event.sections}"
                    progress.update(bar, total=event.total, completed=event.done, description=text)
        if failed:
            err.print(f"{failed} of {len(jobs)} images could not be segmented.", soft_wrap=True)
            raise typer.Exit(1)


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    to_card: Annotated[
        bool,
        typer.Option(
            "--to-card", help="Write the scores into the model file, under the name of the sections."
        ),
    ] = False,
) -> None:
    """Print the IoU of each class on labelled sections, from one confusion matrix over all."""
    with reporting():
        from napari_feedback_seg.evaluation.evaluate import PARTS, choose_sections, score, write_to_card
        from napari_feedback_seg.models.library import load_model
        from napari_feedback_seg.samples.sstem import load_dataset
        from napari_feedback_seg.segmentation.prediction import SegmentOptions

        loaded, data = load_model(model), load_dataset(dataset)
        try:
            numbers = choose_sections(sections, loaded.card, data)
            if to_card and sections not in PARTS:
                raise ValueError(f"--to-card goes with --sections {', '.join(PARTS)}.")
            options = SegmentOptions(
                device=device,
                overlap=overlap,
                pixel_size_nm=pixel_size,
                flips=flips,
                first_round=loaded.card.spec.rounds > 1,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        scores = drain(score(loaded, data, numbers, options), "scoring")
        if to_card:
            write_to_card(loaded, sections, scores)
        if as_json:
            sys.stdout.write(json.dumps(scores, indent=2) + "\n")
        else:
            out.print(score_table(f"{loaded.card.name} on sections {spans(numbers)} of {data.name}", scores))


@app.command()
def train(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Folder with images/ and labels/, or sstem for the public data set, downloaded once.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of this training.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "model",
    network: Annotated[str, typer.Option(help="self, source_target or unet.")] = "self",
    width: Annotated[int, typer.Option(help="Channels of the first block.")] = 16,
    depth: Annotated[int, typer.Option(help="Times that the map is halved.")] = 4,
    key_pooling: Annotated[
        int, typer.Option(help="1 is exact attention; p pools keys and values p x p.")
    ] = 16,
    query_channels: Annotated[
        int | None,
        typer.Option(help="Channels of Query and Key; the paper's eighth of the width if not given."),
    ] = 8,
    tap: Annotated[str, typer.Option(help="two_conv or one_conv.")] = "two_conv",
    detach_first_round: Annotated[
        bool, typer.Option(help="Let no gradient flow from round 2 through the output of round 1.")
    ] = False,
    norm_per_round: Annotated[bool, typer.Option(help="One set of batch-norm layers per round.")] = True,
    first_round_loss: Annotated[float, typer.Option(help="Weight of the loss on round 1.")] = 0.4,
    dice: Annotated[float, typer.Option(help="Weight of the soft Dice loss.")] = 1.0,
    fold: Annotated[int, typer.Option(help="0 to 4: which fifth of the sections validates.")] = 0,
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 80,
    patches: Annotated[int, typer.Option(help="Patches an epoch.")] = 192,
    batch: Annotated[int, typer.Option(help="Patches a step.")] = 4,
    tile: Annotated[int, typer.Option(help="Side of a patch and of the model's tile, in pixels.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Highest rate of the one cycle.")] = 2e-3,
    rare: Annotated[float, typer.Option(help="Share of the patches centred on an evenly drawn class.")] = 0.4,
    seed: Annotated[int, typer.Option(help="Of weights, patches and augmentation.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    pixel_size: PixelSize = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in RUN; its own settings count.")
    ] = False,
    half: Half = False,
) -> None:
    """Train a network; RUN gets log.csv, a checkpoint an epoch, and at the end NAME.safetensors."""
    again = shlex.join(["feedback-seg", "train", dataset, "-o", str(output), "--device", device, "--resume"])
    with reporting(f"The last full epoch is kept. Go on with: {again}"):
        from napari_feedback_seg.evaluation.train import TrainJob, run_training
        from napari_feedback_seg.networks.spec import NetworkSpec
        from napari_feedback_seg.training.config import TrainConfig

        try:
            spec = NetworkSpec(
                kind="unet" if network == "unet" else "feedback_attention",
                mode="self" if network == "unet" else network,  # type: ignore[arg-type]
                width=width,
                depth=depth,
                tap=tap,  # type: ignore[arg-type]
                detach_first_round=detach_first_round,
                norm_per_round=norm_per_round,
                key_pooling=key_pooling,
                query_channels=query_channels,
            )
            config = TrainConfig(
                spec=spec,
                epochs=epochs,
                patches=patches,
                batch=batch,
                tile=tile,
                learning_rate=learning_rate,
                rare=rare,
                dice=dice,
                first_round=first_round_loss,
                seed=seed,
                precision=precision,
            )
        except FeedbackSegError as error:
            raise typer.BadParameter(str(error)) from error
        job = TrainJob(name, fold, config, pixel_size, half)
        path, scores = watch_training(run_training(dataset, output, job, device=device, resume=resume))
        out.print(score_table(f"{path.stem} on the validation sections", scores))
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)


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

        out.print_json(json.dumps(read_card(find_model(name)).to_json()))


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
            parsed = json.loads(card.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"The card '{card}' cannot be read as JSON ({error}).") from error
        model = import_state_dict(weights, replace(ModelCard.from_json(parsed), name=name))
        out.print(f"wrote {save_to_library(model, name, half=half, overwrite=overwrite)}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("demo"),
    model: Model = "default",
    device: Device = "auto",
    sample: Annotated[
        str, typer.Option(help="auto, sstem (the public data set, downloaded) or builtin (made by code).")
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment a sample section; write image, labels, probabilities and a picture."""
    with reporting():
        from napari_feedback_seg.evaluation.demo import run_demo

        if sample not in ("auto", "sstem", "builtin"):
            raise typer.BadParameter(f"--sample is auto, sstem or builtin, not {sample}.")
        started = time.perf_counter()
        result = drain(run_demo(output, model, device, sample, overwrite), "segmenting")
        for message in result.messages:
            out.print(message, style="yellow")
        table = Table("class", "area", "µm²", box=None)
        for each, share, area in result.areas:
            table.add_row(each, f"{share:.1%}", f"{area:.2f}")
        out.print(table)
        for path in result.written:
            out.print(f"wrote {escape(str(path))}", soft_wrap=True)
        out.print(f"{result.sample}, {result.device}: {time.perf_counter() - started:.1f} s")
