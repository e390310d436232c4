"""What a person has painted, and how it is kept. No Qt, no napari."""
