"""Sections to try things on: the public ssTEM set, and one made by code alone."""
