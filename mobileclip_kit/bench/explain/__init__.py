"""Why a model answers as it does: heat maps over images, a map of its vectors, what it finds first."""
