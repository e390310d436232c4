"""Where the network looked for a pixel.

The brighter a place, the more the second look took from it. The cross is the pixel.
"""

import numpy as np
from PIL import Image

from napari_feedback_seg import load_model
from napari_feedback_seg.attention_maps.colours import coloured, contrast_limits
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.datasets.builtin import builtin_section

sample = builtin_section(256)
tile = SectionAttention(sample.image, load_model()).at(100, 120)
pixel = tile.pixel(100, 120)

for place in pixel.strongest:
    print(f"{place.times:.1f} times the average at {place.y}, {place.x}: {place.label_class.name}")

shown = coloured(pixel.map, contrast_limits(pixel.map))
shown[100, 110:131] = shown[90:111, 120] = 0, 208, 255
grey = np.repeat(sample.image[tile.frame.region][..., None], 3, axis=2)
Image.fromarray(np.hstack([grey, shown])).resize((1024, 512)).save("attention_of_a_pixel.jpg", quality=85)
