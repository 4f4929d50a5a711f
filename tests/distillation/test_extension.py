"""The examples of docs/architecture.md for a new loss and a new student, carried out as they stand there."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileclip_kit import losses
from mobileclip_kit.cli.entry import main
from mobileclip_kit.distillation import tables
from mobileclip_kit.distillation.recipe import recipe_from
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.errors import UsageError
from mobileclip_kit.networks.model import load_model, save_model
from tests.cache.test_cache import draw, tiny_teacher
from tests.distillation import test_pairs as pairs
from tests.distillation.test_run import request

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def example(title: str, language: str) -> list[str]:
    """The code blocks of a section."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


def with_fields(base: type[Any], fields: str) -> type[Any]:
    """The table with these lines added to its class."""
    namespace = dict(vars(tables))
    exec(f"class {base.__name__}({base.__name__}):\n{fields}", namespace)
    return dataclass(frozen=True, kw_only=True)(namespace[base.__name__])


@pytest.fixture
def new_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example's file in the package, and its lines in the table."""
    module, fields = example("Adding a loss", "python")
    assert len(module.splitlines()) + len(fields.splitlines()) <= 30
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "huber.py").write_text(module, encoding="utf-8")
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path / "losses")])
    monkeypatch.setitem(tables.OBJECTIVES, "mixture", with_fields(tables.MixtureOptions, fields))
    yield fields
    sys.modules.pop("mobileclip_kit.losses.huber", None)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    model, folder = tiny_teacher(), tmp_path / "teacher"
    folder.mkdir()
    save_model(folder, model.network, model.config, model.spec)
    draw(tmp_path / "images", 8)
    return folder


def recipe(**mixture: Any) -> Any:
    document = {"objective": "mixture", "training": {"steps": 2, "batch_size": 4}, "mixture": mixture}
    return recipe_from(document, source="mine.toml")


def test_a_loss_is_a_function_and_a_field(tmp_path: Path, teacher: Path, new_loss: str) -> None:
    made = recipe(huber=0.5, huber_delta=2.0)
    assert "huber_delta = 2.0" in made.to_toml()
    report = distill(request(tmp_path, teacher=str(teacher), recipe=made))
    assert report.result.parts["loss_huber"] > 0
    assert report.result.loss == pytest.approx(0.5 * report.result.parts["loss_huber"], rel=0.5)
    with pytest.raises(UsageError, match=r"mine.toml \[mixture\]: huber_delta is 0.0; it must be above 0"):
        recipe(huber=1.0, huber_delta=0.0)
    with pytest.raises(UsageError, match="unknown key 'hubber'. Did you mean huber"):
        recipe(hubber=1.0)


def test_the_same_loss_is_added_to_training_from_pairs(new_loss: str) -> None:
    fields = new_loss.replace("huber:", "huber_weight:").replace("student teacher", "image caption")
    made = pairs.objective(losses=(), options_of=with_fields(tables.PairOptions, fields), huber_weight=1.0)
    assert pairs.loss_of(made)[1]["huber"] > 0


def test_every_loss_of_the_tables_exists_and_is_given_what_there_is() -> None:
    from mobileclip_kit.distillation.mixture import MixtureInputs
    from mobileclip_kit.distillation.pairs import PairInputs

    for table, inputs in ((tables.MixtureOptions, MixtureInputs), (tables.PairOptions, PairInputs)):
        for term in table._terms().values():
            module, _, name = term.loss.rpartition(".")
            assert callable(getattr(importlib.import_module(f"mobileclip_kit.losses.{module}"), name))
            assert all(hasattr(inputs, source) or hasattr(table, source) for _, source in term.inputs)


@pytest.mark.parametrize("wrapped", [False, True], ids=["vision_cfg", "model_cfg"])
def test_a_student_is_a_json_file(
    tmp_path: Path, teacher: Path, wrapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = example("Adding a student", "json")
    document = {"model_cfg": {"vision_cfg": json.loads(text)}} if wrapped else json.loads(text)
    (tmp_path / "my-student.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit) as stop:
        main(["distill", "--teacher", str(teacher), "--data", str(tmp_path / "images"), "--student",
              str(tmp_path / "my-student.json"), "--steps", "1", "--batch-size", "4", "-o",
              str(tmp_path / "made"), "--json"])  # fmt: skip
    assert stop.value.code == 0, capsys.readouterr().err
    made = load_model(tmp_path / "made")
    assert made.config["model_cfg"]["vision_cfg"] == json.loads(text)
    assert made.spec.provenance["student"] == "my-student"
    network: Any = made.network
    with torch.no_grad():
        assert network.encode_image(torch.rand(1, 3, 64, 64)).shape == (1, made.spec.embedding_dim)


def test_a_file_that_describes_no_student_is_refused(tmp_path: Path, teacher: Path) -> None:
    from mobileclip_kit.errors import ModelError

    (tmp_path / "my-student.json").write_text('{"name": "x"}')
    with pytest.raises(ModelError, match="describes no student"):
        request(tmp_path, teacher=str(teacher), student=str(tmp_path / "my-student.json"))
    with pytest.raises(ModelError, match="There is no student file"):
        request(tmp_path, teacher=str(teacher), student=str(tmp_path / "none.json"))
