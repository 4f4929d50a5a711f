"""Which operator of a Core ML tower loses precision first."""

from __future__ import annotations

import math

import pytest

from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting import verify
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.verify import TOLERANCE, TowerTrace, describe_trace, trace_export
from mobileclip_kit.mil.interpreter import Divergence, NumericProblem
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.networks.model import Model


def test_tolerance_is_the_distance_of_unit_vectors_at_the_gate() -> None:
    """For cos φ = 0.999, in a right triangle of two unit vectors: the chord is 2 sin(φ/2)."""
    assert pytest.approx(2 * math.sin(math.acos(0.999) / 2)) == TOLERANCE


def test_every_operator_of_both_towers_is_compared(tiny_model: Model, coreml_export: Export) -> None:
    traces = trace_export(coreml_export, tiny_model)
    assert [trace.tower for trace in traces] == ["image", "text"]
    for trace in traces:
        operations = read_program(coreml_export.tower_path(trace.tower)).main.operations
        names = {each.name for each in operations if each.type != "const"}
        assert trace.operators == len(names)
        assert trace.first is None
        assert trace.problems == ()
        assert 0 < trace.worst.relative_error < TOLERANCE and trace.worst.operation in names


def test_the_first_beyond_the_tolerance_comes_before_the_worst(
    tiny_model: Model, coreml_export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TOLERANCE", 1e-5)
    trace = trace_export(coreml_export, tiny_model)[0]
    names = [each.name for each in read_program(coreml_export.tower_path("image")).main.operations]
    assert trace.first is not None and trace.first.relative_error > 1e-5
    assert names.index(trace.first.operation) <= names.index(trace.worst.operation)


def test_overflow_is_told_by_name() -> None:
    blown = Divergence("linear_3", "linear", math.inf)
    finding = NumericProblem("linear_3", "linear", "overflow", 12, 70000.0)
    trace = TowerTrace("image", 40, blown, blown, (finding,))
    assert "linear_3 (linear) overflows float16's 65,504: 12 elements, up to 70000" in describe_trace(trace)
    document = trace.to_json()
    assert document["first"] == {"operation": "linear_3", "type": "linear", "relative_error": None}
    assert document["problems"][0]["largest"] == 70000.0


def test_onnx_has_no_program_to_follow(tiny_model: Model, onnx_export: Export) -> None:
    with pytest.raises(UsageError, match="follows Core ML programs"):
        trace_export(onnx_export, tiny_model)
