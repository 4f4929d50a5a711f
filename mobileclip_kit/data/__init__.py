"""Where pictures and captions come from: each source yields pairs."""
