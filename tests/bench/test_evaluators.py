from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.evaluators import Evaluation, ScenesEvaluator
from mobileclip_kit.bench.index_benchmark import IndexBenchmark
from mobileclip_kit.bench.results import METRICS, require_figure
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.indexing.importing import import_vectors
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from tests.bench.fakes import FakeEncoder, FakeProcess
from tests.bench.rows import row


def index(folder: Path, rows: np.ndarray) -> Path:
    np.save(folder / "rows.npy", rows)
    (folder / "names.txt").write_text("".join(f"{number}.jpg\n" for number in range(len(rows))))
    import_vectors(folder / "rows.npy", folder / "names.txt", folder / "i.index")
    return folder / "i.index"


def test_the_synthetic_scenes_evaluate_both_towers(tmp_path: Path) -> None:
    for split in ("test", "gallery"):
        (tmp_path / split).mkdir()
        write_scenes(tmp_path / split, SceneSet(items=50, seed=1, size=16, split=split), workers=1)  # type: ignore[arg-type]
    evaluator = ScenesEvaluator(tmp_path / "test", tmp_path / "gallery")
    process = FakeProcess(FakeEncoder())
    process.ask(do="open", model="m", threads=1)
    figures = evaluator.evaluate(process, ["image", "text"]).metrics
    assert {"scenes_precision_at_1", "scenes_typographic_error_rate"} <= set(figures) <= set(METRICS)
    assert all(0 <= share <= 1 for share in figures.values())
    assert evaluator.evaluate(process, ["image"]) == Evaluation()
    assert evaluator.describe().images == 50


def test_an_exact_index_finds_all_of_the_exact_answer(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    path = index(tmp_path, rows)
    searched = IndexBenchmark(path)
    assert searched.recall_of_exact() == 1.0
    assert searched.describe() == {"items": 30, "kind": "index flat", "queried_with": "stored vectors with noise"}
    np.save(tmp_path / "q.npy", rows[:5])
    assert IndexBenchmark(path, tmp_path / "q.npy").describe()["queried_with"] == "5 vectors of q.npy"
    np.save(tmp_path / "q.npy", rows[:5, :4])  # of another model: not asked
    assert "noise" in IndexBenchmark(path, tmp_path / "q.npy").describe()["queried_with"]


def test_an_empty_index_is_refused(tmp_path: Path) -> None:
    from mobileclip_kit.index.folder import IndexHeader, create_index
    from mobileclip_kit.spec import ModelSpec

    create_index(tmp_path / "none", IndexHeader(spec=ModelSpec(name="m", embedding_dim=4, image=None, text=None)))
    with pytest.raises(DataError, match="holds no vector"):
        IndexBenchmark(tmp_path / "none")


def test_figures_have_names() -> None:
    one = row("a", latency_ms={"p50": 2}, metrics={"cosine": 0.5})
    assert one.figure("latency_ms.p50") == 2.0 and one.figure("metrics.cosine") == 0.5
    assert (
        one.figure("latency_ms.p99") is one.figure("load_ms") is one.figure("name") is one.figure("metrics.x") is None
    )
    with pytest.raises(UsageError, match="latency_ms.p50"):
        require_figure("p50")
