"""Volumes of any size, segmented block by block: in this process, in several, or on a cluster."""
