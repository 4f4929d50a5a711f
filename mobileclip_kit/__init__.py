"""mckit: the toolchain that puts CLIP search on a phone.

The names below are the public API. Each is imported from its module when it is first used, so that
``import mobileclip_kit`` loads neither torch nor faiss nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobileclip_kit.api import build_index, distill, export, load, open_index, train, verify
    from mobileclip_kit.distillation.run import TrainingReport
    from mobileclip_kit.duplicates import DuplicateGroup
    from mobileclip_kit.errors import (
        CacheError,
        ClusterError,
        DataError,
        ExportError,
        ImageError,
        IndexFormatError,
        MckitError,
        MissingExtraError,
        ModelError,
        ModelMismatchError,
        OutputError,
        ParityError,
        ShapeError,
        TrainingError,
        UnsupportedOpError,
        UsageError,
    )
    from mobileclip_kit.exporting.folder import Export, Verification
    from mobileclip_kit.indexing.report import IndexReport
    from mobileclip_kit.progress import Progress
    from mobileclip_kit.runtime.encoder import Encoder
    from mobileclip_kit.search.hits import Hit
    from mobileclip_kit.search.index import Index
    from mobileclip_kit.tagging.tagger import TagReport

__version__ = "0.1.0"

__all__ = [
    "CacheError",
    "ClusterError",
    "DataError",
    "DuplicateGroup",
    "Encoder",
    "Export",
    "ExportError",
    "Hit",
    "ImageError",
    "Index",
    "IndexFormatError",
    "IndexReport",
    "MckitError",
    "MissingExtraError",
    "ModelError",
    "ModelMismatchError",
    "OutputError",
    "ParityError",
    "Progress",
    "ShapeError",
    "TagReport",
    "TrainingError",
    "TrainingReport",
    "UnsupportedOpError",
    "UsageError",
    "Verification",
    "build_index",
    "distill",
    "export",
    "load",
    "open_index",
    "train",
    "verify",
]

# The modules of the names; errors are in mobileclip_kit.errors, functions in mobileclip_kit.api.
_MODULES = {
    "DuplicateGroup": "duplicates",
    "Encoder": "runtime.encoder",
    "Export": "exporting.folder",
    "Hit": "search.hits",
    "Index": "search.index",
    "IndexReport": "indexing.report",
    "Progress": "progress",
    "TagReport": "tagging.tagger",
    "TrainingReport": "distillation.run",
    "Verification": "exporting.folder",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name) or ("errors" if name.endswith("Error") else "api")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
