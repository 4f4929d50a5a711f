"""Inputs that once ended in a traceback; found by benchmarks/robustness.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, IndexFormatError
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.inspection import inspect_path
from tests.index.test_phone import make_index


class Attack:
    """What makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_an_npy_file_with_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([Attack(tmp_path / "mark")], object), allow_pickle=True)
    for read in (load_matrix, inspect_path):
        with pytest.raises(DataError, match=r"v\.npy"):
            read(tmp_path / "v.npy")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("header", [b"{'descr': '<f4', ((((", b"[" * 90, b"'''", b"{'descr': " + b"9" * 80])
def test_an_npy_file_whose_header_is_no_python_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.eye(3, dtype=np.float32))
    data = bytearray(path.read_bytes())
    data[10 : 10 + len(header)] = header
    path.write_bytes(data)
    for read in (load_matrix, inspect_path):
        with pytest.raises(DataError, match=r"v\.npy is not a readable \.npy file"):
            read(path)


def test_a_key_of_a_phone_index_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = make_index(tmp_path / "index", ["aaaa", "bbbb", "cccc"])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"aaaa", b"\xf0aaa"))
    with pytest.raises(IndexFormatError, match="index is damaged: the batch at byte"):
        PhoneIndex(path).keys()
