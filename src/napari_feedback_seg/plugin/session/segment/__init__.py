"""Segmenting, its pixel sizes, undo, measures, comparison and export. No Qt, no napari."""
