"""The whole pipeline on the synthetic scenes, offline."""
