"""Hits as images: a contact sheet for a file or for a terminal, and a page for the browser."""
