"""The search page: a small web server for one index. Nothing in it needs torch."""
