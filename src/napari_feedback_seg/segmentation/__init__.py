"""From an image to a prediction."""
