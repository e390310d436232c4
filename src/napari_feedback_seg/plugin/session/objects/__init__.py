"""Finding single objects and putting them right. No Qt, no napari."""
