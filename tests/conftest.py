"""Fixtures shared by every room."""

from __future__ import annotations

import os

# Small tensors and two cores: threads cost more than they bring, and tests of several processes must not fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
