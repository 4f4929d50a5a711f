"""One trainer for every recipe, with a teacher or without."""
