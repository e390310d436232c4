"""Recipes: steps of the command line in a JSON file, checked before anything runs.

A step is the words behind ``feedback-seg``. ``{image}``, ``{name}`` (its name without the ending),
``{output}`` (the output folder) and ``{here}`` (the folder of the recipe) stand for what a run is given. A
recipe may come from anyone. So a step is one of a few commands, writes to the output folder alone, and
replaces nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import typer

from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.segmentation.command_line import segment_arguments, visible_runs
from napari_feedback_seg.segmentation.export import FORMAT as RECORD_FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_feedback_seg.io import EMImage

FORMAT = "napari-feedback-seg recipe"
FORMAT_VERSION = 1

COMMANDS = ("segment", "adapt", "objects", "attention", "finetune")
PLACEHOLDERS = ("image", "name", "output", "here")
_OUTPUTS = ("output", "table", "cell_table")
_NOT_IN_A_RECIPE = {"overwrite": "--overwrite", "into": "--into", "scheduler": "--scheduler"}
_MOST_STEPS = 100
_OBJECT_OPTIONS = {
    "through": "--through",
    "split": "--split",
    "bias": "--bias",
    "least_nm": "--least",
    "gap": "--gap",
    "holes_nm": "--holes",
    "smooth_nm": "--smooth",
    "close_nm": "--close",
    "open_nm": "--open",
}

Steps = list[list[str]]


def read_file(path: Path) -> dict[str, Any]:
    """Return a recipe, or the record of a result, as it stands in its file.

    Raises
    ------
    InputError
        If it is neither, or from a newer version.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read as a recipe ({error}).") from error
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, RECORD_FORMAT):
        raise InputError(
            f"'{path}' is no recipe. Give one, or the record of an exported result, whose name ends in "
            "-run.json."
        )
    version = data.get("format_version")
    if type(version) is not int or version < 1:
        raise InputError(f"'{path}' is damaged: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise InputError(f"'{path}' was written by a newer version. Update napari-feedback-seg.")
    return data


def checked_steps(data: Mapping[str, Any]) -> Steps:
    """Return the steps of a recipe, if each is one that a recipe may have.

    Raises
    ------
    InputError
        If one is not.
    """
    unknown = set(data) - {"format", "format_version", "about", "steps"}
    if unknown:
        raise InputError(f"The recipe holds what no recipe has: {', '.join(sorted(unknown))}.")
    steps = data.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= _MOST_STEPS:
        raise InputError(f"The recipe has no list of steps, from 1 to {_MOST_STEPS}.")
    for number, step in enumerate(steps, 1):
        _check(step, f"Step {number}")
    return [list(step) for step in steps]


def filled_in(steps: Steps, **values: str) -> Steps:
    """Return steps with what stands for the placeholders."""
    return [[_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in step] for step in steps]


def run_step(words: Sequence[str]) -> int:
    """Run one of our commands; return its exit code."""
    code = _command(words[0]).main(list(words[1:]), f"feedback-seg {words[0]}", standalone_mode=False)
    return code if isinstance(code, int) else 0


def needs_image(steps: Steps) -> bool:
    """Return whether steps have to be given an image."""
    return any(f"{{{name}}}" in word for name in ("image", "name") for step in steps for word in step)


def recorded_steps(
    data: Mapping[str, Any], path: Path, image: EMImage | None, others: bool
) -> tuple[Steps, list[str]]:
    """Return the steps that repeat a recorded result, and sentences to say.

    Parameters
    ----------
    data : mapping
        The record, as :func:`~napari_feedback_seg.segmentation.export.export` wrote it.
    path : Path
        Its file.
    image : EMImage or None
        What is to be segmented; its own pixel size comes before the recorded one if it is another image.
    others : bool
        Whether it is another image: then all of it is segmented, as the last run was.

    Raises
    ------
    InputError
        If the record is damaged, or a file that it names is missing.
    ModelError
        If the model is not here.
    """
    said: list[str] = []
    try:
        shape, runs = tuple(data["shape"]), list(visible_runs(data["result"]["runs"]))
        soft, files = bool(data["probabilities"]), data["files"]
        found = data.get("objects", ()) if len(runs) == 1 or others else ()
        if others:
            rows, columns = [0, shape[-2]], [0, shape[-1]]
            whole = {"region": (rows, columns), "sections": range(shape[0] if len(shape) == 3 else 1)}
            if len(runs) > 1 or tuple(map(list, runs[-1]["region"])) != (rows, columns):
                said.append("The last run of the record is repeated, on all of the image.")
            runs = [{**runs[-1], **whole}]
        soft = soft or any(each["from_probabilities"] for each in found)
        steps = []
        for number, run in enumerate(runs, 1):
            name = "{output}/{name}" if len(runs) == 1 else f"{{output}}/{{name}}-run{number}"
            taught = _taught(run, data, files, path, own=not others)
            words = segment_arguments(_own_size(run, image) if others else run, shape, soft, taught)
            model, note = _model_of(run)
            said += [note] if note else []
            steps.append(["segment", "{image}", "-o", f"{name}-labels.tif", "--model", model, *words])
        steps += [_objects_step(each, image if others else None) for each in found]
        if data.get("objects") and not found:
            said.append("The objects are not found again, as the result is of several runs.")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"'{path}' cannot be read as the record of a result ({error}).") from error
    if data.get("sections_edited_by_hand"):
        said.append("The result was corrected by hand after that, which is not repeated.")
    for number, step in enumerate(steps, 1):
        _check(step, f"Step {number}")
    return steps, said


# typer names none of these, and brings them with itself, or has them from click.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def _check(step: Any, what: str) -> None:
    if not isinstance(step, list) or not step or not all(isinstance(word, str) for word in step):
        raise InputError(f'{what} is not a list of words, such as ["segment", "{{image}}", ...].')
    if step[0] not in COMMANDS:
        raise InputError(f"{what} is '{step[0]}'. A recipe may have the steps {', '.join(COMMANDS)}.")
    for word in step:
        if odd := re.findall(r"\{\w*\}", _PLACEHOLDER.sub("", word)):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise InputError(f"{what} holds {odd[0]}, which stands for nothing. There are {known}.")
    command = _command(step[0])
    try:
        with command.make_context(f"feedback-seg {step[0]}", list(step[1:])) as context:
            given = context.params
    except typer.Exit as error:
        raise InputError(f"{what} asks for help. Leave that out.") from error
    except _UsageError as error:
        said = error.format_message()  # type: ignore[attr-defined]
        raise InputError(f"{what} cannot be run. {said}") from error
    for name, option in _NOT_IN_A_RECIPE.items():
        if given.get(name):
            raise InputError(
                f"{what} has {option}, which a recipe may not have. Give it to 'run', if at all."
            )
    for name in _OUTPUTS:
        target = given.get(name)
        parts = PurePosixPath(str(target).replace("\\", "/")).parts
        if target is not None and (parts[:1] != ("{output}",) or len(parts) < 2 or ".." in parts):
            raise InputError(f"{what} writes to '{target}'. A recipe writes to {{output}}/ alone.")


def _command(name: str) -> Any:
    from napari_feedback_seg.cli import app

    return typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]


def _taught(
    run: Mapping[str, Any], data: Mapping[str, Any], files: Mapping[str, str], path: Path, *, own: bool
) -> list[tuple[str, ...]]:
    """Return the files of the strokes that a run was made with, which lie beside the record.

    On the image itself (``own``), strokes also put right what is around them.
    """
    if not run.get("strokes"):
        return []
    found: list[tuple[str, ...]] = []
    if "strokes" in files and run["strokes"] == data.get("strokes"):
        found.append(("{here}/" + Path(files["strokes"]).name,))
    if "corrections" in files and data["image"]["path"] and (own or not found):
        found.append((str(data["image"]["path"]), "{here}/" + Path(files["corrections"]).name))
    if not found:
        raise InputError(
            f"The run of '{path}' learnt from strokes, which are not beside it. Export the result again."
        )
    return found


def _own_size(run: Mapping[str, Any], image: EMImage | None) -> Mapping[str, Any]:
    """Return a run without its pixel size where the image says its own."""
    settings = run["settings"]
    if image is None or image.pixel_size_nm is None:
        return run
    size = None if settings["rescaled_from_nm"] is None else ()  # rescaled from what the file says
    return {**run, "pixel_size_nm": None, "settings": {**settings, "rescaled_from_nm": size}}


def _model_of(run: Mapping[str, Any]) -> tuple[str, str]:
    """Return what ``--model`` is to name, and a sentence if it is not the very model of the run."""
    from napari_feedback_seg.models.library import list_models

    digest, file, name = (str(run.get(key) or "") for key in ("model_sha256", "model_file", "model"))
    entries = list_models()
    same = next((each.name for each in entries if digest and _sha256(each.path) == digest), "")
    if same:
        return same, ""
    if Path(file).is_file():
        changed = (
            f"The file of the model '{name}' has changed since." if _sha256(Path(file)) != digest else ""
        )
        return file, changed
    if any(each.name == name for each in entries):
        return name, f"The model '{name}' here is another one than that of the record: the answer may differ."
    raise ModelError(
        f"The model '{name}' of the record is not here. Add it with 'feedback-seg models import'."
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _objects_step(found: Mapping[str, Any], other: EMImage | None) -> list[str]:
    what = str(found["what"])
    kind = "probabilities" if found["from_probabilities"] else "labels"
    source = (
        f"{{output}}/{{name}}-labels-{kind}.tif" if kind == "probabilities" else "{output}/{name}-labels.tif"
    )
    stem = f"{{output}}/{{name}}-{what}"
    step = ["objects", source, "-o", f"{stem}.tif", "--table", f"{stem}.csv"]
    step += ["--cells"] if what == "cells" else ["--class", what]
    step += ["--image", "{image}"]
    step += ["--in-cells", "{output}/{name}-cells.tif"] if found["in_cells"] else []
    for name in found["near"]:
        step += ["--distance-to", str(name)]
    for name, value in found["options"].items():
        if name in _OBJECT_OPTIONS:
            step += [_OBJECT_OPTIONS[name], value if isinstance(value, str) else f"{value:g}"]
    own = other.pixel_size.z if other is not None and other.pixel_size is not None else None
    if found.get("spacing_nm") and not own:
        step += ["--spacing", f"{found['spacing_nm']:g}"]
    return step


def paths_of(images: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each image and what its outputs are named after.

    Raises
    ------
    InputError
        If two have one name.
    """
    seen: set[str] = set()
    for path in images:
        if path.stem.casefold() in seen:
            raise InputError(f"Two images are called '{path.stem}': run them into two folders.")
        seen.add(path.stem.casefold())
        yield path, path.stem
