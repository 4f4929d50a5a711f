"""Every precision side by side: what is there, what is missing and why, what is not left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mobileclip_kit import comparison
from mobileclip_kit.cli.export import describe_comparison
from mobileclip_kit.comparison import compare_precisions, measure_latencies
from mobileclip_kit.errors import ExportError, OutputError, ParityError
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.precisions import precisions_of
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.files import SEAL_KEY
from mobileclip_kit.networks.model import Model
from tests.exports import IMAGE

NAMES = [f"onnx-{name}" for name in ("fp32", "fp16", "int8-weights", "int8")]
NAMES += [f"coreml-{name}" for name in ("fp16", "int8", "palette8", "palette6", "palette4")]


@pytest.fixture
def converted(onnx_export: Export, coreml_export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default precisions come from exports that exist already: conversion is what costs seconds."""
    ready = {"fp32": onnx_export, "fp16": coreml_export}

    def export_ready(model: Model, place: Path, options: ExportOptions) -> Export:
        if options.base is not None:
            return export_model(model, place, options)
        source = ready[options.row.name]
        shutil.copytree(source.path, place)
        return source

    monkeypatch.setattr(comparison, "export_model", export_ready)


@pytest.mark.usefixtures("converted")
def test_every_precision_has_a_row(tiny_model: Model, tmp_path: Path) -> None:
    options = ExportOptions(calibration=draw_images(IMAGE, count=16, seed=7))
    document = compare_precisions(tiny_model, tmp_path / "all", options, formats=["onnx", "coreml"], seconds=0.1)
    rows = {(row["name"], row["tower"]): row for row in document["rows"]}
    assert set(rows) == {(name, tower) for name in NAMES for tower in ("image", "text")}
    assert rows["onnx-fp32", "image"]["latency_ms"]["p50"] > 0
    assert rows["onnx-int8", "image"]["size_bytes"] < rows["onnx-fp32", "image"]["size_bytes"]
    assert rows["coreml-palette4", "text"]["size_bytes"] < rows["coreml-palette8", "text"]["size_bytes"]
    written = json.loads((tmp_path / "all/comparison.json").read_text())
    assert written["model_hash"] == tiny_model.spec.model_hash and SEAL_KEY in written
    kept = {child.name for child in (tmp_path / "all").iterdir()}
    assert kept == {
        "comparison.json",
        *(name for name in NAMES if rows[name, "image"]["passed"] and rows[name, "text"]["passed"]),
    }
    table = describe_comparison(document)
    assert "palette6" in table and "1 thread" in table


@pytest.mark.usefixtures("converted")
def test_what_is_missing_is_said(tiny_model: Model, tmp_path: Path) -> None:
    document = compare_precisions(tiny_model, tmp_path / "all", ExportOptions(), formats=["onnx"], seconds=0)
    (missing,) = [row for row in document["rows"] if "tower" not in row]
    assert missing["name"] == "onnx-int8"
    assert "calibrate" in missing["reason"]
    assert "onnx-int8: int8 needs images to calibrate on." in describe_comparison(document)


def test_a_model_that_does_not_convert_leaves_nothing(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Export:
        raise ExportError("torch cannot export the image tower.")

    monkeypatch.setattr(comparison, "export_model", refuse)
    with pytest.raises(ExportError):
        compare_precisions(tiny_model, tmp_path / "all", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_the_model_cannot_have_is_a_row_beside_the_others(
    tiny_model: Model, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_onnx(model: Model, place: Path, options: ExportOptions) -> Export:
        if options.format != "onnx":
            raise ExportError(f"{options.format} has no such operator.")
        if options.base is not None:
            raise ParityError("numbers that are not finite")
        shutil.copytree(onnx_export.path, place)
        return onnx_export

    monkeypatch.setattr(comparison, "export_model", export_onnx)
    formats = ["litert", "onnx", "coreai"]
    document = compare_precisions(tiny_model, tmp_path / "all", ExportOptions(), formats=formats, seconds=0)
    refused = {row["name"]: row["reason"] for row in document["rows"] if row["name"] in ("litert", "coreai")}
    assert refused == {name: f"{name} has no such operator." for name in ("litert", "coreai")}
    assert (tmp_path / "all" / "onnx-fp32").is_dir()
    assert "coreai: coreai has no such operator." in describe_comparison(document)


def test_what_stays_in_float_is_said_once_for_each_tower() -> None:
    """Core AI exports have a row for each runtime that executed them."""
    row = {
        "name": "coreai-fp16", "tower": "image", "size_bytes": 1, "cosine_min": 1.0, "cosine_mean": 1.0, "inputs": "2",
        "overlap_at_10": None, "latency_ms": None, "passed": True, "reason": None, "kept_in_float": ["exp"],
    }  # fmt: skip
    rows = [{**row, "runtime": runtime} for runtime in ("coreai", "coreai in float32")]
    assert describe_comparison({"rows": rows, "threads": 1}).count("kept in float: exp") == 1


def test_vectors_that_are_no_numbers_are_a_row(
    tiny_model: Model, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_some(model: Model, place: Path, options: ExportOptions) -> Export:
        if options.row.name == "fp32":
            shutil.copytree(onnx_export.path, place)
            return onnx_export
        raise ParityError("numbers that are not finite")

    monkeypatch.setattr(comparison, "export_model", export_some)
    rows = compare_precisions(tiny_model, tmp_path / "all", ExportOptions(), formats=["onnx"], seconds=0)["rows"]
    assert [row["reason"] for row in rows if row["name"] == "onnx-fp16"] == ["numbers that are not finite"]


def test_an_existing_folder_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        compare_precisions(tiny_model, tmp_path, ExportOptions())


def test_latencies_of_onnx_exports_alone(onnx_export: Export, coreml_export: Export) -> None:
    """The interpreter is not timed; a real process is, for a moment."""
    exports = {"onnx-fp32": onnx_export, "coreml-fp16": coreml_export}
    found, failures = measure_latencies(exports, 0.2)
    assert failures == {}
    wanted = {("onnx-fp32", "image"), ("onnx-fp32", "text")}
    if sys.platform != "darwin":
        assert set(found) == wanted
    assert all(found[key]["p50"] > 0 for key in wanted)


def test_the_module_imports_without_torch_until_it_works() -> None:
    """`mckit export --help` stays quick."""
    code = "import sys, mobileclip_kit.cli.export; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"


def test_a_comparison_is_replaced_and_held_to_the_asked_cosine(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def export_none(model: Model, place: Path, options: ExportOptions) -> Export:
        asked.append(options.threshold)
        raise ParityError("numbers that are not finite")

    monkeypatch.setattr(comparison, "export_model", export_none)
    options = ExportOptions(threshold=0.5, force=True)
    for _ in range(2):
        compare_precisions(tiny_model, tmp_path / "all", options, formats=["coreml"])
    assert asked == [0.5] * 2 * len(precisions_of("coreml"))
