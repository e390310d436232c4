"""What napari's manifest names: the dock, readers, sample data and settings."""
