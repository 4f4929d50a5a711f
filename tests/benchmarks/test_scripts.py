"""Every script of benchmarks/ can be loaded and explains itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.scripts import BENCHMARKS, load_script

# No scripts of their own: modules, and two that others start in other environments.
PARTS = {"harness", "damaged_inputs", "disturbed_commands", "peer_worker", "clip_retrieval_run"}
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in PARTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_its_options(name, monkeypatch, capsys) -> None:
    script = load_script(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 0
    assert (script.__doc__ or "").splitlines()[0] in capsys.readouterr().out


def test_the_page_names_every_script() -> None:
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert set(SCRIPTS) == set(re.findall(r"`(\w+)\.py", page)) - PARTS


def test_a_set_of_few_photos_holds_no_two_files_alike(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    (tmp_path / "set").mkdir()
    load_script("index_speed").draw_set([tmp_path / "photo.jpg"], "small", 5, tmp_path / "set")
    assert len({path.read_bytes() for path in (tmp_path / "set").iterdir()}) == 5
