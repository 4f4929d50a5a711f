"""An indexing run that is killed goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from tests.indexing.fakes import ColourEncoder, draw_many

IMAGES = 60
SCRIPT = """
import sys
from pathlib import Path
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from tests.indexing.fakes import ColourEncoder
options = IndexOptions(batch_size=2, commit_items=4, force="rebuild" in sys.argv)
update_index(Path(sys.argv[1]), ColourEncoder(seconds=0.05), Path(sys.argv[2]), options)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_runs_continue_without_losing_or_doubling_an_item(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "index"
    draw_many(photos, IMAGES)
    counts = [0]
    for _ in range(3):
        target = counts[-1] + 9
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(photos), str(out)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while count_rows(out) < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        counts.append(count_rows(out))
    assert counts == sorted(counts)
    assert 0 < counts[-1] < IMAGES

    encoder = ColourEncoder()
    report = update_index(photos, encoder, out)
    assert report.items == IMAGES
    assert encoder.encoded == report.added == IMAGES - counts[-1]
    with IndexReader(out) as index:
        items = list(index.store.items())
        assert len({item.row for item in items}) == len(items) == len(index.matrix) == IMAGES
        spec = encoder.spec.require_image()
        for item in items:
            expected = encoder.encode_images(load_pixels(photos / item.name, spec)[None])[0]
            assert index.matrix[item.row].tolist() == expected.tolist()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_rebuild_leaves_the_old_index_and_is_continued(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "index"

    def staged() -> Path:
        return next(tmp_path.glob(".index.*.staged"), tmp_path / "none")

    draw_many(photos, IMAGES)
    update_index(photos, ColourEncoder(), out)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(photos), str(out), "rebuild"],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while count_rows(staged()) < 9 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert count_rows(out) == IMAGES
    done = count_rows(staged())
    encoder = ColourEncoder()
    report = update_index(photos, encoder, out, IndexOptions(force=True))
    assert report.items == IMAGES
    assert encoder.encoded == IMAGES - done
    assert not staged().exists()


def count_rows(out: Path) -> int:
    if not (out / "index.json").exists():
        return 0
    with IndexReader(out) as index:
        return len(index.matrix)
