"""The search page of an index: a small server for one person's machine, and what it sends to the browser."""
