"""What the second round looked at: for a pixel, a class, or a whole tile."""
