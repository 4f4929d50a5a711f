"""Why a model answers as it does: heat maps over pictures, a map of its vectors, what it finds first."""
