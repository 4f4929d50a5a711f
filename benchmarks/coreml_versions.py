"""Are programs that other versions of coremltools wrote read and executed rightly?

    python -m venv ct7 && ct7/bin/pip install coremltools==7.2 torch "numpy<2"
    python benchmarks/coreml_versions.py --python ct7/bin/python ct8/bin/python

Traces the towers of a small student in both layouts (the plain one and the Neural Engine's), lets every named
environment convert them with its own coremltools, in float16 and with compressed weights, and executes the packages
with mckit's interpreter. An environment without torch writes a transformer block with coremltools' own builder instead.
Cosines are to torch's vectors. What a version cannot convert is a row with its reason. Writes
``results/coreml_versions.json``.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, parse, told, write

_STUDENT, _TEXT, _DIM, _INPUTS = "vit-t4-64", "text-4-128", 128, 4
# Layout → targets that are asked for; a version that does not know a target leaves it out.
_TARGETS = {"plain": ("iOS16", "iOS18"), "ane": ("iOS15",)}
_BLOCK = {"width": 64, "patch": 8, "side": 32}
_KINDS = ("fp16", "palette6", "int8", "sparse")
# Compressed random weights lose much (sparse ones: 30 % of each matrix), which is not what is judged here:
# tests/mil/test_compressed.py holds the expanded weights against coremltools' own.
_LEAST_COSINE = {"fp16": 0.999, "palette6": 0.9, "int8": 0.99, "sparse": 0.8}


def main() -> int:
    """Trace, convert in every environment, execute, write, print."""
    chosen = parse(python=(), out=RESULTS / "coreml_versions.json")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wanted = {**trace_towers(work), "block": make_block(work)}
        for number, python in enumerate([sys.executable, *chosen.python]):
            out = work / f"packages-{number}"
            out.mkdir()
            command = [python, __file__, "--convert", str(work), str(out)]
            done = subprocess.run(command, capture_output=True, text=True)
            converted = told(done.stdout)
            if not converted:
                raise SystemExit(f"{python} failed: {done.stderr[-2000:]}")
            rows += [execute(row, out, wanted) for row in converted]
    write(chosen.out, {"student": _STUDENT, "text": _TEXT, "inputs": _INPUTS, "rows": rows})
    for row in rows:
        about = f"{row['layout']:5} {row['tower']:5} {row['target']:5} {row['kind']:8}"
        name = f"coremltools {row['coremltools']:7} {about}"
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

    from mobileclip_kit.exporting.towers import ImageTower, TextTower
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


def make_block(work: Path) -> dict[str, Any]:
    """Weights of one transformer block on disk, and torch's vectors of some inputs."""
    import torch
    from torch import nn

    width, patch, side = _BLOCK["width"], _BLOCK["patch"], _BLOCK["side"]
    torch.manual_seed(1)
    part = nn.ModuleDict({"patches": nn.Conv2d(3, width, patch, patch), "norm_1": nn.LayerNorm(width),
                          "norm_2": nn.LayerNorm(width), "widen": nn.Linear(width, 2 * width),
                          "narrow": nn.Linear(2 * width, width), "project": nn.Linear(width, width)})  # fmt: skip
    part.update({name: nn.Linear(width, width) for name in ("query", "key", "value", "out")})
    images = torch.randn(_INPUTS, 3, side, side)
    with torch.no_grad():
        x = part["patches"](images).flatten(2).transpose(1, 2)
        h = part["norm_1"](x)
        scores = (part["query"](h) * width**-0.5 @ part["key"](h).transpose(1, 2)).softmax(-1)
        x = x + part["out"](scores @ part["value"](h))
        x = x + part["narrow"](nn.functional.gelu(part["widen"](part["norm_2"](x))))
        vectors = nn.functional.normalize(part["project"](x.mean(1)), dim=-1)
    np.savez(work / "block.npz", **{name: value.numpy() for name, value in part.state_dict().items()})
    return {"inputs": images.numpy(), "vectors": vectors.numpy()}


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
        interpreter = Interpreter(program, arithmetic=precision)
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
                every = target == "iOS16" and tower == "image"
                yield from save_kinds(ct, model, row, out, _KINDS if every else ("fp16",))


def save_kinds(ct: Any, model: Any, row: dict[str, Any], out: Path, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A package for each kind of weights."""
    for kind in kinds:
        file = f"{row['layout']}-{row['tower']}-{row['target']}-{kind}.mlpackage"
        try:
            compressed(ct, model, kind).save(str(out / file))
        except Exception as error:  # as above
            yield {**row, "kind": kind, "error": first_line(error)}
        else:
            yield {**row, "kind": kind, "error": None, "file": file}


def convert_built(work: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Run where there is no torch: one transformer block, written with coremltools' own builder."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    weights = dict(np.load(work / "block.npz"))
    side = _BLOCK["side"]

    @mb.program(input_specs=[mb.TensorSpec((1, 3, side, side))])
    def block(image: Any) -> Any:
        def linear(x: Any, name: str, label: str | None = None) -> Any:
            return mb.linear(x=x, weight=weights[f"{name}.weight"], bias=weights[f"{name}.bias"], name=label or name)

        def norm(x: Any, name: str) -> Any:
            gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
            return mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=np.float32(1e-5))

        step = _BLOCK["patch"]
        x = mb.conv(x=image, weight=weights["patches.weight"], bias=weights["patches.bias"], strides=[step, step])
        x = mb.transpose(x=mb.reshape(x=x, shape=[1, _BLOCK["width"], -1]), perm=[0, 2, 1])
        h = norm(x, "norm_1")
        query = mb.mul(x=linear(h, "query"), y=np.float32(_BLOCK["width"] ** -0.5))
        scores = mb.softmax(x=mb.matmul(x=query, y=linear(h, "key"), transpose_y=True), axis=-1)
        x = mb.add(x=x, y=linear(mb.matmul(x=scores, y=linear(h, "value")), "out"))
        x = mb.add(x=x, y=linear(mb.gelu(x=linear(norm(x, "norm_2"), "widen"), mode="EXACT"), "narrow"))
        pooled = linear(mb.reduce_mean(x=x, axes=[1], keep_dims=False), "project")
        length = mb.rsqrt(x=mb.reduce_sum(x=mb.mul(x=pooled, y=pooled), axes=[-1], keep_dims=True))
        return mb.mul(x=pooled, y=length, name="embedding")

    row = {"coremltools": ct.__version__, "torch": None, "numpy": np.__version__,
           "layout": "block", "tower": "block", "target": "iOS16"}  # fmt: skip
    try:
        model = ct.convert(block, convert_to="mlprogram", compute_precision=ct.precision.FLOAT16, skip_model_load=True,
                           minimum_deployment_target=ct.target.iOS16)  # fmt: skip
    except Exception as error:  # as above
        yield {**row, "kind": "fp16", "error": first_line(error)}
        return
    yield from save_kinds(ct, model, row, out, _KINDS)


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
        convert_some = convert_all if importlib.util.find_spec("torch") else convert_built
        for row in convert_some(Path(sys.argv[2]), Path(sys.argv[3])):
            print(json.dumps(row), flush=True)
    else:
        sys.exit(main())
