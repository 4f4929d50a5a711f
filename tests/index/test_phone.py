"""The phone's index file: golden bytes, crashes, cuts and damage."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, IndexFormatError, ModelMismatchError, OutputError, ShapeError
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import PhoneHeader, quantize_rows
from tests.golden.make_golden import GOLDEN, MODEL_HASH, replay
from tests.index.phone_writer import (
    PhoneWriter,
    compact_phone_index,
    create_phone_index,
)

CASES = json.loads((GOLDEN / "index" / "cases.json").read_text())
NAMES = [case["name"] for case in CASES["cases"]]


def unit_rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_index(path: Path, keys: list[str], numbers: str = "int8") -> Path:
    """One batch of three dimensions for each key."""
    create_phone_index(path, PhoneHeader(3, numbers, MODEL_HASH), force=True)
    with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
        for key in keys:
            writer.append([key], np.array([[0, 0.6, 0.8]], np.float32), [7])
    return path


@pytest.mark.parametrize("case", CASES["cases"], ids=NAMES)
def test_the_golden_operations_give_the_golden_bytes(case, tmp_path):
    operations = json.loads((GOLDEN / "index" / case["operations"]).read_text())["operations"]
    golden = GOLDEN / "index" / f"{case['name']}.mckitidx"
    path = tmp_path / "index"
    replay(path, case["dim"], case["numbers"], operations)
    assert path.read_bytes() == golden.read_bytes()
    compact_phone_index(path)
    assert path.read_bytes() == golden.with_stem(f"{case['name']}-compacted").read_bytes()


@pytest.mark.parametrize("case", CASES["cases"], ids=NAMES)
def test_the_golden_searches_give_the_golden_hits(case):
    index = PhoneIndex(GOLDEN / "index" / f"{case['name']}.mckitidx", model_hash=MODEL_HASH)
    index.verify()
    names = {row: key for key, row in index.keys().items()}
    for search in case["searches"]:
        hits = index.search(np.array(search["query"], np.float32), search["k"])
        assert [[row, names[row], score] for row, score in hits] == search["hits"]


def test_many_items_are_split_into_batches(tmp_path):
    expected = CASES["one_hot"]
    replay(tmp_path / "index", expected["dim"], "int8", [{"one_hot": expected["count"]}])
    assert hashlib.sha256((tmp_path / "index").read_bytes()).hexdigest() == expected["sha256"]


def test_scores_come_near_the_exact_ones(tmp_path):
    """Independent reference: float64 products of the vectors as they were before they were stored."""
    vectors, query = unit_rows(3000, 96), unit_rows(1, 96, seed=1)[0]
    exact = vectors.astype(np.float64) @ query
    for numbers, tolerance in (("float16", 5e-4), ("int8", 5e-3)):
        path = tmp_path / numbers
        create_phone_index(path, PhoneHeader(96, numbers, MODEL_HASH))
        with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
            writer.append([str(row) for row in range(3000)], vectors)
        hits = PhoneIndex(path).search(query, 3000)
        assert max(abs(score - exact[row]) for row, score in hits) < tolerance
        assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)


def test_a_row_keeps_its_length_in_int8_within_half_a_step():
    vectors = unit_rows(200, 64)
    stored, scales = quantize_rows(vectors)
    assert np.abs(stored * scales[:, None] - vectors).max() <= scales.max() * 0.5001
    assert (np.abs(stored).max(axis=1) == 127).all()


def test_replacing_and_removing_leaves_one_row_a_key(tmp_path):
    path = make_index(tmp_path / "index", ["a", "b", "c"])
    with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
        writer.append(["b"], np.array([[1, 0, 0]], np.float32))
        writer.remove(["a", "a", "unknown"])
    index = PhoneIndex(path)
    assert index.keys() == {"c": 2, "b": 3}
    assert (len(index), index.rows) == (2, 4)
    assert [row for row, _ in index.search(np.array([1, 0, 0], np.float32), 9)] == [3, 2]
    compact_phone_index(path)
    assert PhoneIndex(path).keys() == {"c": 0, "b": 1}


def test_a_cut_anywhere_loses_at_most_the_last_batch(tmp_path):
    whole = make_index(tmp_path / "index", ["a", "b", "c"]).read_bytes()
    batch_bytes = (len(whole) - 64) // 3
    path = tmp_path / "cut"
    for length in range(64, len(whole) + 1, 7):
        path.write_bytes(whole[:length])
        expected = ["a", "b", "c"][: (length - 64) // batch_bytes]
        assert list(PhoneIndex(path).keys()) == expected
        with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
            writer.append(["d"], np.array([[0, 1, 0]], np.float32))
        assert list(PhoneIndex(path).keys()) == [*expected, "d"]


def test_damage_before_sound_batches_is_refused_and_nothing_is_cut_off(tmp_path):
    path = make_index(tmp_path / "index", ["a", "b", "c"])
    data = bytearray(path.read_bytes())
    data[64 + (len(data) - 64) // 3 + 9] ^= 1
    path.write_bytes(data)
    for attempt in (PhoneIndex, lambda path: PhoneWriter(path, model_hash=MODEL_HASH)):
        with pytest.raises(IndexFormatError, match="damaged"):
            attempt(path)
    assert path.read_bytes() == data


def test_damage_inside_a_batch_is_found_by_verifying(tmp_path):
    path = make_index(tmp_path / "index", ["a", "b"])
    data = bytearray(path.read_bytes())
    data[128] ^= 1
    path.write_bytes(data)
    index = PhoneIndex(path)
    with pytest.raises(IndexFormatError, match="byte 64"):
        index.verify()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(0, 0, "not a phone index"), (8, 9, "version 9"), (12, 99, "header"), (60, 1, "header")],
)
def test_headers_that_cannot_be_read_are_refused(place, value, message, tmp_path):
    path = make_index(tmp_path / "index", [])
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(data)
    with pytest.raises(IndexFormatError, match=message):
        PhoneIndex(path)


def test_missing_short_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(IndexFormatError, match="cannot be read"):
        PhoneIndex(tmp_path / "nowhere")
    (tmp_path / "short").write_bytes(b"mckitidx")
    with pytest.raises(IndexFormatError, match="not a phone index"):
        PhoneIndex(tmp_path / "short")
    path = make_index(tmp_path / "index", ["a"])
    with pytest.raises(ModelMismatchError):
        PhoneIndex(path, model_hash="0" * 64)
    with pytest.raises(OutputError):
        create_phone_index(path, PhoneHeader(3, "int8", MODEL_HASH))


def test_bad_items_are_refused_before_anything_is_written(tmp_path):
    path = make_index(tmp_path / "index", [])
    row = np.array([[0, 0.6, 0.8]], np.float32)
    with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
        for keys, vectors, error in [
            ([""], row, DataError),
            (["\udc80"], row, DataError),
            (["a", "a"], np.repeat(row, 2, axis=0), DataError),
            (["a"], row * 2, DataError),
            (["a"], row * np.nan, DataError),
            (["a"], row[:, :2], ShapeError),
            (["a", "b"], row, ShapeError),
        ]:
            with pytest.raises(error):
                writer.append(keys, vectors)
    assert path.stat().st_size == 64


def test_a_second_writer_is_refused(tmp_path):
    path = make_index(tmp_path / "index", [])
    with PhoneWriter(path, model_hash=MODEL_HASH), pytest.raises(IndexFormatError, match="another process"):
        PhoneWriter(path, model_hash=MODEL_HASH)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from mobileclip_kit.index.phone import PhoneIndex
from tests.index.phone_writer import PhoneWriter
path, limit = Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with PhoneWriter(path, model_hash=sys.argv[3]) as writer:
    try:
        writer.append(["b"], np.array([[0, 0.6, 0.8]], np.float32))
    except OSError:
        print("refused", list(PhoneIndex(path).keys()))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system cannot limit a file's size")
def test_a_disk_that_fills_up_loses_nothing(tmp_path):
    path = make_index(tmp_path / "index", ["a"])
    before = path.read_bytes()
    command = [sys.executable, "-c", FULL_DISK, str(path), str(len(before) + 100), MODEL_HASH]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.stdout.split() == ["refused", "['a']"]
    assert path.read_bytes() == before
