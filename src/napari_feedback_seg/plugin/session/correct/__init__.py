"""Correcting: what strokes are painted, answered at once, and learnt. No Qt, no napari."""
