"""Segment an array.

An image becomes labels: 1 membrane, 2 mitochondria, 3 synapse, 4 cytoplasm.
"""

from napari_feedback_seg import load_model, segment
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.segmentation.overlay import overlay

sample = builtin_section(384)  # or tifffile.imread("section.tif")
model = load_model()  # the default model, or a name
prediction = segment(sample.image, model, pixel_size_nm=sample.pixel_size_nm)

for each in model.card.classes:
    print(f"{each.name}: {(prediction.labels == each.value).mean():.1%} of the area")

overlay(sample.image, prediction.labels, model.card.classes).save("segment_an_array.jpg", quality=85)
