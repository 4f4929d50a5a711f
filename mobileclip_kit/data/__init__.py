"""Where images and captions come from: each source yields pairs."""
