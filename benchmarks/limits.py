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
``results/limits.json``, ``results/limits.png`` and the tables in ``docs/performance.md``.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before the libraries are loaded

import argparse  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from hot_paths import DIM, ROWS, Timed, images, memory_and_search, products, texts, towers  # noqa: E402
from profiling import where_time_goes  # noqa: E402
from timing import in_turns, spread  # noqa: E402

from mobileclip_kit.bench.machine import describe_machine  # noqa: E402
from mobileclip_kit.files import write_json  # noqa: E402
from mobileclip_kit.runtime.open import open_encoder  # noqa: E402

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results" / "limits.json", HERE.parent / "docs" / "performance.md"
START, END = "<!-- limits -->", "<!-- end -->"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--fp32", type=Path, required=True, help="ONNX float32 export")
    parser.add_argument("--int8", type=Path, required=True, help="ONNX int8 export of the same model")
    parser.add_argument("--images", type=int, default=12)
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
        "settings": {"threads": 1, "rounds": chosen.rounds, "rows": ROWS, "dim": DIM, "images": chosen.images},
        "rates": rates,
        "rows": rows,
        "profiles": profiles(chosen),
        "tokenizer": tokenizer_shares(rates),
    }
    write_json(chosen.results, document)
    plot(document, chosen.results.with_suffix(".png"))
    table = "\n".join(markdown(document))
    print(table)
    if chosen.docs.is_file():
        text = chosen.docs.read_text(encoding="utf-8")
        before, after = text.split(START)[0], text.split(END, 1)[1]
        chosen.docs.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


def gather(chosen: argparse.Namespace, folder: Path) -> tuple[dict[str, Timed], list[tuple[str, str]]]:
    """Bounds and paths, and which bound is whose."""
    timed = {**memory_and_search(), **products(), **images(chosen.photos, chosen.images, folder)}
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


def profiles(chosen: argparse.Namespace) -> dict[str, Any]:
    """Where both exports' time goes at batch 1."""
    side = open_encoder(chosen.fp32).spec.require_image().height
    return {name: where_time_goes(place, side) for name, place in (("float32", chosen.fp32), ("int8", chosen.int8))}


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


def plot(document: dict[str, Any], path: Path) -> None:
    """Each path as a share of its bound, with its spread; half of the bound is marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = document["rows"][::-1]
    figure = Figure(figsize=(8, 0.4 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        axes.barh(place, row["share"], color="tab:blue" if row["share"] >= 0.5 else "tab:orange")
        axes.plot([row["share_low"], row["share_high"]], [place, place], color="black")
    axes.axvline(0.5, color="0.5", linestyle=":")
    axes.axvline(1, color="0.5")
    axes.set_yticks(range(len(rows)), [f"{row['path']} / {row['measured_by']}" for row in rows], fontsize=8)
    axes.set_xlabel("share of the bound (medians); the line is the spread of both")
    axes.set_title(f"{document['machine']['cpu']}, one thread, load {document['machine']['load']}", fontsize=9)
    figure.savefig(path, dpi=110)


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
    parts = document["tokenizer"]
    lines += [
        "",
        "| tokenizer, new words | cleaning | splitting into words | joining pieces | rows of numbers, the rest |",
        "|---|---:|---:|---:|---:|",
        "| share of the time | " + " | ".join(f"{100 * value:.0f} %" for value in parts.values()) + " |",
    ]
    return lines


if __name__ == "__main__":
    main()
