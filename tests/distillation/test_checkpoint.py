"""A checkpoint with a flipped bit is refused; those of an older mckit are read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mobileclip_kit.distillation.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mobileclip_kit.errors import TrainingError

TENSORS = {
    "weights/a": torch.arange(600, dtype=torch.float32).reshape(20, 30),
    "weights/count": torch.tensor(7),
    "weights/empty": torch.zeros(0, 3),
    "optimizer/m/a": torch.ones(20, 30, dtype=torch.bfloat16),
    "average/mask": torch.tensor([True, False]),
}
STATE = {"step": 3, "seconds": 1.5, "fingerprint": {"recipe": "x"}}


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_both_ways(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", Checkpoint(TENSORS, STATE))
    found = load_checkpoint(tmp_path / "c")
    assert found.state == STATE
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_what_an_older_mckit_did_not_write_down_is_not_compared(tmp_path: Path) -> None:
    found = Checkpoint({}, STATE)
    later = {"preprocessing": {"mean": [0.5]}, "architecture": {}, "set of vectors": "00"}
    found.check_fingerprint({"recipe": "x", **later}, tmp_path)
    with pytest.raises(TrainingError, match="another recipe"):
        found.check_fingerprint({"recipe": "y", "architecture": {}}, tmp_path)
    with pytest.raises(TrainingError, match="another fast_decode"):
        found.check_fingerprint({"recipe": "x", "fast_decode": True}, tmp_path)
    known = Checkpoint({}, {"fingerprint": {"recipe": "x", "architecture": {"embed_dim": 8}}})
    with pytest.raises(TrainingError, match="another architecture"):
        known.check_fingerprint({"recipe": "x"}, tmp_path)


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", Checkpoint(TENSORS, STATE))
    whole = (tmp_path / "c").read_bytes()
    draw = random.Random(0)
    weights = 8 * (len(whole) - 100)
    for bit in [weights, *(draw.randrange(8 * len(whole)) for _ in range(400))]:
        (tmp_path / "c").write_bytes(whole)
        flip(tmp_path / "c", bit)
        try:
            found = load_checkpoint(tmp_path / "c")
        except TrainingError as error:
            assert "cannot be read" in error.message
            assert "--force" in (error.hint or "")
        else:  # the bit says nothing: white space behind the header, for example
            assert found.state == STATE
            assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
            assert bit != weights


def test_a_flipped_bit_of_a_weight_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", Checkpoint(TENSORS, STATE))
    flip(tmp_path / "c", 8 * ((tmp_path / "c").stat().st_size - 100))
    with pytest.raises(TrainingError, match="its SHA-256 is not the one"):
        load_checkpoint(tmp_path / "c")


def test_a_checkpoint_without_a_digest_is_read(tmp_path: Path) -> None:
    """As mckit wrote them before."""
    save_file(TENSORS, tmp_path / "c", metadata={"mckit_state": json.dumps(STATE)})
    assert load_checkpoint(tmp_path / "c").state == STATE
