"""Figures that explain a model: heat maps over images, a map of its vectors, plots."""
