"""Are programs that other versions of coremltools wrote read and executed rightly?

    python -m venv ct7 && ct7/bin/pip install coremltools==7.2 torch "numpy<2"
    python benchmarks/coreml_versions.py --python ct7/bin/python ct8/bin/python

Traces the towers of a small student in both layouts (the plain one and the Neural Engine's), lets every named
environment convert them with its own coremltools, in float16 and with compressed weights, and executes the packages
with mckit's interpreter. Cosines are to torch's vectors. What a version cannot convert is a row with its reason. Writes
``results/coreml_versions.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "coreml_versions.json"
_STUDENT, _TEXT, _DIM, _INPUTS = "vit-t4-64", "text-4-128", 128, 4
# Layout → targets that are asked for; a version that does not know a target leaves it out.
_TARGETS = {"plain": ("iOS16", "iOS17", "iOS18"), "ane": ("iOS15", "iOS16")}
_KINDS = ("fp16", "palette6", "int8", "sparse")
# What a kind's weights cost on random ones, which is not what is judged here.
_LEAST_COSINE = {"fp16": 0.999, "palette6": 0.9, "int8": 0.99, "sparse": 0.9}


def main() -> int:
    """Trace, convert in every environment, execute, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, nargs="*", default=[], help="interpreters of other environments")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wanted = trace_towers(work)
        for number, python in enumerate([Path(sys.executable), *chosen.python]):
            out = work / f"packages-{number}"
            out.mkdir()
            command = [str(python), __file__, "--convert", str(work), str(out)]
            done = subprocess.run(command, capture_output=True, text=True)
            told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if not told:
                raise SystemExit(f"{python} failed: {done.stderr[-2000:]}")
            rows += [execute(row, out, wanted) for row in told]
    from mobileclip_kit.bench.machine import describe_machine
    from mobileclip_kit.files import write_json

    document = {"machine": describe_machine(), "student": _STUDENT, "text": _TEXT, "inputs": _INPUTS, "rows": rows}
    write_json(chosen.results, document)
    for row in rows:
        name = (
            f"coremltools {row['coremltools']:7} {row['layout']:5} {row['tower']:5} {row['target']:5} {row['kind']:8}"
        )
        if row["error"]:
            print(f"{name} {row['error']}")
        else:
            print(f"{name} {row['operator_set']} float32 {row['float32']:.6f} float16 {row['float16']:.6f}")
    executed = [row for row in rows if not row["error"]]
    wrong = [row for row in executed if not row["passed"]]
    print(f"{len(executed)} programs executed, {len(wrong)} wrong, {len(rows) - len(executed)} not converted")
    return 1 if wrong else 0


def trace_towers(work: Path) -> dict[str, Any]:
    """Traced modules on disk, and torch's vectors of some inputs by tower."""
    import torch

    from mobileclip_kit.export.towers import ImageTower, TextTower
    from mobileclip_kit.networks.model import Model, build_network, describe
    from mobileclip_kit.networks.students import pair_config

    config = pair_config(_STUDENT, text=_TEXT, embedding_dim=_DIM)
    torch.manual_seed(0)
    network = build_network(config["model_cfg"]).eval()
    for parameter in network.parameters():  # fresh weights are too small to tell inputs apart
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model = Model(network, config, describe(_STUDENT, network, config))
    image, text = model.spec.require_image(), model.spec.require_text()
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 256, (_INPUTS, image.height, image.width, 3), dtype=np.uint8)
    ids = drawn.integers(1, text.vocab_size - 2, (_INPUTS, text.context_length)).astype(np.int32)
    ids[:, -1] = text.vocab_size - 1
    given = {"image": torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, "text": torch.from_numpy(ids)}
    wanted: dict[str, Any] = {}
    sizes = {"image": [1, 3, image.height, image.width], "text": [1, text.context_length]}
    with torch.no_grad():
        for layout in _TARGETS:
            for tower, kind in (("image", ImageTower), ("text", TextTower)):
                module = kind(model, ane=layout == "ane")
                example: Any = module.example
                torch.jit.trace(module, example, check_trace=False).save(work / f"{layout}-{tower}.pt")  # type: ignore[no-untyped-call]
                wanted[tower] = {"inputs": pixels if tower == "image" else ids, "vectors": module(given[tower]).numpy()}
    (work / "sizes.json").write_text(json.dumps(sizes))
    return wanted


def execute(row: dict[str, Any], folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table from what a converter told."""
    from mobileclip_kit.mil.interpreter import Interpreter
    from mobileclip_kit.mil.program import read_program

    if row["error"]:
        return {**row, "passed": False}
    program = read_program(folder / row.pop("file"))
    given, name = wanted[row["tower"]], program.inputs[0].name
    facts: dict[str, Any] = {
        "operator_set": program.main.operator_set,
        "specification_version": program.specification_version,
        "operators": dict(Counter(operation.type for operation in program.main.operations).most_common()),
    }
    modes: tuple[Any, ...] = ("float32", "float16")
    for precision in modes:
        interpreter = Interpreter(program, precision=precision)
        found = np.concatenate([interpreter.run({name: each[None]})["embedding"] for each in given["inputs"]])
        facts[precision] = float((found.astype(np.float64) * given["vectors"]).sum(axis=1).min())
    passed = min(facts["float32"], facts["float16"]) >= _LEAST_COSINE[row["kind"]]
    return {**row, **facts, "passed": bool(passed)}


def convert_all(work: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Run in the other environment: it has torch and some coremltools, and nothing of mckit."""
    import coremltools as ct
    import torch

    sizes = json.loads((work / "sizes.json").read_text())
    about = {"coremltools": ct.__version__, "torch": torch.__version__, "numpy": np.__version__}
    for layout, targets in _TARGETS.items():
        for tower, shape in sizes.items():
            for target in targets:
                row = {**about, "layout": layout, "tower": tower, "target": target}
                if not hasattr(ct.target, target):
                    continue
                try:
                    module = torch.jit.load(str(work / f"{layout}-{tower}.pt"))
                    model = convert(ct, module, tower, shape, target)
                except Exception as error:  # whatever a converter raises is the row's reason
                    yield {**row, "kind": "fp16", "error": first_line(error)}
                    continue
                for kind in _KINDS if target == "iOS16" else ("fp16", "palette6"):
                    file = f"{layout}-{tower}-{target}-{kind}.mlpackage"
                    try:
                        compressed(ct, model, kind).save(str(out / file))
                    except Exception as error:
                        yield {**row, "kind": kind, "error": first_line(error)}
                    else:
                        yield {**row, "kind": kind, "error": None, "file": file}


def convert(ct: Any, module: Any, tower: str, shape: list[int], target: str) -> Any:
    """One tower in float16."""
    if tower == "image":
        given = ct.ImageType(name="image", shape=tuple(shape), scale=1 / 255, color_layout=ct.colorlayout.RGB)
    else:
        given = ct.TensorType(name="ids", shape=tuple(shape), dtype=np.int32)
    return ct.convert(
        module, inputs=[given], outputs=[ct.TensorType(name="embedding", dtype=np.float32)], convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16, minimum_deployment_target=getattr(ct.target, target),
        skip_model_load=True,
    )  # fmt: skip


def compressed(ct: Any, model: Any, kind: str) -> Any:
    """A copy with smaller weights, by the version's own tools."""
    if kind == "fp16":
        return model
    if not hasattr(ct, "optimize"):  # before 7
        from coremltools.models.ml_program import compression_utils as old

        made: dict[str, Callable[[], Any]] = {
            "palette6": lambda: old.palettize_weights(model, nbits=6, mode="uniform"),
            "int8": lambda: old.affine_quantize_weights(model, mode="linear_symmetric"),
            "sparse": lambda: old.sparsify_weights(model, mode="percentile_based", target_percentile=0.3),
        }
        return made[kind]()
    import coremltools.optimize.coreml as new

    def with_config(config: Any) -> Any:
        return new.OptimizationConfig(global_config=config)

    if kind == "palette6":
        return new.palettize_weights(model, with_config(new.OpPalettizerConfig(mode="uniform", nbits=6)))
    if kind == "int8":
        return new.linear_quantize_weights(model, with_config(new.OpLinearQuantizerConfig(mode="linear_symmetric")))
    return new.prune_weights(model, with_config(new.OpMagnitudePrunerConfig(target_sparsity=0.3)))


def first_line(error: Exception) -> str:
    """The first line of a message."""
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())[:200]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--convert"]:
        for told in convert_all(Path(sys.argv[2]), Path(sys.argv[3])):
            print(json.dumps(told), flush=True)
    else:
        sys.exit(main())
