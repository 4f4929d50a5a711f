"""mckit: the toolchain that puts CLIP search on a phone."""

__version__ = "0.1.0"
