"""``layout.json``: what lies in an export that was laid out for another program. Reading it needs no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from mobileclip_kit import __version__, formats
from mobileclip_kit.errors import ExportError
from mobileclip_kit.files import check_sha256, sha256_of_file
from mobileclip_kit.spec import Tower

LAYOUT_FILE = "layout.json"
AGAIN = "Copy the folder again, or make it again with `mckit export --layout`."


@dataclass(frozen=True, kw_only=True)
class LayoutFile:
    """``layout.json``.

    Attributes:
        layout: The program that reads the folder.
        precision: Of the towers.
        model: A :class:`~mobileclip_kit.spec.ModelSpec` as JSON; an older mckit wrote its name and hash only.
        mckit: The version that wrote it.
        towers: The file of each tower, relative to the folder.
        files: Hex SHA-256 of each file by its path in the folder; empty where an older mckit wrote it.
    """

    layout: str
    precision: str
    model: Mapping[str, Any]
    mckit: str = ""
    towers: Mapping[Tower, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's file.

        Raises:
            DataError: It is missing or was changed.
            ExportError: It is damaged.
        """
        return formats.read(folder / LAYOUT_FILE, cls, error=ExportError, hint=AGAIN)

    def write(self, folder: Path) -> None:
        """Write it last, with the SHA-256 of what lies in the folder."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests = {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}
        formats.write(folder / LAYOUT_FILE, replace(self, mckit=__version__, files=digests))

    def check(self, folder: Path, name: str) -> None:
        """Compare a file with its SHA-256.

        Raises:
            DataError: It is missing or was changed.
        """
        check_sha256(folder, name, self.files[name], source=LAYOUT_FILE, hint=AGAIN)
