"""How close the hot paths come to what this machine can do at all.

    python benchmarks/limits.py PHOTOS CAPTIONS --fp32 EXPORT --int8 EXPORT [--rounds 15] [-o FILE]

PHOTOS is a folder of JPEGs, CAPTIONS a captions file, the exports are one model's (`mckit export`, ONNX float32 and
int8). Everything runs on one thread. Bounds are measured by micro-benchmarks in the same run, in turns with the paths:

- memory: a dot product of vectors far bigger than the caches;
- multiply-accumulates of float32: a product of matrices that fit the cache, the better of numpy and torch;
- of int8: ONNX Runtime's product of integers, or float32's rate where that is higher;
- decoding: Pillow alone, at the reduced size that mckit decodes at; and the same with Pillow's own resize behind it;
- text: the regular expression that splits it into words, the least that a tokenizer in Python does.

A path's share is its rate divided by its bound's, from medians of processor time (harness.py). Writes
``results/limits.json``, ``results/limits.png`` and the tables in ``docs/performance.md``.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before the libraries are loaded

import tempfile  # noqa: E402
from argparse import Namespace  # noqa: E402
from collections import defaultdict  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from harness import RESULTS, Bar, Call, Chart, draw, in_turns, operator_times, parse, spread, write  # noqa: E402
from PIL import Image  # noqa: E402

from mobileclip_kit.bench.models import describe_models  # noqa: E402
from mobileclip_kit.data.sources import open_source  # noqa: E402
from mobileclip_kit.images import list_images, load_pixels  # noqa: E402
from mobileclip_kit.index.flat import search_flat  # noqa: E402
from mobileclip_kit.runtime.open import open_encoder  # noqa: E402
from mobileclip_kit.spec import ImageSpec, TextSpec  # noqa: E402
from mobileclip_kit.tokenizer import _WORDS, Tokenizer, _merge_word, clean_text  # noqa: E402

ROWS, DIM = 200_000, 512  # 410 MB, far more than a cache
SIDE = 768  # three matrices of 2.4 MB
BATCHES = (1, 8)
PROFILED_CALLS = 8
# What a kernel's name says it does; the first that it contains counts.
KINDS = {
    "Quantize": "between integers and floats",
    "Dequantize": "between integers and floats",
    "LayerNorm": "norms, softmax, GELU, sums",
    "Conv": "products",
    "Gemm": "products",
    "MatMul": "products",
    "Transpose": "moving data",
    "Reshape": "moving data",
    "Gather": "moving data",
    "Split": "moving data",
    "Concat": "moving data",
}
REST = "norms, softmax, GELU, sums"


@dataclass(frozen=True)
class Timed:
    """Something that is timed: what it does in one call, in how many units."""

    call: Call
    amount: float
    unit: str


def main() -> None:
    """Measure, write, print."""
    chosen = parse("photos", "captions", fp32=Path, int8=Path, images=12, rounds=15, out=RESULTS / "limits.json")
    with tempfile.TemporaryDirectory(prefix="mckit-limits-") as folder:
        timed, paths = gather(chosen, Path(folder))
        seconds = in_turns({name: one.call for name, one in timed.items()}, rounds=chosen.rounds)
    rates = {
        name: {"unit": one.unit, **spread([one.amount / each for each in seconds[name]])} for name, one in timed.items()
    }
    document = write(
        chosen.out,
        {
            "claim": "How close each hot path comes to this machine's own limits, one thread, processor time.",
            "settings": {"threads": 1, "rounds": chosen.rounds, "rows": ROWS, "dim": DIM, "images": chosen.images},
            "rates": rates,
            "rows": [{"path": path, "bound": bound, **share(rates, path, bound)} for path, bound in paths],
            "profiles": {"float32": where_time_goes(chosen.fp32), "int8": where_time_goes(chosen.int8)},
            "tokenizer": tokenizer_shares(rates),
        },
    )
    bars = [
        Bar(f"{row['path']} / {row['measured_by']}", row["share"], "", row["share"] >= 0.5,
            (row["share_low"], row["share_high"]))
        for row in document["rows"][::-1]
    ]  # fmt: skip
    chart = Chart("one thread", "share of the bound (medians); the line is the spread of both", bars, (0.5, 1))
    draw([chart], document["machine"], chosen.out.with_suffix(".png"))
    for row in document["rows"]:
        print(f"{row['path']}: {100 * row['share']:.0f}% of {row['measured_by']}")


def gather(chosen: Namespace, folder: Path) -> tuple[dict[str, Timed], list[tuple[str, str]]]:
    """Bounds and paths, and which bound is whose."""
    timed = {**memory_and_search(), **products(), **images(chosen.photos, chosen.images, folder)}
    timed |= texts(chosen.captions)
    paths = [
        ("flat search, one query", "memory read"),
        ("decode and resize", "decode"),
        ("decode and resize", "decode, Pillow's resize"),
        ("tokenizer", "word splitting"),
        ("tokenizer, new words", "word splitting"),
    ]
    for precision, place in (("float32", chosen.fp32), ("int8", chosen.int8)):
        for name, one in towers(place, precision).items():
            timed[name] = one
            paths.append((name, f"{precision} products"))
    return timed, paths


def memory_and_search() -> dict[str, Timed]:
    """A query over vectors, and reading as many bytes."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    query = rng.standard_normal((1, DIM), dtype=np.float32)
    flat = matrix.reshape(-1)
    half = flat.size // 2
    return {
        "memory read": Timed(lambda: np.dot(flat[:half], flat[half:]), flat.nbytes / 1e9, "GB/s"),
        "flat search, one query": Timed(lambda: search_flat(matrix, query, 10), flat.nbytes / 1e9, "GB/s"),
    }


def products() -> dict[str, Timed]:
    """Peak rates of multiply-accumulates."""
    import onnx
    import torch

    from mobileclip_kit.runtime.onnx import open_session

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    weights = onnx.numpy_helper.from_array(rng.integers(-64, 64, (SIDE, SIDE)).astype(np.int8), "b")
    graph = onnx.helper.make_graph(
        [node],
        "product",
        [onnx.helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.INT32, [SIDE, SIDE])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    session = open_session(model.SerializeToString(), threads=1)
    pixels = rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
    amount = SIDE**3 / 1e9
    return {
        "numpy float32 products": Timed(lambda: np.matmul(a, b, out=out), amount, "GMAC/s"),
        "torch float32 products": Timed(lambda: torch.mm(x, y), amount, "GMAC/s"),
        "onnxruntime int8 products": Timed(lambda: session.run(None, {"a": pixels}), amount, "GMAC/s"),
    }


def images(photos: Path, count: int, folder: Path) -> dict[str, Timed]:
    """Camera-sized JPEGs made of the photos: decoding with resizing, and the decoder alone."""
    spec, made = ImageSpec(), []
    for number, path in enumerate(sorted(list_images(photos))[:count]):
        with Image.open(path) as image:
            big = image.convert("RGB").resize((2016, 1512), Image.Resampling.BICUBIC)
        big.save(folder / f"{number}.jpg", quality=90)
        made.append(folder / f"{number}.jpg")
    if not made:
        raise SystemExit(f"{photos} holds no image.")

    def decode(resized: bool = False) -> None:
        for path in made:
            with Image.open(path) as image:
                image.draft(None, (2 * spec.width, 2 * spec.height))
                image.load()
                if resized:
                    image.resize((spec.width * 4 // 3, spec.height), Image.Resampling.BICUBIC)

    def both() -> None:
        for path in made:
            load_pixels(path, spec, draft=True)

    return {
        "decode": Timed(decode, len(made), "images/s"),
        "decode, Pillow's resize": Timed(lambda: decode(resized=True), len(made), "images/s"),
        "decode and resize": Timed(both, len(made), "images/s"),
    }


def texts(captions: Path) -> dict[str, Timed]:
    """Captions into identifiers, with and without words that were met before, and split alone."""
    found = [text for pair in open_source(captions) for text in pair.captions][:1000]
    tokenizer = Tokenizer.for_spec(TextSpec())

    cleaned = [clean_text(text, tokenizer.cleaning) for text in found]
    words = list(dict.fromkeys(word for text in cleaned for word in _WORDS.findall(text)))

    def fresh() -> None:
        tokenizer._words.clear()
        tokenizer(found)

    return {
        "cleaning texts": Timed(
            lambda: [clean_text(text, tokenizer.cleaning) for text in found], len(found), "texts/s"
        ),
        "joining pieces of new words": Timed(
            lambda: [_merge_word(word, tokenizer._joined) for word in words], len(found), "texts/s"
        ),
        "word splitting": Timed(lambda: [_WORDS.findall(text.lower()) for text in found], len(found), "texts/s"),
        "tokenizer": Timed(lambda: tokenizer(found), len(found), "texts/s"),
        "tokenizer, new words": Timed(fresh, len(found), "texts/s"),
    }


def towers(place: Path, precision: str) -> dict[str, Timed]:
    """An export's image tower at each batch size."""
    (model,) = describe_models([str(place)])
    if model.row.failure or not model.row.multiply_accumulates:
        raise SystemExit(f"{place}: {model.row.failure or 'its multiply-accumulates are not known'}")
    encoder = open_encoder(place, threads=1)
    spec = encoder.spec.require_image()
    amount = model.row.multiply_accumulates["image"] / 1e9
    rng, found = np.random.default_rng(0), {}
    for batch in BATCHES:
        pixels = rng.integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
        name = f"image tower {precision}, batch {batch}"
        found[name] = Timed(lambda pixels=pixels: encoder.encode_images(pixels), batch * amount, "GMAC/s")  # type: ignore[misc]
    return found


def tokenizer_shares(rates: dict[str, Any]) -> dict[str, float]:
    """What a text of new words spends its time with, from the median rates of the parts."""
    whole = rates["tokenizer, new words"]["median"]
    parts = {"cleaning": "cleaning texts", "splitting": "word splitting", "joining": "joining pieces of new words"}
    found = {name: whole / rates[part]["median"] for name, part in parts.items()}
    return {**found, "rest": 1 - sum(found.values())}


def share(rates: dict[str, Any], path: str, bound: str) -> dict[str, Any]:
    """A path's rate as a share of its bound's: of medians, and between the unlucky ends of both."""
    candidates = {
        "float32 products": ("numpy float32 products", "torch float32 products"),
        "int8 products": ("onnxruntime int8 products", "numpy float32 products", "torch float32 products"),
    }.get(bound, (bound,))
    best = max(candidates, key=lambda name: rates[name]["median"])
    mine, limit = rates[path], rates[best]
    return {
        "measured_by": best,
        "rate": mine["median"],
        "limit": limit["median"],
        "unit": mine["unit"],
        "share": mine["median"] / limit["median"],
        "share_low": mine["low"] / limit["high"],
        "share_high": mine["high"] / limit["low"],
    }


def where_time_goes(export: Path) -> dict[str, Any]:
    """What ONNX Runtime spends one image's time with: ``kernels_ms`` in all, and ``shares`` of it by kind of work."""
    side = open_encoder(export).spec.require_image().height
    pixels = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    kinds: dict[str, float] = defaultdict(float)
    for (operator, _), spent in operator_times(export / "image.onnx", pixels, PROFILED_CALLS).items():
        kinds[next((kind for part, kind in KINDS.items() if part in operator), REST)] += spent
    total = sum(kinds.values())
    shares = {kind: value / total for kind, value in sorted(kinds.items(), key=lambda item: -item[1])}
    return {"kernels_ms": total, "shares": shares}


if __name__ == "__main__":
    main()
