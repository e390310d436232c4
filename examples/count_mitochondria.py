"""Count mitochondria.

Each gets a number, and a row of measures in a table.
"""

import numpy as np
from PIL import Image
from skimage.color import label2rgb

from napari_feedback_seg import segment
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.objects.run import objects

sample = builtin_section(512)
labels = segment(sample.image, pixel_size_nm=sample.pixel_size_nm).labels
numbers, table = objects(labels == 2, pixel_size_nm=sample.pixel_size_nm)

print(f"{len(table['object'])} mitochondria, mean area {np.mean(table['area_um2']):.3f} µm²")
for number, area, length in zip(table["object"], table["area_um2"], table["feret_nm"], strict=True):
    print(f"{number:3} {area:6.3f} µm², {length:5.0f} nm long")

coloured = label2rgb(numbers.astype(int), sample.image, alpha=0.5, bg_label=0)
Image.fromarray(np.uint8(255 * coloured)).save("count_mitochondria.jpg", quality=85)
