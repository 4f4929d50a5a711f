"""JSON files that a test changes by hand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobileclip_kit.files import SEAL_KEY


@contextlib.contextmanager
def edited(path: Path) -> Iterator[dict[str, Any]]:
    """The object in a file, to be changed in the block; it is written without the checksum of its content."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document.pop(SEAL_KEY, None)
    yield document
    path.write_text(json.dumps(document), encoding="utf-8")
