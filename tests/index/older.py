"""Indexes as older versions of mckit wrote them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from mobileclip_kit.index import store


def age(folder: Path, version: int) -> None:
    """Turn the store of an index into one of an older version."""
    facts = [f"ALTER TABLE items DROP COLUMN {name};" for name in store._FACTS]
    steps = {
        3: [*facts, f"UPDATE items SET checksum = item_checksum({store._COLUMNS});"],
        2: ["ALTER TABLE items DROP COLUMN checksum; DROP TABLE blocks;"],
        1: ["ALTER TABLE matrix DROP COLUMN generation;"],
    }
    with contextlib.closing(sqlite3.connect(folder / "items.sqlite")) as connection:
        connection.create_function("item_checksum", 6, store._checksum, deterministic=True)
        for older in (3, 2, 1)[: 4 - version]:
            connection.executescript("".join(steps[older]))
        connection.executescript(f"PRAGMA user_version = {version};")
