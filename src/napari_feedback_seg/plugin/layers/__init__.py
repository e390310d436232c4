"""The code that touches napari layers."""
