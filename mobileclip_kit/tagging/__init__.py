"""Zero-shot tags: labels compared with the images of an index, as files and as XMP sidecars."""
