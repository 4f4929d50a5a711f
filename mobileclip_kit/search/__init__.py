"""Finding images: queries in words, images, items or vectors, the filters beside them, and the hits."""
