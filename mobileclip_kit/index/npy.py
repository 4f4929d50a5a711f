"""Vectors and names that somebody else wrote."""

from __future__ import annotations

import os
import tokenize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError
from mobileclip_kit.files import open_file, parse_json

# What numpy raises on damaged files: it takes a header that it cannot read for Python 2's, and tokenizes it.
NPY_ERRORS = (ArithmeticError, EOFError, MemoryError, OSError, RecursionError, SyntaxError, TypeError, ValueError,
              tokenize.TokenError)  # fmt: skip


def load_matrix(path: Path) -> NDArray[np.floating]:
    """Map a ``.npy`` file of floats, ``(n, d)``.

    Raises:
        DataError: It is missing, damaged, or holds something else.
    """
    try:
        open_file(path).close()
        matrix: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except NPY_ERRORS as error:
        raise DataError(f"{path} is not a readable .npy file: {_unreadable(path, error)}.") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        kind = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "an archive"
        raise DataError(f"{path} holds {kind}, not a matrix of floats with a row for each image.")
    if matrix.shape[1] == 0:
        raise DataError(f"{path} holds vectors of no numbers.")
    return matrix


def save_matrix(path: Path, matrix: NDArray[Any]) -> None:
    """Write a ``.npy`` file.

    Raises:
        OSError: With its number and the file, where ``np.save`` only says how many items it wrote to a full disk.
    """
    try:
        with path.open("wb") as stream:
            np.save(_Written(stream), matrix, allow_pickle=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class _Written:
    """Hides from numpy that a stream is a file, which it would write by C's means, whose errors have no number."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write


def _unreadable(path: Path, error: Exception) -> str:
    """What is wrong with the file: numpy takes what has no header for a pickle, and says how to load it unsafely."""
    if isinstance(error, OSError):
        return error.strerror or str(error).rstrip(".")
    with path.open("rb") as stream:
        start = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        return "the file is empty" if not start else "it does not begin as one"
    return str(error).rstrip(".")


def read_names(path: Path) -> list[str]:
    """Names, a line each, or a JSON list when the file ends in ``.json``.

    Raises:
        DataError: The file is missing or is not such a list.
    """
    try:
        with open_file(path) as stream:
            data = stream.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if path.suffix.lower() != ".json":
        # Only line feeds divide: str.splitlines would also cut names at form feeds and the like.
        lines = os.fsdecode(data).replace("\r\n", "\n").split("\n")
        return lines[:-1] if lines[-1] == "" else lines
    try:
        listed = parse_json(data)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise DataError(f"{path} is not a JSON list of strings.")
    return listed
