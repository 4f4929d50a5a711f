"""How close the hot paths come to what this machine can do at all.

    python benchmarks/limits.py PHOTOS CAPTIONS --fp32 EXPORT --int8 EXPORT [--rounds 15] [--results FILE] [--docs FILE]

PHOTOS is a folder of JPEGs, CAPTIONS a captions file, the exports are one model's (`mckit export`, ONNX float32 and
int8). Everything runs on one thread. Bounds are measured by micro-benchmarks in the same run, in turns with the paths:

- memory: a dot product of vectors far bigger than the caches;
- multiply-accumulates of float32: a product of matrices that fit the cache, the better of numpy and torch;
- of int8: ONNX Runtime's product of integers, or float32's rate where that is higher;
- decoding: Pillow alone, at the reduced size that mckit decodes at; and the same with Pillow's own resize behind it;
- text: the regular expression that splits it into words, the least that a tokenizer in Python does.

A path's share is its rate divided by its bound's, from medians of processor time (timing.py). Writes
``results/limits.json`` and the table in ``docs/performance.md``.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before the libraries are loaded

import argparse  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from profiling import where_time_goes  # noqa: E402
from timing import Call, in_turns, spread  # noqa: E402

from mobileclip_kit.bench.candidate import describe_candidates  # noqa: E402
from mobileclip_kit.bench.machine import describe_machine  # noqa: E402
from mobileclip_kit.data.sources import open_source  # noqa: E402
from mobileclip_kit.files import write_json  # noqa: E402
from mobileclip_kit.images import list_pictures, load_pixels  # noqa: E402
from mobileclip_kit.index.flat import search_flat  # noqa: E402
from mobileclip_kit.runtime.open import open_encoder  # noqa: E402
from mobileclip_kit.spec import ImageSpec, TextSpec  # noqa: E402
from mobileclip_kit.tokenizer import _WORDS, Tokenizer  # noqa: E402

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results" / "limits.json", HERE.parent / "docs" / "performance.md"
START, END = "<!-- limits -->", "<!-- end -->"
ROWS, DIM = 200_000, 512  # 410 MB, far more than a cache
SIDE = 768  # three matrices of 2.4 MB
BATCHES = (1, 8)


@dataclass(frozen=True)
class Timed:
    """Something that is timed: what it does in one call, in how many units."""

    call: Call
    amount: float
    unit: str


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--fp32", type=Path, required=True, help="ONNX float32 export")
    parser.add_argument("--int8", type=Path, required=True, help="ONNX int8 export of the same model")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mckit-limits-") as folder:
        timed, paths = gather(chosen, Path(folder))
        seconds = in_turns({name: one.call for name, one in timed.items()}, rounds=chosen.rounds)
    rates = {
        name: {"unit": one.unit, **spread([one.amount / each for each in seconds[name]])} for name, one in timed.items()
    }
    rows = [{"path": path, "bound": bound, **share(rates, path, bound)} for path, bound in paths]
    document = {
        "claim": "How close each hot path comes to this machine's own limits, one thread, processor time.",
        "machine": describe_machine(),
        "settings": {"threads": 1, "rounds": chosen.rounds, "rows": ROWS, "dim": DIM, "pictures": chosen.pictures},
        "rates": rates,
        "rows": rows,
        "profiles": profiles(chosen),
    }
    write_json(chosen.results, document)
    table = "\n".join(markdown(document))
    print(table)
    if chosen.docs.is_file():
        text = chosen.docs.read_text(encoding="utf-8")
        before, after = text.split(START)[0], text.split(END, 1)[1]
        chosen.docs.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


def gather(chosen: argparse.Namespace, folder: Path) -> tuple[dict[str, Timed], list[tuple[str, str]]]:
    """Bounds and paths, and which bound is whose."""
    timed = {**memory_and_search(), **products(), **pictures(chosen.photos, chosen.pictures, folder)}
    timed.update(texts(chosen.captions))
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


def pictures(photos: Path, count: int, folder: Path) -> dict[str, Timed]:
    """Camera-sized JPEGs made of the photos: the whole way to pixels, and the decoder alone."""
    spec, made = ImageSpec(), []
    for number, path in enumerate(sorted(list_pictures(photos))[:count]):
        with Image.open(path) as picture:
            big = picture.convert("RGB").resize((2016, 1512), Image.Resampling.BICUBIC)
        big.save(folder / f"{number}.jpg", quality=90)
        made.append(folder / f"{number}.jpg")
    if not made:
        raise SystemExit(f"{photos} holds no picture.")

    def decode(resized: bool = False) -> None:
        for path in made:
            with Image.open(path) as picture:
                picture.draft(None, (2 * spec.width, 2 * spec.height))
                picture.load()
                if resized:
                    picture.resize((spec.width * 4 // 3, spec.height), Image.Resampling.BICUBIC)

    def both() -> None:
        for path in made:
            load_pixels(path, spec, draft=True)

    return {
        "decode": Timed(decode, len(made), "pictures/s"),
        "decode, Pillow's resize": Timed(lambda: decode(resized=True), len(made), "pictures/s"),
        "decode and resize": Timed(both, len(made), "pictures/s"),
    }


def texts(captions: Path) -> dict[str, Timed]:
    """Captions into identifiers, with and without words that were met before, and split alone."""
    found = [text for pair in open_source(captions) for text in pair.captions][:1000]
    tokenizer = Tokenizer.for_spec(TextSpec())

    def fresh() -> None:
        tokenizer._words.clear()
        tokenizer(found)

    return {
        "word splitting": Timed(lambda: [_WORDS.findall(text.lower()) for text in found], len(found), "texts/s"),
        "tokenizer": Timed(lambda: tokenizer(found), len(found), "texts/s"),
        "tokenizer, new words": Timed(fresh, len(found), "texts/s"),
    }


def towers(place: Path, precision: str) -> dict[str, Timed]:
    """An export's image tower at each batch size."""
    (candidate,) = describe_candidates([str(place)])
    if candidate.failure or not candidate.multiply_accumulates:
        raise SystemExit(f"{place}: {candidate.failure or 'its multiply-accumulates are not known'}")
    encoder = open_encoder(place, threads=1)
    spec = encoder.spec.require_image()
    amount = candidate.multiply_accumulates["image"] / 1e9
    rng, found = np.random.default_rng(0), {}
    for batch in BATCHES:
        pixels = rng.integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
        name = f"image tower {precision}, batch {batch}"
        found[name] = Timed(lambda pixels=pixels: encoder.encode_images(pixels), batch * amount, "GMAC/s")  # type: ignore[misc]
    return found


def profiles(chosen: argparse.Namespace) -> dict[str, Any]:
    """Where both exports' time goes at batch 1."""
    side = open_encoder(chosen.fp32).spec.require_image().height
    return {name: where_time_goes(place, side) for name, place in (("float32", chosen.fp32), ("int8", chosen.int8))}


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


def markdown(document: dict[str, Any]) -> list[str]:
    """The table of docs/performance.md."""
    machine, settings = document["machine"], document["settings"]
    lines = [
        f"{machine['cpu']}, one thread, {settings['rounds']} rounds in turns, processor time; load of the machine "
        f"{machine['load']}.",
        "",
        "| path | reached | bound | measured by | share | between |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for row in document["rows"]:
        lines.append(
            f"| {row['path']} | {row['rate']:,.4g} {row['unit']} | {row['limit']:,.4g} {row['unit']} | "
            f"{row['measured_by']} | {100 * row['share']:.0f} % | "
            f"{100 * row['share_low']:.0f} … {100 * row['share_high']:.0f} % |"
        )
    kinds = list(dict.fromkeys(kind for found in document["profiles"].values() for kind in found["shares"]))
    lines += ["", f"| image tower, batch 1 | kernels | {' | '.join(kinds)} |", "|---|---:|" + "---:|" * len(kinds)]
    for name, found in document["profiles"].items():
        cells = [f"{100 * found['shares'].get(kind, 0):.0f} %" for kind in kinds]
        lines.append(f"| {name} | {found['kernels_ms']:.1f} ms | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
