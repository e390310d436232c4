"""From napari's layers to sections, and from results to what a layer looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.lazy import Pyramid, open_section

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari.layers import Layer, Shapes
    from napari.viewer import Viewer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.regions import Region

RESULT_KEY = "feedback-seg"
"""Where a result layer's metadata say what made it."""

DERIVED_PREFIX = "feedback-seg"
"""Layers whose metadata have a key that begins so were made here: they are no EM images."""


OBJECTS_KEY = f"{DERIVED_PREFIX}-objects"
"""Where the metadata of a layer of numbered objects say what they are."""

CORRECTIONS_KEY = f"{DERIVED_PREFIX}-corrections"
"""Where a layer's metadata say of which image it holds the corrections."""

UNFINISHED_KEY = f"{DERIVED_PREFIX}-unfinished"
"""In the metadata of a layer whose pixels are still to come: not segmentable yet."""


@dataclass(frozen=True)
class Sections:
    """The grey values of a layer."""

    data: Any  # (Y, X) or (Z, Y, X); a lazy array stays lazy
    messages: tuple[str, ...] = ()  # sentences that the user should read
    levels: tuple[Any, ...] = ()  # the same in several resolutions, the finest first; empty if there is one

    @property
    def image(self) -> Any:
        """What is segmented: coarser levels tell of a large section what need not be read."""
        return Pyramid(self.levels) if self.levels else self.data

    def plane(self, z: int) -> Any:
        """Return section ``z`` as it is segmented: (Y, X), of a large lazy one no more than is asked for."""
        return open_section(self.image, z if self.data.ndim == 3 else None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all."""
        return tuple(int(length) for length in self.data.shape)

    @property
    def count(self) -> int:
        """The number of sections."""
        return self.data.shape[0] if self.data.ndim == 3 else 1

    @property
    def section_shape(self) -> tuple[int, int]:
        """The rows and columns of a section."""
        rows, columns = self.shape[-2:]
        return rows, columns

    def section(self, z: int) -> Any:
        """Return section ``z``, (Y, X)."""
        return self.data[z] if self.data.ndim == 3 else self.data


def is_em_image(layer: Any) -> bool:
    """Return whether a layer is an image that was not made here."""
    return isinstance(layer, Image) and not any(
        isinstance(key, str) and key.startswith(DERIVED_PREFIX) for key in layer.metadata
    )


def em_sections(layer: Layer | None) -> Sections:
    """Return the sections of an image layer.

    Raises InputError if there is no layer, or it is nothing that can be segmented; the sentence says what to
    do.
    """
    if layer is None:
        raise InputError("There is no image. Open an EM image, or take one from File > Open Sample.")
    if isinstance(layer, Labels) or not isinstance(layer, Image):
        kind = type(layer).__name__
        raise InputError(f"'{layer.name}' is a {kind} layer and not an image. Choose an Image layer.")
    if layer.rgb:
        raise InputError(
            f"'{layer.name}' is a colour image, and EM images are grey. "
            "Split it (right click on the layer, Split RGB) and choose one channel."
        )
    messages: tuple[str, ...] = ()
    levels: tuple[Any, ...] = ()
    data = layer.data
    if layer.multiscale:
        levels = tuple(data)
        data = levels[0]
        messages = (f"'{layer.name}' has several resolutions: the finest was segmented.",)
    if data.ndim not in (2, 3):
        raise InputError(
            f"'{layer.name}' has {data.ndim} axes. A section (Y, X) or a stack (Z, Y, X) can be segmented: "
            "split the others into layers first (right click on the layer, Split Stack)."
        )
    return Sections(data, messages, levels)


def pixel_size_nm(layer: Layer) -> tuple[float, float] | None:
    """Return the height and width of a pixel in nm; None if its units are no lengths.

    Scale, shear, rotation and the affine transform all count.
    """
    factors = [_nanometres(unit) for unit in layer.units[-2:]]
    if None in factors:
        return None
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    sizes = []
    for axis in (-2, -1):
        step = np.zeros(layer.ndim)
        step[axis] = 1
        moved = np.asarray(layer.data_to_world(step)) - origin
        sizes.append(float(np.hypot(*(moved[-2:] * np.asarray(factors, float)))))
    height, width = (float(f"{size:.6g}") for size in sizes)
    return (height, width) if height > 0 and width > 0 else None


def spacing_nm(layer: Layer) -> float | None:
    """Return the distance of the sections of a stack in nm; None if its unit is no length."""
    factor = _nanometres(layer.units[0]) if layer.ndim == 3 else None
    if factor is None:
        return None
    origin, next_section = (np.asarray(layer.data_to_world((z, 0, 0))) for z in (0, 1))
    return float(f"{abs(next_section[0] - origin[0]) * factor:.6g}") or None


def like(layer: Layer) -> dict[str, Any]:
    """Return the attributes that put a derived layer where its source is."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names}


def in_micrometres(layer: Layer) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Return the sides of a voxel in µm, and what puts a layer whose data are in µm where this one is.

    None if the units are no lengths, or not all the same.
    """
    lengths = {_nanometres(unit) for unit in layer.units}
    if len(lengths) > 1 or None in lengths:
        return None
    factor = next(length for length in lengths if length is not None) / 1000
    affine = np.array(layer.affine.affine_matrix)
    affine[:-1, -1] *= factor
    place = like(layer) | {
        "scale": np.ones(layer.ndim),
        "translate": np.asarray(layer.translate) * factor,
        "affine": affine,
        "units": ("micrometer",) * layer.ndim,
    }
    return np.asarray(layer.scale) * factor, place


def like_part(layer: Layer, region: Region | None, section: int = 0) -> dict[str, Any]:
    """Return the attributes that put a layer of a part (rows, columns) where its source is.

    Its first section is section ``section`` of the source.
    """
    place = like(layer)
    if region is None:
        return place
    corner = np.zeros(layer.ndim)
    corner[: layer.ndim - 2] = section
    corner[-2:] = region[0].start, region[1].start
    return moved_to(place, corner)


def moved_to(place: dict[str, Any], corner: np.ndarray) -> dict[str, Any]:
    """Return the attributes of a layer whose first pixel is where those of ``place`` put another pixel."""
    # The affine transform comes after the translation: without it, a corner in data is one in translations.
    plain = {name: value for name, value in place.items() if name not in ("affine", "units", "axis_labels")}
    moved = Labels(np.zeros((1,) * len(corner), np.uint8), **plain).data_to_world(corner)
    return {**place, "translate": np.asarray(moved)}


def move(layer: Layer, source: Layer, region: Region | None = None) -> None:
    """Put a derived layer, or one of a part, where its source is now."""
    put(layer, like_part(source, region))


def put(layer: Layer, attributes: dict[str, Any]) -> None:
    """Give a layer these attributes, as far as they are other ones: napari draws it anew at each."""
    for name, value in attributes.items():
        if name == "affine":
            same = np.array_equal(layer.affine.affine_matrix, value.affine_matrix)
        else:
            same = bool(np.all(np.asarray(getattr(layer, name) == np.asarray(value))))
        if not same:
            setattr(layer, name, value)


def add_beside(viewer: Viewer, layer: Layer, index: int | None = None) -> None:
    """Add a layer on top, or at an index; the active one stays so, to be clicked again, or painted on."""
    layers = viewer.layers
    active = layers.selection.active
    layers.insert(len(layers) if index is None else index, layer)
    layers.selection.active = active


def class_colormap(classes: Sequence[LabelClass], hidden: Collection[int] = ()) -> DirectLabelColormap:
    """Return the colours of the classes; those whose value is in ``hidden`` are not to be seen."""
    colors: dict[int | None, Any] = {None: (0.0, 0.0, 0.0, 0.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for each in classes:
        alpha = 0.0 if each.value in hidden else each.opacity
        colors[each.value] = (*(part / 255 for part in each.rgb), alpha)
    return DirectLabelColormap(color_dict=colors)


def class_features(classes: Sequence[LabelClass], none: str = "not segmented") -> dict[str, list[Any]]:
    """Return the table that gives napari the name of each label; 0 is called ``none``."""
    return {
        "index": [0, *(each.value for each in classes)],
        "class": [none, *(each.name for each in classes)],
    }


def result_of(viewer: Viewer, image: Any) -> Labels | None:
    """Return the result of an image: of several the active one, or else the newest."""
    results = results_of(viewer, image)
    active = viewer.layers.selection.active
    return next((layer for layer in results if layer == active), results[0] if results else None)


def results_of(viewer: Viewer, image: Any) -> list[Labels]:
    """Return the results of an image, the newest first.

    They were made from it, or opened from a file and made from its name.
    """
    return [
        layer
        for layer in (reversed(viewer.layers) if image is not None else ())
        if isinstance(layer, Labels) and made_from(layer.metadata.get(RESULT_KEY), image)
    ]


def made_from(record: Any, image: Any) -> bool:
    """Return whether a record is about an image: by its identity, or the name if it has none."""
    if not isinstance(record, dict):
        return False
    if "image_id" in record:
        return bool(record["image_id"] == str(image.unique_id))
    return bool(record.get("image") == image.name)


def images_of(viewer: Viewer) -> list[Image]:
    """Return the EM images, the topmost first."""
    return [layer for layer in reversed(viewer.layers) if is_em_image(layer)]


def image_of(viewer: Viewer, layer: Layer) -> Image | None:
    """Return the image that a result, corrections or objects belong to, or None."""
    for key in (RESULT_KEY, CORRECTIONS_KEY, OBJECTS_KEY):
        about: Any = layer.metadata.get(key)
        for image in images_of(viewer) if isinstance(about, dict) else ():
            if made_from(about, image):
                return image
    return None


def pixels_of(layer: Layer) -> Any:
    """Return the array of a layer; of several resolutions the finest."""
    return layer.data[0] if layer.multiscale else layer.data


def planes_of(data: np.ndarray) -> list[np.ndarray]:
    """Return the sections (Y, X) of (Y, X) or (Z, Y, X), to be read and written."""
    return list(data) if data.ndim == 3 else [data]


def displayed_section(viewer: Viewer, layer: Layer) -> int:
    """Return the index of the section of ``layer`` that the viewer's sliders point at."""
    if layer.ndim < 3:
        return 0
    return int(np.clip(round(_slider(viewer, layer)), 0, _shape(layer)[-3] - 1))


def _slider(viewer: Viewer, layer: Layer) -> float:
    """Return where in the sections of a layer (..., Z, Y, X) the sliders point."""
    return float(layer.world_to_data(in_units_of(viewer, layer, viewer.dims.point))[-3])


def in_units_of(viewer: Viewer, layer: Layer, point: Sequence[float]) -> np.ndarray:
    """Return a point of the world, as the viewer has it, in the units of a layer; its last axes."""
    found = np.asarray(point, float)[-layer.ndim :]
    units = getattr(viewer.dims, "units", None)
    return found if units is None else found * _unit_factors(units[-layer.ndim :], layer.units)


def section_shown(viewer: Viewer, layer: Layer) -> int:
    """Return the index of the section that the viewer's sliders point at.

    Raises InputError if they point beside the sections.
    """
    if layer.ndim > 2 and not 0 <= round(_slider(viewer, layer)) < _shape(layer)[0]:
        raise InputError(
            f"The slider is at no section of '{layer.name}', which has {_shape(layer)[0]}. Move it to one."
        )
    return displayed_section(viewer, layer)


def visible_region(viewer: Viewer, layer: Layer) -> Region:
    """Return the rows and columns of ``layer`` that the canvas shows.

    Raises InputError if the canvas shows no section, or another part of the world.
    """
    check_sections_shown(viewer)
    if not layer.visible:  # napari does not tell then
        raise InputError(f"'{layer.name}' is hidden: show it, and try again.")
    corners = np.asarray(layer.corner_pixels, float)[:, -2:]
    if (corners[0] == corners[1]).any():  # cut to the border of the image
        raise InputError(f"'{layer.name}' is not in view: move it there, and try again.")
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])[-2:]
    return _region(corners, layer)


def rectangle_region(viewer: Viewer, shapes: Shapes | None, layer: Layer) -> tuple[int, Region]:
    """Return the section, and the rows and columns, that a shape encloses.

    The selected shape counts, or else the last one that was drawn; of a shape that is no
    upright rectangle the box around it.

    Raises InputError if there is no shape, or it lies beside the image.
    """
    if shapes is None or not shapes.data:
        raise InputError(
            "There is no rectangle. Add a Shapes layer, draw a rectangle on the image, and try again."
        )
    chosen = max(shapes.selected_data) if shapes.selected_data else len(shapes.data) - 1
    corners = np.asarray(shapes.data[chosen], float)
    world = np.asarray([shapes.data_to_world(corner) for corner in corners])
    section = displayed_section(viewer, layer)
    axes = min(world.shape[1], layer.ndim)
    points = np.zeros((len(world), layer.ndim))
    points[:, -axes:] = world[:, -axes:] * _unit_factors(shapes.units[-axes:], layer.units[-axes:])
    data = np.asarray([layer.world_to_data(point) for point in points])
    if layer.ndim == 3 and axes == 3:
        if np.ptp(data[:, 0]) > 1:
            raise InputError(
                "The shape lies across the sections: draw it in a view of Y and X, and try again."
            )
        section = int(np.clip(round(float(data[:, 0].mean())), 0, _shape(layer)[0] - 1))
    return section, _region(np.stack([data[:, -2:].min(axis=0), data[:, -2:].max(axis=0)]), layer)


def check_sections_shown(viewer: Viewer) -> None:
    """Raise InputError unless the canvas shows the rows and columns of the sections."""
    if viewer.dims.ndisplay != 2:
        raise InputError("The view is in 3D: switch to 2D (the cube button below the layers), and try again.")
    if tuple(viewer.dims.displayed) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        raise InputError(
            "The view shows a cut across the sections: put the axes back (Y and X last), and try again."
        )


def _region(corners: np.ndarray, layer: Layer) -> Region:
    shape = _shape(layer)[-2:]
    first = np.clip(np.floor(corners[0] + 0.5), 0, shape).astype(int)
    last = np.clip(np.floor(corners[1] + 0.5) + 1, 0, shape).astype(int)
    if (last <= first).any() or (corners[1] < -0.5).any():
        raise InputError(f"'{layer.name}' is not within the part that was asked for.")
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(pixels_of(layer).shape)


def _nanometres(unit: Any) -> float | None:
    try:
        return float((1 * unit).to("nanometer").magnitude)
    except Exception:  # noqa: BLE001  # pint's errors are its own: a pixel is no length
        return None


def _unit_factors(units: Sequence[Any], target: Sequence[Any]) -> np.ndarray:
    """Return what turns lengths in ``units`` into ``target``; 1 where they do not go together."""
    factors = []
    for one, other in zip(units, target, strict=True):
        ours, theirs = _nanometres(one), _nanometres(other)
        factors.append(ours / theirs if ours and theirs else 1.0)
    return np.asarray(factors)
