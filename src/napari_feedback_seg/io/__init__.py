"""Image files: grey sections in, labels and probabilities out.

A stack is read and written one section at a time. Nothing appears under its final name
before it is complete.
"""

from napari_feedback_seg.io.atomic import check_output, file_keys, is_device, new_folder, replacing
from napari_feedback_seg.io.channels import ChannelImage, open_channels
from napari_feedback_seg.io.hdf5 import split_key
from napari_feedback_seg.io.image import EMImage, OtherImageError, Sections
from napari_feedback_seg.io.reading import (
    IMAGE_SUFFIXES,
    images_in,
    open_image,
    open_images,
    pixel_size,
    read_pages,
)
from napari_feedback_seg.io.sizes import PixelSize
from napari_feedback_seg.io.writing import label_writer, made_by_in, number_writer, probability_writer

__all__ = [
    "IMAGE_SUFFIXES",
    "ChannelImage",
    "EMImage",
    "OtherImageError",
    "PixelSize",
    "Sections",
    "check_output",
    "file_keys",
    "images_in",
    "is_device",
    "label_writer",
    "made_by_in",
    "new_folder",
    "number_writer",
    "open_channels",
    "open_image",
    "open_images",
    "pixel_size",
    "probability_writer",
    "read_pages",
    "replacing",
    "split_key",
]
