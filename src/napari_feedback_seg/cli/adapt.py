"""``feedback-seg adapt``, and the strokes of ``feedback-seg segment``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from napari_feedback_seg.cli.options import Device, NewClass, Overwrite, PixelSides, pixel_sides
from napari_feedback_seg.terminal import err, out, progress_bar, reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import Model

_SEPARATOR = "\0"
_STROKES_FILE = ".strokes"


class StrokesCommand(TyperCommand):
    """A command whose ``--strokes`` takes IMAGE CORRECTIONS, or a file of strokes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values, which click cannot take in place of one."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if name == "--strokes" and (equals or rest):
                value = value if equals else rest.pop(0)
                if not value.endswith(_STROKES_FILE) and rest and not rest[0].startswith("-"):
                    value += _SEPARATOR + rest.pop(0)
                joined += [name, value]
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


def adapt(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or a model file.")],
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="TIFF or PNG file, a section or a stack; or a folder.")
    ],
    corrections: Annotated[
        Path,
        typer.Argument(
            metavar="CORRECTIONS",
            help="Class values in the shape of the image, 0 where nothing is corrected; or a folder.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="CELLS.strokes",
            help="What was learnt; or CELLS.safetensors, a model that knows it by itself.",
        ),
    ],
    new_class: NewClass = None,
    device: Device = "auto",
    pixel_size: PixelSides = None,
    rescale: Annotated[
        bool, typer.Option("--rescale/--no-rescale", help="Resample an image to the model's pixel size.")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Learn from strokes on mistakes, in seconds and without a training; the model stays as it is."""
    with reporting():
        from napari_feedback_seg.correction.adaptation import SUFFIX, save_adaptation
        from napari_feedback_seg.correction.card import corrected_model
        from napari_feedback_seg.io import check_output
        from napari_feedback_seg.models.library import load_model
        from napari_feedback_seg.models.model_file import SUFFIX as MODEL_SUFFIX
        from napari_feedback_seg.models.model_file import save_model

        if output.suffix not in (SUFFIX, MODEL_SUFFIX):
            raise typer.BadParameter(
                f"The name of a file of strokes ends in {SUFFIX}, and that of a model in {MODEL_SUFFIX}: "
                f"not '{output}'."
            )
        check_output(output, overwrite)
        try:
            size = pixel_sides(pixel_size)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        loaded = load_model(model)
        adaptation, (sections,) = learn_from(
            loaded, [(image, corrections)], new_class, device=device, size=size, rescale=rescale
        )
        say(adaptation)
        if output.suffix == SUFFIX:
            path = save_adaptation(adaptation, output, overwrite=overwrite)
        else:
            corrected = corrected_model(loaded, adaptation, sections)
            path = save_model(corrected, output, overwrite=overwrite)
        out.print(f"wrote {escape(str(path))}", soft_wrap=True)


def learn_from(
    model: Model,
    pairs: Sequence[tuple[Path, Path]],
    new_class: Sequence[str] | None,
    *,
    device: str,
    size: float | tuple[float, float] | None,
    rescale: bool,
) -> tuple[Adaptation, list[list[CorrectedSection]]]:
    """Return what was learnt of files of images and corrections, and the sections of each pair."""
    from napari_feedback_seg.correction.adapt import learn
    from napari_feedback_seg.correction.classes import new_classes
    from napari_feedback_seg.correction.files import read_corrected

    classes = new_classes(new_class or (), model.card)
    found: list[list[CorrectedSection]] = []
    everything: list[CorrectedSection] = []
    for number, (image, corrections) in enumerate(pairs):
        sections, said = read_corrected(
            image, corrections, (*model.card.classes, *classes), pixel_size_nm=size, rescale=rescale
        )
        for sentence in said:
            err.print(f"[yellow]Note:[/yellow] {escape(sentence)}", soft_wrap=True)
        found.append(sections)
        everything += [replace(each, source=f"{number}: {each.source}") for each in sections]
    events = learn(model, everything, new_classes=classes, device=device)
    with progress_bar() as progress:
        bar = progress.add_task("looking at the strokes", total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value, found
            progress.update(bar, total=event.total, completed=event.done)


def say(adaptation: Adaptation) -> None:
    """Print what was learnt."""
    if adaptation.statistics:
        out.print("the grey values are spread unlike the model's own: statistics of the images were taken")
    if adaptation.strokes == 0:
        err.print("[yellow]Nothing is painted where there is something to see: nothing was learnt.[/yellow]")
    else:
        out.print(f"learnt from {adaptation.strokes} strokes")


def with_strokes(
    model: Model, strokes: Sequence[str], new_class: Sequence[str] | None, **how: Any
) -> tuple[Model, dict[Path, dict[int, np.ndarray]]]:
    """Return the model with what the ``--strokes`` of a command line say, and what is painted on images.

    Raises
    ------
    ValueError
        If they do not go together.
    """
    import numpy as np

    from napari_feedback_seg.correction.adaptation import load_adaptation

    if not strokes:
        return model, {}
    words = [each.split(_SEPARATOR) for each in strokes]
    if any(len(each) == 1 for each in words):
        if len(words) > 1 or not words[0][0].endswith(_STROKES_FILE):
            raise ValueError(
                "--strokes takes an image and its corrections, once or several times; or one file that "
                "'feedback-seg adapt' wrote, whose name ends in .strokes."
            )
        return load_adaptation(Path(words[0][0])).apply(model), {}
    pairs = [(Path(image), Path(corrections)) for image, corrections in words]
    adaptation, found = learn_from(model, pairs, new_class, **how)
    say(adaptation)
    painted: dict[Path, dict[int, np.ndarray]] = {}
    for (image, _), sections in zip(pairs, found, strict=True):
        for section in sections:
            path = image / section.source if image.is_dir() else image
            of_image = painted.setdefault(path, {})
            before = of_image.get(section.index, section.labels)
            of_image[section.index] = np.where(section.labels > 0, section.labels, before)
    return adaptation.apply(model), painted
