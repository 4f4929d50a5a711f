"""The whole way on the built-in world, offline: what a newcomer sees first."""
