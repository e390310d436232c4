from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_feedback_seg.segmentation.profiles import Profiles


@pytest.mark.parametrize("density", [0.05, 0.3, 0.42, 0.6, 0.95])
@pytest.mark.parametrize("strip", [1, 2, 7, 60])
def test_strips_make_no_difference_to_profiles(density, strip):
    random = np.random.default_rng(round(100 * density))
    mask = random.random((60, 50)) < density
    mask[20:24] = False
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    sizes = sizes[sizes >= 3]
    profiles = Profiles(3)
    for top in range(0, 60, strip):
        profiles.add(mask[top : top + strip])
    profiles.close()
    assert (profiles.count, profiles.pixels) == (len(sizes), sizes.sum())
