"""Sparse corrections, and a fine-tune on them that must prove itself."""
