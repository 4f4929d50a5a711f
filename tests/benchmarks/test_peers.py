"""Rows of the peers' table: those that were measured, and those that have a reason."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.scripts import BENCHMARKS, load_script

peers = load_script("peers")


def measured(name: str) -> dict:
    row = peers.row_of(name, None)
    row.update(processor_ms={"p50": 12.5}, to_first={"ratio": 1.25, "low": 1.1, "high": 1.4}, cosine_min=0.99871)
    return row


def test_every_contender_has_an_environment_and_an_opener() -> None:
    """peer_worker.py reads its arguments when it is imported: its table is looked for in the text."""
    script = Path(peers.__file__).read_text(encoding="utf-8")
    worker = (BENCHMARKS / "peer_worker.py").read_text(encoding="utf-8")
    for kind, environment, opened in peers.CONTENDERS.values():
        assert f'    "{kind}": (open_' in worker
        assert environment is None or environment in peers.ENVIRONMENTS
        assert opened == "shape" or f"{opened}=" in script  # an option


def test_rows_tell_the_ratio_or_the_reason() -> None:
    assert "×1.25 (1.10 … 1.40)  cosine ≥ 0.99871" in peers.describe(measured("openvino"))
    assert peers.describe(peers.row_of("nncf", "import nncf: no")).endswith("failed: import nncf: no")


def test_an_environment_that_lacks_its_package_says_so(tmp_path: Path) -> None:
    """The folder has a python already, so nothing is installed; importing fails."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert peers.make(tmp_path, (), "json") is None
    reason = peers.make(tmp_path, (), "no_such_peer")
    assert reason is not None and reason.startswith("import no_such_peer: ModuleNotFoundError")


def test_the_plot_leaves_out_what_failed(tmp_path: Path) -> None:
    rows = [measured("mckit onnx fp32"), peers.row_of("nncf", "import nncf: no")]
    peers.plot({"rows": rows, "settings": {"threads": 1}, "machine": {"cpu": "A", "load": 1.0}}, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").stat().st_size > 1000
