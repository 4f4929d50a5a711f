"""From images, from vectors made elsewhere, or from other indexes, to an index."""
