"""The whole run, small: every stage really runs, and the report stands alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobileclip_kit.errors import OutputError
from mobileclip_kit.files import read_json, write_json
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.quickstart.run import REPORT_FILE, STATE_FILE, QuickstartPlan, describe, run_quickstart
from mobileclip_kit.quickstart.stages import STAGES
from mobileclip_kit.scenes.queries import count_queries, reading_queries, thing_queries
from mobileclip_kit.scenes.truth import read_truth

RECIPE = """
name = "tiny"
objective = "mixture"
inherit = "fitted"

[training]
epochs = 1
optimizer = "muon"
batch_size = 32
lr = 4e-3

[mixture]
cosine = 1.0
affinity = 0.3
learn_scale = false
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QuickstartPlan, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE)
    plan = QuickstartPlan(
        recipe=str(recipe), train_images=96, test_images=120, fair_images=80, pairs=24, bench_seconds=0.05
    )
    return folder / "run", plan, run_quickstart(folder / "run", plan)


def test_every_stage_ran_and_left_its_files(run):
    out, _, document = run
    assert list(document["stages"]) == [name for name, _, _ in STAGES]
    assert {path.name for path in out.iterdir()} >= {"scenes", "student", "exports", "index", "bundle", REPORT_FILE}
    assert document["student"]["parameters"]["image"] < document["teacher"]["parameters"]["image"] / 3
    assert [row["passed"] for row in document["exports"]] == [True] * 6


def test_asks_for_things_that_some_image_shows(run):
    out = run[0]
    asked = read_json(out / STATE_FILE)["figures"]["search"]["queries"]
    truth = read_truth(out / "scenes" / "test")
    answered = {query.text for query in [*thing_queries(truth), *count_queries(truth), *reading_queries(truth)]}
    assert 1 <= len(asked) <= 6
    assert set(asked) <= answered


@pytest.mark.parametrize(
    ("path", "kind"),
    [("student", "model folder"), ("exports/onnx-int8", "export"), ("index", "index"), ("bundle", "bundle")],
)
def test_what_it_made_is_what_the_other_commands_take(run, path, kind):
    assert inspect_path(run[0] / path).kind == kind


def test_the_document_is_json_and_the_summary_names_the_next_commands(run):
    document = run[2]
    assert json.loads(json.dumps(document)) == document
    summary = describe(document)
    assert "mckit search" in summary and "mckit index" in summary


def test_the_report_needs_no_other_file_and_no_network(run):
    page = (run[0] / REPORT_FILE).read_text(encoding="utf-8")
    links = re.findall(r"(?:src|href)=[\"']([^\"']+)", page)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "<script src" not in page and "@import" not in page


def test_an_interrupted_run_goes_on_with_the_missing_stages(run, tmp_path):
    out, plan, document = run
    half = tmp_path / "half"
    shutil.copytree(out, half)
    state = read_json(half / STATE_FILE)
    del state["figures"]["search"], state["seconds"]["search"]
    write_json(half / STATE_FILE, {**state, "finished": False})
    before = (half / "student" / "open_clip_model.safetensors").stat().st_mtime_ns
    again = run_quickstart(half, plan)
    assert (half / "student" / "open_clip_model.safetensors").stat().st_mtime_ns == before
    assert again["student"] == document["student"]


def test_a_finished_run_and_one_of_another_size_are_not_overwritten(run):
    out, plan, _ = run
    with pytest.raises(OutputError, match="finished quickstart"):
        run_quickstart(out, plan)
    with pytest.raises(OutputError, match="another size"):
        run_quickstart(out, QuickstartPlan())
