"""The index on disk: vectors, the item store and the faiss indexes derived from them. See docs/index-format.md."""
