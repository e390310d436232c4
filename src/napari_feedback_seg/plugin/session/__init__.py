"""The state of a viewer and the work on it."""
