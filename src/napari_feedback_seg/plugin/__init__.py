"""What napari sees of this package, and the only folder that knows napari and Qt."""
