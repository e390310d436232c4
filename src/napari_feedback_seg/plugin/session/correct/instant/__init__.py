"""Answering strokes at once. No Qt, no napari."""
