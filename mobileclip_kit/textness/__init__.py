"""The textness vector: the direction in which a model's image vectors say "there are written words"."""
