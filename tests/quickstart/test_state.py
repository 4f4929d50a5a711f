"""Where a run begins, goes on or is refused, before any stage runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobileclip_kit.errors import OutputError
from mobileclip_kit.files import read_json, write_json
from mobileclip_kit.quickstart.run import STATE_FILE, QuickstartPlan, QuickstartRun


def run(out: Path, plan: QuickstartPlan | None = None) -> QuickstartRun:
    return QuickstartRun(out, out / "teacher", plan or QuickstartPlan())


def begin(out: Path, plan: QuickstartPlan | None = None) -> None:
    begun = run(out, plan)
    begun.open(force=False)
    begun.stage("scenes", "drawing", lambda run: {"images": {}})


def test_goes_on_where_it_stopped(tmp_path):
    begin(tmp_path / "run")
    again = run(tmp_path / "run")
    again.open(force=False)
    assert again.figures == {"scenes": {"images": {}}}
    again.stage("scenes", "drawing", lambda run: pytest.fail("done already"))


def test_a_run_that_was_interrupted_early_can_be_begun_anew_at_another_size(tmp_path):
    """Long before anything but its state tells that mckit made the folder."""
    begin(tmp_path / "run")
    (tmp_path / "run" / "scenes").mkdir()
    other = QuickstartPlan(train_images=1)
    with pytest.raises(OutputError, match="another size") as refused:
        run(tmp_path / "run", other).open(force=False)
    assert "--force" in (refused.value.hint or "")
    run(tmp_path / "run", other).open(force=True)
    assert read_json(tmp_path / "run" / STATE_FILE)["figures"] == {}
    assert [path.name for path in (tmp_path / "run").iterdir()] == [STATE_FILE]


def test_force_leaves_nothing_of_what_lay_there(tmp_path):
    """What an older run left: its scenes would not be drawn again, its student not be distilled."""
    for name in ("world/train", "student"):
        (tmp_path / "old" / name).mkdir(parents=True)
    (tmp_path / "old" / STATE_FILE).write_text("{}")
    run(tmp_path / "old").open(force=True)
    assert [path.name for path in (tmp_path / "old").iterdir()] == [STATE_FILE]


def test_force_does_not_empty_a_folder_of_another_kind(tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "model.json").write_text("{}")
    with pytest.raises(OutputError, match="is a model folder"):
        run(tmp_path / "student").open(force=True)
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["model.json"]


def test_force_follows_a_link_and_keeps_it(tmp_path):
    begin(tmp_path / "place")
    (tmp_path / "link").symlink_to(tmp_path / "place")
    run(tmp_path / "link").open(force=True)
    assert (tmp_path / "link").is_symlink()
    assert read_json(tmp_path / "place" / STATE_FILE)["figures"] == {}


def test_foreign_folders_and_files_are_refused_whatever_is_forced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"jpeg")
    (tmp_path / "notes.txt").write_text("mine")
    for place, force in (("photos", False), ("photos", True), ("notes.txt", False), ("notes.txt", True)):
        with pytest.raises(OutputError):
            run(tmp_path / place).open(force=force)
    assert (tmp_path / "photos" / "one.jpg").is_file()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_state_is_refused(tmp_path):
    begin(tmp_path / "run")
    state = read_json(tmp_path / "run" / STATE_FILE)
    write_json(tmp_path / "run" / STATE_FILE, {"plan": state["plan"]})
    with pytest.raises(OutputError, match="has no finished"):
        run(tmp_path / "run").open(force=False)
