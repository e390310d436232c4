"""From labels or probabilities to single objects: instances, cells, measures, edits and meshes. No torch."""
