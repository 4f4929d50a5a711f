"""Which images a textness vector is learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness import learn
from mobileclip_kit.textness.learn import TextnessRequest, learn_textness


def test_a_limit_spreads_over_the_pairs_and_keeps_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scenes(tmp_path, SceneSet(items=60, seed=1, size=32, split="pairs"))
    asked: list[str] = []

    class Encoder:
        spec = ModelSpec(name="m", embedding_dim=4, image=None, text=None, model_hash="aa")

    def encode_files(encoder: Any, files: list[Path], **how: Any) -> Any:
        asked.extend(path.stem for path in files)
        rows = np.random.default_rng(0).standard_normal((len(files), 4)).astype(np.float32)
        rows[1::2, 0] += 3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    monkeypatch.setattr(learn, "encode_files", encode_files)
    monkeypatch.setattr("mobileclip_kit.runtime.open.open_encoder", lambda *_, **__: Encoder())
    fitted, _ = learn_textness(TextnessRequest(images=tmp_path, model="m", limit=20))
    assert fitted.report["pairs"] == 20
    numbers = [int(name) for name in asked]
    assert all(
        second == first + 1 and first % 2 == 0 for first, second in zip(numbers[::2], numbers[1::2], strict=True)
    )
    assert (numbers[0], numbers[-1]) == (0, len(list((tmp_path / "images").iterdir())) - 1)
