"""Every error that mckit raises on purpose.

::

    MckitError
    ├── UsageError            flags or recipe values that contradict each other or are out of range
    ├── MissingExtraError     packages that an extra of the installation brings
    ├── DataError             images, captions or vectors that cannot be used
    │   └── ImageError        one image that cannot be decoded
    ├── ModelError            a model, its folder or its name
    ├── ShapeError            arrays or tensors whose shapes do not fit together
    ├── CacheError            a teacher cache that is damaged, busy, or belongs to another teacher
    ├── ClusterError          a Ray cluster that does not answer, or loses work
    ├── TrainingError         a loss that is no longer finite, a checkpoint that does not fit
    ├── ExportError           a conversion that failed or an export that is damaged
    │   ├── ParityError       an export that does not compute what its model computes
    │   └── UnsupportedOpError  a program operator that the interpreter does not know
    ├── IndexFormatError      an index that is damaged, busy, or of another format version
    ├── ModelMismatchError    two things that belong to different models
    └── OutputError           a place that cannot be written, or exists already

A message says what failed, the value and the file; ``hint`` says what to do about it. Only the command line turns
these into exit codes.
"""

from __future__ import annotations

import re

# Options of the command line that Python calls by another name, and those without a value.
_PRECISIONS = ("fp16", "fp32", "int8", "int8_weights", "int8_dynamic", "int4")
_NAMES = {
    "o": "out", "m": "model", "top": "k",
    **{name: f'precision="{name.replace("_", "-")}"' for name in _PRECISIONS},
}  # fmt: skip
_SWITCHES = frozenset(
    {"ane", "captions", "compact", "decode_once", "exact_pixels", "fast_decode", "force", "keep_failed", "prune",
     "rehash", "resume", "retry_failed", "tars", "trim_vocab"}
)  # fmt: skip
# What stands in backquotes is a command to type, and stays.
_OPTION = re.compile(
    r"`[^`]*`|(?<![\w-])-(?:-([a-z][a-z0-9-]*)|([om]))\b(?: ([A-Z]+\b|(?:onnx|coreml|coreai|litert)\b))?"
)


def first_line(error: BaseException) -> str:
    """The first line of a library's message, or the class's name when it has none."""
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())


def in_python(text: str) -> str:
    """A message of the command line in the words of the Python API: ``--force`` becomes ``force=True``."""

    def name_of(found: re.Match[str]) -> str:
        option = (found[1] or found[2] or "").replace("-", "_")
        if not option:
            return found[0]
        name, value = _NAMES.get(option, option), found[3]
        if option in _SWITCHES:
            return f"{name}=True" + (f" {value}" if value else "")
        return name if value is None else f"{name}={value if value.isupper() else repr(value)}"

    return _OPTION.sub(name_of, text)


class MckitError(Exception):
    """Base of the tree.

    Args:
        message: One sentence: what failed, with which value, in which file.
        hint: One sentence on what to do, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The class name, as it stands in ``--json`` documents."""
        return type(self).__name__

    @property
    def words(self) -> str:
        """Message and hint, which name options as the command line does."""
        return self.message if self.hint is None else f"{self.message} {self.hint}"

    def __str__(self) -> str:
        """Message and hint; both name options as Python does, where :attr:`message` does it as the command line."""
        return in_python(self.words)


class UsageError(MckitError):
    """Flags or recipe values that contradict each other or are out of range."""


class MissingExtraError(MckitError):
    """Packages that are not installed, because an extra of the installation brings them."""


class DataError(MckitError):
    """Images, captions or vectors that cannot be used."""


class ImageError(DataError):
    """One image that cannot be decoded."""


class ModelError(MckitError):
    """A model, its folder or its name."""


class ShapeError(MckitError):
    """Arrays or tensors whose shapes do not fit together."""


class CacheError(MckitError):
    """A teacher cache that is damaged, busy, or belongs to another teacher."""


class ClusterError(MckitError):
    """A Ray cluster that does not answer, or loses work."""


class TrainingError(MckitError):
    """A loss that is no longer finite, or a checkpoint that does not fit."""


class ExportError(MckitError):
    """A conversion that failed or an export that is damaged."""


class ParityError(ExportError):
    """An export that does not compute what its model computes."""


class UnsupportedOpError(ExportError):
    """A program operator that the interpreter does not know."""


class IndexFormatError(MckitError):
    """An index that is damaged, busy, or of another format version."""


class ModelMismatchError(MckitError):
    """Two things that belong to different models."""


class OutputError(MckitError):
    """A place that cannot be written, or exists already."""
