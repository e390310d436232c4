"""``feedback-seg train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from napari_feedback_seg.cli.options import Device, Half, PixelSize
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.segmentation.command_line import shell_line
from napari_feedback_seg.terminal import out, reporting, score_table, watch_training


def train(
    ctx: typer.Context,
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET...",
            help="Folders with dataset.json, image/ and label/, or with images/ and labels/; sstem is the "
            "public data set, downloaded once.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of this training.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "model",
    network: Annotated[
        str,
        typer.Option(
            help="unet, recurrent_unet or feedback_unet; or two rounds joined by self, source_target, "
            "add, conv1x1, squeeze_excitation or light_attention."
        ),
    ] = "self",
    width: Annotated[int, typer.Option(help="Channels of the first block.")] = 16,
    depth: Annotated[int, typer.Option(help="Depth of the U-Net: how often it halves the image.")] = 4,
    query_pooling: Annotated[int, typer.Option(help="1 is exact; p pools queries p x p.")] = 1,
    mean_of_rounds: Annotated[bool, typer.Option(help="Answer with the mean of both rounds.")] = False,
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
    weights: Annotated[
        str, typer.Option(help="How often each SET is drawn from, such as 2,1,1. Default: all alike.")
    ] = "",
    staining: Annotated[str, typer.Option(help="mild, or strong for images of other microscopes.")] = "mild",
    validation_tiles: Annotated[
        int, typer.Option(help="At most so many tiles of each SET choose the best epoch; 0 is all.")
    ] = 0,
    choose: Annotated[str, typer.Option(help="Which epoch is the model: best or last.")] = "best",
    start: Annotated[
        str,
        typer.Option(
            help="Model whose weights the training begins with; network and tile are its own, but for what "
            "you give."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of weights, patches and augmentation.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    pixel_size: PixelSize = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the training in RUN with its own settings.")
    ] = False,
    half: Half = False,
) -> None:
    """Train a network; RUN gets log.csv, a checkpoint an epoch, and at the end NAME.safetensors."""

    def on_stop() -> str:
        again = ["feedback-seg", "train", *sets, "-o", str(output), "--device", device, "--resume"]
        if (output / "last.pt").exists():
            return f"The last full epoch is kept. Go on with: {shell_line(again)}"
        return "No epoch was finished. Give the same command again."

    with reporting(on_stop):
        from napari_feedback_seg.evaluation.train import TrainJob, run_training
        from napari_feedback_seg.models.library import find_model
        from napari_feedback_seg.models.model_file import read_card
        from napari_feedback_seg.networks.spec import NetworkSpec
        from napari_feedback_seg.training.config import TrainConfig

        asked: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "tap": tap,
            "detach_first_round": detach_first_round,
            "norm_per_round": norm_per_round,
            "query_pooling": query_pooling,
            "mean_of_rounds": mean_of_rounds,
            "key_pooling": key_pooling,
            "query_channels": query_channels,
        }
        if start and not resume:
            card = read_card(find_model(start))
            usual = {each for each in ctx.params if _is_default(ctx, each)}
            asked |= {each: getattr(card.spec, each) for each in asked if each in usual}
            network = card.spec.name if "network" in usual else network
            tile = card.tile if "tile" in usual else tile
        try:
            spec = NetworkSpec.named(network, **asked)
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
                staining=staining,
                validation_tiles=validation_tiles,
                choose=choose,
            )
            shares = tuple(float(each) for each in weights.split(",")) if weights else ()
        except (FeedbackSegError, ValueError) as error:
            raise typer.BadParameter(str(error)) from error
        job = TrainJob(name, fold, config, pixel_size, half, weights=shares, start=start)
        path, scores = watch_training(run_training(sets, output, job, device=device, resume=resume))
        out.print(score_table(f"{path.stem} on the validation sections", scores))
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _is_default(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT"
