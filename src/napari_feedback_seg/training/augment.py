"""Augmentation: what other microscopes, stains and pixel sizes would have made of a section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monai.transforms import (
    Affine,
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)
from monai.utils import convert_to_tensor

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 1.5
"""Side of the window to cut, in sides of a patch: room for the rotation and the scale."""

STRONG_SCALE = (0.6, 1.6)
STRONG_ASPECT = 1.12
STRONG_MARGIN = float(np.sqrt(2)) * STRONG_ASPECT / STRONG_SCALE[0]
"""The same for :func:`turned` at any angle and scale."""

_SMALL_ROTATION = np.pi / 12
_SCALE = 0.25
_INVERTED = 0.1


def augmentation(size: int) -> Compose:
    """Return the transform of ``{"image": (1, H, W), "label": (1, H, W)}`` to ``size`` pixels.

    Geometry, of both: scale 0.75 to 1.25 along each axis, rotation within 15 degrees, flips and quarter
    turns. Intensity, of the normalised image: contrast, brightness, gamma, blur, noise.
    """
    both = ["image", "label"]
    blur = (0.3, 1.3)
    return Compose(
        [
            RandAffined(
                both,
                prob=0.8,
                rotate_range=_SMALL_ROTATION,
                scale_range=(_SCALE, _SCALE),
                spatial_size=(size, size),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandFlipd(both, prob=0.5, spatial_axis=0),
            RandRotate90d(both, prob=0.75, max_k=3),
            RandScaleIntensityd("image", factors=0.3, prob=0.5),
            RandShiftIntensityd("image", offsets=0.3, prob=0.5),
            RandAdjustContrastd("image", gamma=(0.6, 1.6), prob=0.3),
            RandGaussianSmoothd("image", sigma_x=blur, sigma_y=blur, prob=0.2),
            RandGaussianNoised("image", std=0.25, prob=0.3),
        ]
    )


def staining() -> Compose:
    """Return the transform of ``{"image": (1, H, W)}``, normalised, to what another microscope would show.

    A random monotone curve of grey values, inversion, contrast, brightness, gamma, blur, fewer pixels,
    noise: all stronger than in :func:`augmentation`.
    """
    blur = (0.3, 2.0)
    return Compose(
        [
            RandHistogramShiftd("image", num_control_points=(4, 8), prob=0.4),
            RandScaleIntensityd("image", factors=(-2.0, -2.0), prob=_INVERTED),  # times 1 - 2
            RandAdjustContrastd("image", gamma=(0.5, 2.0), prob=0.3, retain_stats=True),
            RandScaleIntensityd("image", factors=0.4, prob=0.5),
            RandShiftIntensityd("image", offsets=0.4, prob=0.5),
            RandGaussianSmoothd("image", sigma_x=blur, sigma_y=blur, prob=0.3),
            RandSimulateLowResolutiond(
                "image", prob=0.15, zoom_range=(0.4, 1.0), upsample_mode="bilinear", align_corners=False
            ),
            RandGaussianNoised("image", std=0.5, prob=0.4),
        ]
    )


def turned(image: Tensor, zoom: tuple[float, float], angle: float, size: int, mode: str) -> Tensor:
    """Return the middle of an image, zoomed along each axis and turned; 0 beyond the image.

    Parameters
    ----------
    image : Tensor
        (1, H, W), an image or labels.
    zoom : tuple of float
        Pixels of the result to a pixel of ``image``, along y and x; a negative one mirrors.
    angle : float
        In radians.
    size : int
        Side of the result, (1, size, size).
    mode : {"bilinear", "nearest"}
        How to interpolate.
    """
    affine = Affine(
        rotate_params=angle,
        scale_params=(1 / zoom[0], 1 / zoom[1]),
        spatial_size=(size, size),
        mode=mode,
        padding_mode="zeros",
        image_only=True,
    )
    result: Tensor = convert_to_tensor(affine(image), track_meta=False)
    return result


def random_geometry(random: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Return a zoom for each axis, mirrored or not, and an angle: any angle, any of ``STRONG_SCALE``."""
    scale = float(np.exp(random.uniform(*np.log(STRONG_SCALE))))
    aspect = float(np.exp(random.uniform(-1, 1) * np.log(STRONG_ASPECT) / 2))
    mirrored = 1.0 if random.random() < 0.5 else -1.0
    return (mirrored * scale * aspect, scale / aspect), float(random.uniform(0, 2 * np.pi))
