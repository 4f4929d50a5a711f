"""Where the recipes and models that travel with mckit lie: at the top of a checkout, inside an installed package."""

from __future__ import annotations

from pathlib import Path

from mobileclip_kit.errors import DataError

_PACKAGE = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder with ``recipes/`` and the bundled models.

    Raises:
        DataError: Neither the checkout's ``models`` nor the installed copy is there.
    """
    for folder in (_PACKAGE / "_models", _PACKAGE.parent / "models"):
        if folder.is_dir():
            return folder
    raise DataError(f"{_PACKAGE} has no models beside it.", hint="Install mckit again; the installation is incomplete.")
