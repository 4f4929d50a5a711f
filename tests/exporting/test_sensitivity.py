"""int8 under a budget: what is measured, what is chosen, what the mixed graph computes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting import budget
from mobileclip_kit.exporting.budget import Budget, split_calibration
from mobileclip_kit.exporting.int8 import insert_pairs, quantize_int8
from mobileclip_kit.exporting.onnx import Feeds, run_graph
from mobileclip_kit.exporting.sensitivity import (
    Sensitivity,
    choose_float,
    keep_float,
    measure_sensitivity,
    quantized_products,
    read_sensitivities,
    write_sensitivities,
)
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec

SPEC = ModelSpec(name="chain", embedding_dim=8, image=ImageSpec(height=4, width=4), text=None)
Graphs = tuple[onnx.ModelProto, onnx.ModelProto]


def least_cosine(one: onnx.ModelProto, other: onnx.ModelProto, inputs: Feeds) -> float:
    return float(row_cosines(run_graph(one, inputs), run_graph(other, inputs)).min())


def chain() -> onnx.ModelProto:
    """Three products in a row; the second one's weight has a row of outliers, which int8 holds badly."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal(shape).astype(np.float32) for shape in ((48, 16), (16, 16), (16, 8))]
    weights[0][:, 0] /= 40
    weights[1][0] *= 40
    nodes = [
        helper.make_node("Flatten", ["image"], ["v0"], "flatten"),
        helper.make_node("MatMul", ["v0", "w0"], ["m0"], "product0"),
        helper.make_node("Tanh", ["m0"], ["v1"], "act0"),
        helper.make_node("MatMul", ["v1", "w1"], ["m1"], "product1"),
        helper.make_node("Tanh", ["m1"], ["v2"], "act1"),
        helper.make_node("Gemm", ["v2", "w2", "b2"], ["m2"], "product2"),
        helper.make_node("Tanh", ["m2"], ["embedding"], "act2"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 4, 4])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 8])
    tensors = [numpy_helper.from_array(array, f"w{number}") for number, array in enumerate(weights)]
    tensors.append(numpy_helper.from_array(random.standard_normal(8).astype(np.float32), "b2"))
    graph = helper.make_graph(nodes, "chain", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), np.uint8)


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    return [{"image": row[None].transpose(0, 3, 1, 2).astype(np.float32) / 255} for row in pixels(count)]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The chain and its int8 form with every product reduced."""
    folder = tmp_path_factory.mktemp("chain")
    onnx.save(chain(), folder / "float.onnx")
    quantize_int8(folder / "float.onnx", folder / "int8.onnx", SPEC, pixels(16), Budget("image", -1, None))
    return onnx.load(folder / "float.onnx"), onnx.load(folder / "int8.onnx")


def test_every_product_was_reduced(graphs: Graphs) -> None:
    assert set(quantized_products(*graphs)) == {"product0", "product1", "product2"}


def test_keeping_all_in_float_gives_the_float_graph(graphs: Graphs) -> None:
    mixed = keep_float(*graphs, {"product0", "product1", "product2"})
    assert [node.op_type for node in mixed.graph.node] == [node.op_type for node in graphs[0].graph.node]
    assert least_cosine(graphs[0], mixed, feeds(4)) == pytest.approx(1, abs=1e-12)


def test_keeping_nothing_gives_the_int8_graph(graphs: Graphs) -> None:
    mixed = keep_float(*graphs, set())
    assert least_cosine(graphs[1], mixed, feeds(4)) == pytest.approx(1, abs=1e-12)


def test_a_product_in_float_takes_its_float_bias(graphs: Graphs) -> None:
    bias = next(tensor for tensor in graphs[0].graph.initializer if tensor.name == "b2")
    mixed = keep_float(*graphs, {"product2"})
    assert [tensor for tensor in mixed.graph.initializer if tensor.name == "b2"] == [bias]
    assert not any("b2" in node.output for node in mixed.graph.node)


def test_one_product_in_float_reads_its_own_weight(graphs: Graphs) -> None:
    mixed = keep_float(*graphs, {"product1"})
    onnx.checker.check_model(mixed, full_check=True)
    inputs = {node.name: list(node.input) for node in mixed.graph.node}
    assert inputs["product1"][1] == "w1"
    assert inputs["product2"][1] != "w2"
    names = {tensor.name for tensor in mixed.graph.initializer}
    assert "w1" in names
    assert "w2" not in names
    assert not any(name.startswith("w1_quantized") for name in names)


def test_sensitivities_come_greatest_first(graphs: Graphs) -> None:
    found = measure_sensitivity(*graphs, feeds(8))
    losses = [entry.loss for entry in found]
    assert losses == sorted(losses, reverse=True)
    assert {entry.weight for entry in found} == {"w0", "w1", "w2"}


def reaching(graphs: Graphs, least: float) -> Callable[[Sequence[Sensitivity]], bool]:
    return lambda kept: least_cosine(graphs[0], keep_float(*graphs, {each.node for each in kept}), feeds(8)) >= least


def test_the_fewest_are_chosen(graphs: Graphs) -> None:
    found = measure_sensitivity(*graphs, feeds(8))
    whole = least_cosine(*graphs, feeds(8))
    first = least_cosine(graphs[0], keep_float(*graphs, {found[0].node}), feeds(8))
    assert first > whole
    assert choose_float(found, reaching(graphs, whole - 1e-9)) == ()
    assert choose_float(found, reaching(graphs, (whole + first) / 2)) == (found[0],)


def test_an_impossible_budget_has_no_choice(graphs: Graphs) -> None:
    assert choose_float(measure_sensitivity(*graphs, feeds(2)), reaching(graphs, 1.1)) is None


@pytest.mark.parametrize(
    ("count", "ranging", "measuring", "checking"),
    [
        (2, [0], [1], [1]),
        (3, [0, 2], [1], [1]),
        (8, [0, 2, 4, 6], [1, 5], [3, 7]),
        (200, list(range(0, 200, 2)), 16, 50),
    ],
)
def test_calibration_is_parted(count: int, ranging: list[int], measuring: object, checking: object) -> None:
    rows = [{"image": np.array([number])} for number in range(count)]
    parts = split_calibration(rows)
    found = [[int(row["image"][0]) for row in part] for part in (parts.ranging, parts.measuring, parts.checking)]
    assert found[0] == ranging
    for part, expected in zip(found[1:], (measuring, checking), strict=True):
        assert (part if isinstance(expected, list) else len(part)) == expected
    if count > 3:
        assert not set(found[0]) & set(found[1]) | set(found[1]) & set(found[2]) | set(found[0]) & set(found[2])


def test_the_choice_has_to_hold_for_ranges_that_have_not_seen_the_inputs(graphs: Graphs) -> None:
    """A trial graph with a twentieth of the ranges fails the check, whatever the graph with all of them does."""
    products = [f"{kind}{number}" for kind in "mv" for number in (0, 1, 2)]
    narrow = insert_pairs(graphs[0], dict.fromkeys([*products, "embedding"], (-0.05, 0.05)))
    parts = split_calibration(feeds(16))
    lenient = budget.Budget("image", 0.5, None)
    assert least_cosine(*graphs, parts.checking) > lenient.cosine > least_cosine(graphs[0], narrow, parts.checking)
    assert budget.Quantized(*graphs, graphs[1], parts).keeps(lenient, lambda model: model, ())
    assert not budget.Quantized(*graphs, narrow, parts).keeps(lenient, lambda model: model, ())


def test_table_round_trip(tmp_path: Path) -> None:
    table = [Sensitivity("a", "Gemm", "w", 0.25), Sensitivity("b", "Conv", "v", 0.0)]
    write_sensitivities(tmp_path / "table.json", table, "8 images")
    assert read_sensitivities(tmp_path / "table.json") == table


@pytest.fixture(scope="module")
def trial(graphs: Graphs, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The same with ranges from the inputs that set a trial's."""
    folder = tmp_path_factory.mktemp("trial")
    onnx.save(graphs[0], folder / "float.onnx")
    quantize_int8(folder / "float.onnx", folder / "int8.onnx", SPEC, pixels(16)[::2], Budget("image", -1, None))
    return graphs[0], onnx.load(folder / "int8.onnx")


def reached(graphs: Graphs, trial: Graphs, kept: Collection[str]) -> float:
    """What a choice reaches on the inputs that it is checked on."""
    return min(least_cosine(graphs[0], keep_float(*each, kept), feeds(16)[3::4]) for each in (graphs, trial))


def test_budget_is_met_and_listed(
    tmp_path: Path, graphs: Graphs, trial: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget between all int8 and one product in float leaves its table beside the file and names what was kept."""
    monkeypatch.setattr(budget, "_SHARE_OF_BUDGET", 1.0)
    found = measure_sensitivity(*trial, feeds(16)[1::4])
    whole = reached(graphs, trial, ())
    first = reached(graphs, trial, {found[0].node})
    onnx.save(graphs[0], tmp_path / "float.onnx")
    kept = quantize_int8(
        tmp_path / "float.onnx", tmp_path / "out.onnx", SPEC, pixels(16), Budget("image", (whole + first) / 2, None)
    )
    assert f"MatMul of {found[0].weight}" in kept
    assert read_sensitivities(tmp_path / "int8-sensitivity-image.json") == found


def test_the_choice_is_made_from_an_earlier_measurement(
    tmp_path: Path, graphs: Graphs, trial: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured again, and another table leads to another choice."""
    monkeypatch.setattr(budget, "measure_sensitivity", None)
    monkeypatch.setattr(budget, "_SHARE_OF_BUDGET", 1.0)
    (tmp_path / "earlier").mkdir()
    # Measured, the second product is the one that costs most; this table puts the first one before it.
    least = reached(graphs, trial, {"product0", "product1"}) - 1e-9
    assert least > reached(graphs, trial, {"product0"})
    # As an editor may leave it: not in order.
    entries = [Sensitivity("product1", "MatMul", "w1", 0.1), Sensitivity("product0", "MatMul", "w0", 0.9),
               Sensitivity("product2", "Gemm", "w2", 0.0)]  # fmt: skip
    write_sensitivities(tmp_path / "earlier/int8-sensitivity-image.json", entries, "by hand")
    onnx.save(graphs[0], tmp_path / "float.onnx")
    kept = quantize_int8(
        tmp_path / "float.onnx",
        tmp_path / "out.onnx",
        SPEC,
        pixels(16),
        Budget("image", least, None),
        measured=tmp_path / "earlier",
    )
    assert [name for name in kept if " of " in name] == ["MatMul of w0", "MatMul of w1"]
    assert [entry.weight for entry in read_sensitivities(tmp_path / "int8-sensitivity-image.json")] == [
        "w0",
        "w1",
        "w2",
    ]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            '{"products": [{"node": "other", "operator": "Conv", "weight": "v", "loss": 0}]}',
            "measured 1 products, 0 of",
        ),
        ('{"products": [{"node": "product0"}]}', "products"),
        ('{"products": [{"node": "a", "operator": "b", "weight": "c", "loss": "much"}]}', r"products\[0\].loss"),
        ("{}", "products"),
    ],
)
def test_a_foreign_or_damaged_measurement_is_refused(tmp_path: Path, graphs: Graphs, table: str, sentence: str) -> None:
    (tmp_path / "int8-sensitivity-image.json").write_text(table)
    (tmp_path / "new").mkdir()
    onnx.save(graphs[0], tmp_path / "float.onnx")
    with pytest.raises(ExportError, match=sentence):
        quantize_int8(
            tmp_path / "float.onnx",
            tmp_path / "new/out.onnx",
            SPEC,
            pixels(4),
            Budget("image", 1 - 1e-7, None),
            measured=tmp_path,
        )


def test_a_missed_budget_is_told_as_it_was_asked(tmp_path: Path, graphs: Graphs) -> None:
    onnx.save(graphs[0], tmp_path / "float.onnx")
    with pytest.raises(ExportError, match=r"image tower as int8 misses its budget \(least cosine 2,"):
        quantize_int8(tmp_path / "float.onnx", tmp_path / "out.onnx", SPEC, pixels(4), Budget("image", 2, None))


def test_a_table_that_costs_the_budget_stays_in_float(tmp_path: Path) -> None:
    """With every product in float the rows of an int8 table alone miss the asked cosine."""
    random = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
               for name, shape in (("table", (20, 16)), ("w", (16, 8)))]  # fmt: skip
    tensors.append(numpy_helper.from_array(np.array([1]), "axes"))
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "look_up"),
        helper.make_node("MatMul", ["rows", "w"], ["words"], "product"),
        helper.make_node("ReduceSum", ["words", "axes"], ["embedding"], "pool", keepdims=0),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 8])
    graph = helper.make_graph(nodes, "words", [ids], [out], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "f.onnx")
    spec = ModelSpec(name="words", embedding_dim=8, image=None, text=TextSpec(context_length=4, vocab_size=20))
    rows = random.integers(0, 20, (12, 4))
    found = {}
    for least in (-1.0, 1 - 1e-9):
        kept = quantize_int8(tmp_path / "f.onnx", tmp_path / "out.onnx", spec, rows, Budget("text", least, None))
        names = {tensor.name for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer}
        found[least] = ([name for name in kept if " of " in name], "table_int8" in names, "table" in names)
    assert found == {-1.0: ([], True, False), 1 - 1e-9: (["MatMul of w", "Gather of table"], False, True)}
