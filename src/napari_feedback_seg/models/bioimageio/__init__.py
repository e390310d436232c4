"""Models as bioimage.io packages: out for other programs, and in from them."""
