"""Write the golden files that the Python and the Swift tests read.

``python -m tests.golden.make_golden`` writes all but the bundle; ``--bundle`` writes it as well, from a tiny model
with random weights (its packages carry identifiers of their own, so its bytes differ from run to run).

The truth about cropping is taken from the image path itself, by handing it an image that only records what is done to
it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import ftfy
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit import images
from mobileclip_kit.errors import UsageError
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import Numbers, PhoneHeader
from mobileclip_kit.search.queries import combine, parse_query
from mobileclip_kit.spec import ImageSpec
from mobileclip_kit.textness.vector import Textness, shift
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges
from tests.golden.confidences import make_confidences
from tests.golden.pixels import make_pixels, make_tagged
from tests.golden.texts import hard_texts
from tests.index.phone_writer import PhoneWriter, compact_phone_index, create_phone_index

GOLDEN = Path(__file__).parent
MODEL_HASH = hashlib.sha256(b"golden").hexdigest()
CROPS = [
    ("shortest", (224, 224)),
    ("shortest", (192, 256)),
    ("longest", (224, 224)),
    ("longest", (256, 160)),
    ("squash", (256, 256)),
]
QUERIES = (
    "a red bicycle|beach -people|beach -people +sunset:2|-a crowd of people|t-shirt|a - b|+dog:.5 cat|x:3|-x:1.|-x: 2|"
    "-a:b:2.25 |  dog  -  cat|+cat +cat:0|-x:2 y|a\t-b\n+c:10|--x|+-x|-x:1.5.2|Straße -Café:0.25|-:2|-x :2|a+b -c+d||-"
).split("|")


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", action="store_true")
    make_tokens()
    make_indexes()
    make_queries()
    make_crops()
    make_pixels(GOLDEN)
    make_phone_bench()
    with tempfile.TemporaryDirectory() as place:
        make_confidences(GOLDEN / "confidence", Path(place), MODEL_HASH)
    if parser.parse_args().bundle:
        make_bundle()
        make_parity()


def make_tokens() -> None:
    """``merges.txt`` and ``tokens.json``.

    Swift does not guess at wrongly decoded texts. The identifiers written here are those of the rule that it follows; a
    text for which Python's own result is another one is marked with it.
    """
    texts = list(hard_texts())
    merges, _ = trim_merges((text for _, text in texts), Tokenizer(standard_merges()))
    write_merges(GOLDEN / "merges.txt", merges)
    records: list[dict[str, Any]] = []
    for number, (name, text) in enumerate(texts):
        cleanings = ("lower", "canonicalize", "whitespace") if number % 4 == 0 or name == "hand-written" else ("lower",)
        for cleaning in cleanings:
            encoder = Tokenizer(merges, cleaning=cleaning)
            theirs = encoder.encode(text)
            ours = _encode_without_guessing(encoder, text)
            record = {"class": name, "cleaning": cleaning, "text": text, "ids": ours}
            records.append(record if ours == theirs else {**record, "repaired_ids": theirs})
    rows = [{"text": text, "context_length": length, "row": Tokenizer(merges, context_length=length)(text)[0].tolist()}
            for length in (8, 77) for _, text in texts[:20] + texts[-5:]]  # fmt: skip
    _write_lines(GOLDEN / "tokens.json", {"records": records, "rows": rows})


def _encode_without_guessing(encoder: Tokenizer, text: str) -> list[int]:
    whole = ftfy.fix_text
    with mock.patch.object(ftfy, "fix_text", lambda text: whole(text, fix_encoding=False)):
        return encoder.encode(text)


def make_indexes() -> None:
    """``index/``: the files, what was done to make them, and what searching them gives."""
    folder = GOLDEN / "index"
    folder.mkdir(exist_ok=True)
    document: dict[str, Any] = {"model_hash": MODEL_HASH, "cases": []}
    kinds: list[tuple[Numbers, int]] = [("int8", 24), ("float16", 24), ("int8", 40), ("float16", 40)]
    for numbers, dim in kinds:
        operations = _operations(random.Random(dim), dim)
        name = f"{numbers}-{dim}"
        replay(folder / f"{name}.mckitidx", dim, numbers, operations)
        shutil.copyfile(folder / f"{name}.mckitidx", folder / f"{name}-compacted.mckitidx")
        searches = _searches(folder / f"{name}.mckitidx", dim)
        compact_phone_index(folder / f"{name}-compacted.mckitidx")
        # The same operations make both kinds of files.
        entry = {
            "name": name,
            "dim": dim,
            "numbers": numbers,
            "operations": f"operations-{dim}.json",
            "searches": searches,
        }
        document["cases"].append(entry)
        _write_lines(folder / f"operations-{dim}.json", {"operations": operations})
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "one-hot.mckitidx"
        replay(path, 4, "int8", [{"one_hot": 2500}])
        document["one_hot"] = {"count": 2500, "dim": 4, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    _write_lines(folder / "cases.json", document)


def replay(path: Path, dim: int, numbers: Numbers, operations: list[dict[str, Any]]) -> None:
    """Make an index file by a list of operations, as the Swift tests do too."""
    create_phone_index(path, PhoneHeader(dim, numbers, MODEL_HASH), force=True)
    with PhoneWriter(path, model_hash=MODEL_HASH) as writer:
        for operation in operations:
            if "remove" in operation:
                writer.remove(operation["remove"])
            elif "one_hot" in operation:
                count = operation["one_hot"]
                vectors = np.eye(dim, dtype=np.float32)[np.arange(count) % dim]
                writer.append([f"item {number}" for number in range(count)], vectors, list(range(count)))
            else:
                items = operation["append"]
                vectors = np.array([item["vector"] for item in items], np.float32).reshape(-1, dim)
                writer.append([item["key"] for item in items], vectors, [item["stamp"] for item in items])


def _operations(generator: random.Random, dim: int) -> list[dict[str, Any]]:
    def items(names: list[str]) -> list[dict[str, Any]]:
        return [
            {"key": name, "stamp": generator.randrange(-(2**62), 2**62), "vector": _unit(generator, dim)}
            for name in names
        ]

    first = ["a.jpg", "日本/写真.heic", "e\u0301.png", "\u00e9.png", "9F983DBA-EC35-42B8-8773-B597CF782EDD/L0/001"]
    bulk = [f"holiday/IMG_{number:04d}.jpg" for number in range(260)]
    twins = items(["twin 1", "twin 2", "twin 3"])
    for twin in twins:
        twin["vector"] = twins[0]["vector"]
    return [
        {"append": items(first)},
        {"remove": ["not there"]},
        {"append": items(bulk)},
        {"append": items(["a.jpg", "new.jpg", bulk[7]])},
        {"remove": ["\u00e9.png", bulk[3], bulk[250], bulk[3]]},
        {"append": twins},
        {"append": items([bulk[3]])},
    ]


def _searches(path: Path, dim: int) -> list[dict[str, Any]]:
    index, generator = PhoneIndex(path), random.Random(5)
    names = {row: key for key, row in index.keys().items()}
    stored = index.vectors()
    queries = [_unit(generator, dim) for _ in range(8)] + [stored[row].tolist() for row in (0, 6, index.rows - 2)]
    searches = []
    for number, query in enumerate(queries):
        k = (1, 10, 40, 1000)[number % 4]
        hits = index.search(np.array(query, np.float32), k)
        searches.append({"query": query, "k": k, "hits": [[row, names[row], score] for row, score in hits]})
    return searches


def make_queries() -> None:
    """``queries.json``: weights, textness and the language of queries."""
    generator = random.Random(9)
    direction = _unit(generator, 32)
    combined, shifted = [], []
    for number in range(30):
        parts = [_unit(generator, 32) for _ in range(1 + number % 4)]
        weights = [float(np.float32(generator.choice([1, -1, 0.5, generator.uniform(-3, 3)]))) for _ in parts]
        result = combine(weights, np.array(parts, np.float32))
        combined.append({"parts": parts, "weights": weights, "result": result.tolist()})
        scale = float(np.float32(generator.choice([0, -1, 1, -0.4, generator.uniform(-5, 5)])))
        moved = shift(result[None], np.array(direction, np.float32), scale)[0]
        shifted.append({"query": result.tolist(), "scale": scale, "result": moved.tolist()})
    parsed = [{"query": query, "terms": _terms(query)} for query in QUERIES]
    document = {"direction": direction, "combined": combined, "shifted": shifted, "parsed": parsed}
    _write_lines(GOLDEN / "queries.json", document)


def _terms(query: str) -> list[dict[str, Any]]:
    try:
        return [{"weight": term.weight, "text": term.text} for term in parse_query(query)]
    except UsageError:
        return []


def make_crops() -> None:
    """``crops.json``: where 200 sizes of images go, for each way of resizing."""
    generator = random.Random(4)
    sizes = [
        (1, 1),
        (1, 4000),
        (4000, 1),
        (224, 224),
        (224, 225),
        (223, 224),
        (3024, 4032),
        (4032, 3024),
        (447, 449),
        (2, 3),
    ]
    sizes += [(640, 427), (333, 500), (1170, 2532), (12000, 2500), (225, 337), (449, 447), (300, 301), (301, 300)]
    while len(sizes) < 200:
        sizes.append((generator.randrange(1, 6000), generator.randrange(1, 6000)))
    crops = []
    for width, height in sizes:
        for mode, target in CROPS:
            spec = ImageSpec(height=target[0], width=target[1], resize_mode=mode)  # type: ignore[arg-type]
            crops.append(
                {"size": [width, height], "mode": mode, "target": list(target), **_record_crop(width, height, spec)}
            )
    _write_lines(GOLDEN / "crops.json", {"crops": crops})


class _Recorder:
    """Looks like an image to the image path, and remembers what is asked of it."""

    mode, info = "RGB", {}  # type: ignore[var-annotated]

    def __init__(self, width: int, height: int, log: dict[str, Any]) -> None:
        self.width, self.height, self.size, self.log = width, height, (width, height), log

    def resize(self, size: tuple[int, int], resample: object) -> _Recorder:
        self.log["resized"] = list(size)
        return _Recorder(*size, self.log)

    def crop(self, box: tuple[int, int, int, int]) -> _Recorder:
        left, top, right, bottom = box
        self.log["crop"] = [left, top, right - left, bottom - top]
        return _Recorder(right - left, bottom - top, self.log)

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.uint8]:
        return np.full((self.height, self.width, 3), 255, np.uint8)


def _record_crop(width: int, height: int, spec: ImageSpec) -> dict[str, Any]:
    log: dict[str, Any] = {}
    # Enlarging little more than a line is done in parts, to the same rectangles.
    with mock.patch.object(images, "_FULL_RESIZE_AREAS", 1 << 40):
        pixels = images.resize_and_crop(_Recorder(width, height, log), spec)  # type: ignore[arg-type]
    rows, columns = np.flatnonzero(pixels[:, :, 0].any(1)), np.flatnonzero(pixels[:, :, 0].any(0))
    return {**log, "pad": [int(columns[0]), int(rows[0])]}


def make_phone_bench() -> None:
    """``phone-bench.json``: what the app's bench screen shares, in the form of docs/phone-bench.md; figures made up."""

    def row(units: str, image_ms: float, text_ms: float) -> dict[str, Any]:
        image = {"load_ms": 120.5, "latency_ms": {"p50": image_ms, "p95": 1.5 * image_ms, "runs": 20}}
        text = {"load_ms": 80.25, "latency_ms": {"p50": text_ms, "p95": 1.25 * text_ms, "runs": 20}}
        return {"compute_units": units, "image": image, "text": text, "images_per_s": 1000 / image_ms, "batch": 64,
                "memory_bytes": 157286400}  # fmt: skip

    document = {
        "kind": "phone-bench",
        "format_version": 1,
        "machine": {
            "device": "iPhone15,2",
            "system": "Version 17.5 (Build 21F79)",
            "thermal_state_before": "nominal",
            "thermal_state_after": "fair",
            "low_power_mode": False,
        },
        "model": {
            "name": "tiny",
            "model_hash": MODEL_HASH,
            "precision": "fp16",
            "size_bytes": {"image": 1000, "text": 2000},
        },
        "rows": [row("all", 2.5, 1.25), row("neural_engine", 2.0, 1.0), row("cpu", 12.5, 5.0)],
        "failed": [{"compute_units": "gpu", "reason": "The part “image” cannot be loaded: no such device"}],
        "parity": [
            {
                "tower": "image",
                "place": {"runtime": "core_ml", "compute_units": "neural_engine"},
                "cosine_min": 0.5,
                "threshold": 0.25,
            }
        ],
    }
    path = GOLDEN / "phone-bench.json"
    path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def make_bundle() -> None:
    """``bundle/``: what ``mckit bundle`` makes of a tiny model, with every part."""
    from mobileclip_kit import bundle
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.request import ExportOptions
    from mobileclip_kit.index.folder import IndexHeader, create_index, open_writer
    from mobileclip_kit.index.store import Item
    from mobileclip_kit.networks.model import load_model

    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        model = load_model(_write_tiny_model(work / "tiny"))
        export_model(model, work / "export", ExportOptions(format="coreml", precision="fp16"))
        generator = random.Random(6)
        direction = np.array(_unit(generator, 16), np.float32)
        textness = Textness(model="tiny", model_hash=model.spec.model_hash, directions={"probe": direction})
        textness.save(work / "textness.json")
        create_index(work / "index", IndexHeader(spec=model.spec))
        with open_writer(work / "index") as writer:
            for number in range(5):
                row = writer.matrix.append(np.array([_unit(generator, 16)], np.float32))
                writer.store.put(Item(name=f"photo {number}.jpg", mtime_ns=number * 10**9, row=row))
            writer.commit()
        target = GOLDEN / "bundle"
        shutil.rmtree(target, ignore_errors=True)
        bundle.make_bundle(target, work / "export", textness=work / "textness.json", index=work / "index")


def make_parity() -> None:
    """``parity/``: image_rows and texts with the vectors that the bundle's model gives them in PyTorch."""
    from mobileclip_kit.bundle import open_bundle
    from mobileclip_kit.runtime.open import open_encoder

    folder = GOLDEN / "parity"
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(8)
    sizes = {"exact-1.png": (32, 32), "exact-2.png": (32, 32), "wide.png": (96, 48), "tall.png": (50, 120)}
    for name, size in sizes.items():
        # Coarse noise, made smooth: image_rows have no detail finer than what a resize keeps.
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    make_tagged(folder)
    texts = ["a photo of a dog", "Two cats on a TABLE", "a red house, by the lake &amp; a tree", ""]
    with tempfile.TemporaryDirectory() as place:
        encoder = open_encoder(str(_write_tiny_model(Path(place) / "tiny")))
        assert encoder.spec.model_hash == open_bundle(GOLDEN / "bundle").spec.model_hash
        spec = encoder.spec.require_image()
        pixels = np.stack([images.load_pixels(folder / name, spec) for name in sizes])
        image_rows = [
            {"file": name, "vector": vector.tolist()}
            for name, vector in zip(sizes, encoder.encode_images(pixels), strict=True)
        ]
        words = [
            {"text": text, "vector": vector.tolist()}
            for text, vector in zip(texts, encoder.encode_texts(texts), strict=True)
        ]
    _write_lines(folder / "parity.json", {"images": image_rows, "texts": words})


def _write_tiny_model(folder: Path) -> Path:
    """A model folder with random weights, the same ones each time."""
    import torch

    from mobileclip_kit.networks.model import build_network, describe, save_model

    words = ("a photo of a dog", "two cats on a table", "a red house by the lake")
    merges, rows = trim_merges(words, Tokenizer(standard_merges()))
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": len(rows), "width": 32, "heads": 2, "layers": 1}
    image = ImageSpec(height=32, width=32, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3))
    towers = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    config = {"model_cfg": towers, "preprocess_cfg": image.to_open_clip()}
    torch.manual_seed(3)
    network = build_network(config["model_cfg"])
    folder.mkdir()
    write_merges(folder / "merges.txt", merges)
    save_model(folder, network, config, describe("tiny", network, config, licence="MIT"), None)
    return folder


def _unit(generator: random.Random, dim: int) -> list[float]:
    values = np.array([generator.gauss(0, 1) for _ in range(dim)])
    rounded: list[float] = (values / np.linalg.norm(values)).astype(np.float32).tolist()
    return rounded


def _write_lines(path: Path, document: dict[str, Any]) -> None:
    """JSON with a line for each element of a list, so that a change shows as the lines that changed."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value and not isinstance(value[0], int | float):
            lines = ",\n".join(json.dumps(element, ensure_ascii=True, separators=(",", ":")) for element in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=True, separators=(',', ':'))}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="ascii")


if __name__ == "__main__":
    main()
