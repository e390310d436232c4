"""Showing where the network looked. No Qt, no napari."""
