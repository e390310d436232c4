"""``feedback-seg adapt``, and the strokes of ``feedback-seg segment``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from napari_feedback_seg.cli.options import Device, NewClass, Overwrite, PixelSides, pixel_sides
from napari_feedback_seg.io import file_keys
from napari_feedback_seg.terminal import err, out, progress_bar, reporting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from napari_feedback_seg.classes import LabelClass
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
        say(adaptation, loaded, sections)
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

    classes = new_classes(new_class or (), model.card)
    found = _read(pairs, (*model.card.classes, *classes), size, rescale)
    everything = [
        replace(each, source=f"{number}: {each.source}")
        for number, sections in enumerate(found)
        for each in sections
    ]
    events = learn(model, everything, new_classes=classes, device=device)
    with progress_bar() as progress:
        bar = progress.add_task("looking at the strokes", total=None)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value, found
            progress.update(bar, total=event.total, completed=event.done)


def _read(
    pairs: Sequence[tuple[Path, Path]],
    classes: Sequence[LabelClass],
    size: float | tuple[float, float] | None,
    rescale: bool,
) -> list[list[CorrectedSection]]:
    """Return the sections with corrections of each pair of files."""
    from napari_feedback_seg.correction.files import read_corrected

    found: list[list[CorrectedSection]] = []
    for image, corrections in pairs:
        sections, said = read_corrected(image, corrections, classes, pixel_size_nm=size, rescale=rescale)
        for sentence in said:
            err.print(f"[yellow]Note:[/yellow] {escape(sentence)}", soft_wrap=True)
        found.append(sections)
    return found


def say(adaptation: Adaptation, model: Model, sections: Sequence[CorrectedSection]) -> None:
    """Print what was learnt."""
    from napari_feedback_seg.correction.card import has_learnt

    if has_learnt(model.card, sections):
        err.print(f"[yellow]'{escape(model.card.name)}' has learnt these strokes already.[/yellow]")
        return
    if adaptation.statistics:
        out.print("the grey values are spread unlike the model's own: statistics of the images were taken")
    if adaptation.strokes == 0:
        err.print("[yellow]Nothing is painted where there is something to see: nothing was learnt.[/yellow]")
    else:
        out.print(f"learnt from {_strokes(adaptation)}")


def _strokes(adaptation: Adaptation) -> str:
    return f"{adaptation.strokes} stroke{'s' * (adaptation.strokes != 1)}"


def check_strokes(strokes: Sequence[str], new_class: Sequence[str] | None) -> None:
    """Raise a ValueError if ``--strokes`` and ``--new-class`` do not go together."""
    files = [each for each in strokes if _SEPARATOR not in each]
    if len(files) > 1 or not all(each.endswith(_STROKES_FILE) for each in files):
        raise ValueError(
            "--strokes takes an image and its corrections, once or several times; or what 'feedback-seg "
            "adapt' has learnt, a file whose name ends in .strokes, once."
        )
    if new_class and not strokes:
        raise ValueError("A new class needs --strokes: an image, and corrections that show the class.")
    if new_class and files:
        raise ValueError(
            f"What '{files[0]}' has learnt stays as it is: name a new class when you make it, "
            "'feedback-seg adapt ... --new-class'."
        )


def with_strokes(
    model: Model,
    strokes: Sequence[str],
    new_class: Sequence[str] | None,
    images: Iterable[Path] = (),
    **how: Any,
) -> tuple[Model, dict[Path, dict[int, np.ndarray]]]:
    """Return the model with what ``--strokes`` say, and what is right on images by them.

    :func:`check_strokes` has seen them.

    Raises
    ------
    ValueError
        If they do not go with the model.
    """
    import numpy as np

    from napari_feedback_seg.correction.adapt import corrected
    from napari_feedback_seg.correction.adaptation import load_adaptation
    from napari_feedback_seg.generators import finish

    if not strokes:
        return model, {}
    words = [each.split(_SEPARATOR) for each in strokes]
    files = [each[0] for each in words if len(each) == 1]
    pairs = [(Path(each[0]), Path(each[1])) for each in words if len(each) == 2]
    if files:
        adaptation = load_adaptation(Path(files[0]))
        adaptation.check(model)
        name = escape(Path(files[0]).name)
        out.print(f"{name}: learnt from {_strokes(adaptation)}; no others are learnt from")
        found = _read(pairs, (*model.card.classes, *adaptation.new_classes), how["size"], how["rescale"])
    else:
        adaptation, found = learn_from(model, pairs, new_class, **how)
        say(adaptation, model, [section for sections in found for section in sections])
    wanted = {key for image in images for key in file_keys(image)}
    painted: dict[Path, dict[int, np.ndarray]] = {}
    for (image, _), sections in zip(pairs, found, strict=True):
        for section in sections:
            path = image / section.source if image.is_dir() else image
            if wanted.isdisjoint(file_keys(path)):
                continue
            of_image = painted.setdefault(path, {})
            right = finish(corrected(model, adaptation, section, device=how["device"]))
            before = of_image.get(section.index, right)
            right = np.where(section.labels > 0, section.labels, np.where(before > 0, before, right))
            of_image[section.index] = right
    return adaptation.apply(model), painted
