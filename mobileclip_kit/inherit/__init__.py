"""Students that start from their teacher's own weights (TinyCLIP, arXiv 2309.12314): by hand, or by learned masks."""

from typing import Literal

# Which of a teacher's units a narrower student gets. ``fitted`` are the heaviest, whose layers are then fitted to what
# the teacher's compute.
Choice = Literal["leading", "heaviest", "fitted"]
