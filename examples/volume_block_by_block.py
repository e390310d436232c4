"""A volume, block by block.

The volume and its labels lie on the disk. If this is stopped, the same call continues. It needs the
extra `volumes`.
"""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import zarr
from PIL import Image
from skimage.color import label2rgb

from napari_feedback_seg import segment_volume
from napari_feedback_seg.datasets.builtin import builtin_section

folder = Path(mkdtemp())
sections = np.stack([builtin_section(512, seed=seed).image for seed in range(3)])
volume = zarr.create_array(folder / "em.zarr", shape=sections.shape, chunks=(1, 256, 256), dtype="uint8")
volume[:] = sections

size = {"pixel_size_nm": (40, 4.6, 4.6)}  # z, y, x
output = segment_volume(folder / "em.zarr", folder / "labels.zarr", block=(1, 256, 256), **size)
labels = zarr.open_array(output / "0")
print(labels.shape, "labels in", output)

colours = ["blue", "orange", "magenta"]  # membrane, mitochondria, synapse
shown = [
    label2rgb(np.asarray(labels[z]), sections[z], alpha=0.3, colors=colours, bg_label=4) for z in range(3)
]
Image.fromarray(np.uint8(255 * np.hstack(shown)[::2, ::2])).save("volume_block_by_block.jpg", quality=85)
