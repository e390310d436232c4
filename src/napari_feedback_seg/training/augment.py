"""Augmentation: what other microscopes, stains and pixel sizes would have made of a section."""

from __future__ import annotations

import numpy as np
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

MARGIN = 1.5
"""Side of the window to cut, in sides of a patch: room for the rotation and the scale."""

_SMALL_ROTATION = np.pi / 12
_SCALE = 0.25


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
