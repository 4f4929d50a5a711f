"""The whole way on the synthetic scenes, offline: what a newcomer sees first."""
