"""Data sources: each one yields pairs of an image and its captions."""
