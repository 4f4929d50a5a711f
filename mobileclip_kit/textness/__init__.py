"""The textness vector: the direction in embedding space that separates images with written words from others."""
