"""Teacher vectors on disk: the teacher runs once, training replays what it said."""
