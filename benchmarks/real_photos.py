"""The whole pipeline on real photos and a real teacher's vectors, through the command line as a user would.

    python benchmarks/real_photos.py DATA [--keep DIR] [--minutes 6]

DATA holds ``photos541/`` (photos, ``filenames.txt`` and the image vectors of OpenAI's CLIP ViT-B/32 for them) and
``clip_vitb32_text/`` (the same model's text vectors of the LVIS and COCO names). Nothing of DATA is in this repository;
any photos with vectors of one CLIP model in the same layout do.

Of the photos 100 are never trained on. The figures on them say what a student learns from 441 photos in minutes: little
(PicCollage used 200,000 and more). What the run shows is that every step works on real images, and what each step
keeps of the one before: cache → distil → export → verify → index → search → textness → bench.

Writes ``benchmarks/results/real_photos.json`` with a plot beside it and, in DIR only, ``sheets``: the photos found for
ten words, the teacher's above the student's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, Mckit, parse, write

from mobileclip_kit.bench.report import plot_report
from mobileclip_kit.bench.results import report_from
from mobileclip_kit.textness.grid import GridRow, draw_grid

PHOTOS, UNSEEN, SEED = "photos541", 100, 0
VECTORS = "clip_vitb32_openai_image.npy"
STUDENT, BATCH_SIZE, PROBE_STEPS = "vit-s6-h12", 32, 6
# Found in DATA's photos, and in the lists of names that DATA has vectors of.
WORDS = (
    "camera",
    "laptop",
    "teacup",
    "dog",
    "bird",
    "bench",
    "car_(automobile)",
    "person",
    "cappuccino",
    "flower_arrangement",
)
EXPORTS = {
    "student-onnx-fp32": ("--format", "onnx", "--fp32"),
    "student-onnx-int8": ("--format", "onnx", "--int8", "--calibration", "photos/train"),
    "student-coreml-fp16": ("--format", "coreml", "--fp16"),
}
HITS, SHOWN = 10, 5


def main() -> None:
    """Run every step, write, print."""
    chosen = parse("data", keep=None, minutes=6.0, out=RESULTS / "real_photos.json")
    with tempfile.TemporaryDirectory(prefix="mckit-real-photos-") as temporary:
        folder = chosen.keep or Path(temporary)
        if folder.exists() and any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty; choose another --keep.")
        document = write(chosen.out, walk(chosen.data, folder, chosen.minutes))
    drawn = {"machine": document["machine"], "rows": document["bench"], **document["bench_with"]}
    plot_report(report_from(drawn, str(chosen.out)), chosen.out.with_suffix(".png"))
    print_summary(document)


def walk(data: Path, folder: Path, minutes: float) -> dict[str, Any]:
    """Every step; what the results file says."""
    prepare(data, folder)
    mckit = Mckit(folder)
    cache = mckit("cache", "import", "--images", "photos", "--vectors", "teacher.npy", "--names", "names.txt",
                  "--teacher-name", "ViT-B-32:openai", "-o", "teacher.cache")  # fmt: skip
    distilled = distil(mckit, minutes)
    exported, verified = [], []
    for name, flags in EXPORTS.items():
        exported += mckit("export", "student", *flags, "--images", "photos/train", "-o", name)["exports"]
        verified += mckit("verify", name, "--against", "student", "--images", "photos/unseen")["exports"]
    indexes = build_indexes(mckit)
    searches = search_all(mckit, indexes)
    textness = mckit("textness", "fit", "photos/train", "--model", "student-onnx-fp32", "-o", "textness.json")
    bench = mckit("bench", "--device", "cpu", "student", *EXPORTS, "--images", "photos/unseen", "--cache",
                  "teacher.cache", "--queries", "lvis.npy", "-o", "bench")  # fmt: skip
    draw_words(folder, searches)
    return {
        "claim": "The whole pipeline on real photos: from a real teacher's vectors to search with the phone's formats.",
        "machine": bench["machine"],
        "data": {"photos": cache["items"], "trained_on": distilled["images"], "unseen": UNSEEN, "split_seed": SEED,
                 "teacher": "OpenAI CLIP ViT-B/32, stored unit vectors", "queries": "LVIS names, 1,203 text vectors"},
        "note": "A student of 441 photos generalises poorly; the figures on unseen photos say how poorly.",
        "commands": mckit.commands,
        "cache": cache,
        "distill": distilled,
        "export": exported,
        "verify": verified,
        "index": indexes,
        "search": {"hits": HITS, "chance_unseen": HITS / UNSEEN, "chance_all": HITS / cache["items"],
                   "overlap_with_teacher": overlaps(searches),
                   "latency_ms": {name: found["latency_ms"] for name, found in searches.items()}},
        "textness": {key: value for key, value in textness.items() if not isinstance(value, list)},
        "bench": bench["rows"],
        "bench_with": {key: bench[key] for key in ("settings", "inputs")},
        "words": list(WORDS),
    }  # fmt: skip


def prepare(data: Path, folder: Path, seed: int = SEED) -> None:
    """Copy the photos into ``photos/train`` and ``photos/unseen``, and the vectors beside them."""
    source = data / PHOTOS
    names = (source / "filenames.txt").read_text(encoding="utf-8").split()
    vectors = np.load(source / VECTORS)
    unseen = set(np.random.default_rng(seed).permutation(len(names))[:UNSEEN].tolist())
    parts = ["unseen" if row in unseen else "train" for row in range(len(names))]
    for part in ("train", "unseen"):
        (folder / "photos" / part).mkdir(parents=True)
    for name, part in zip(names, parts, strict=True):
        shutil.copyfile(source / "images" / name, folder / "photos" / part / name)
    np.save(folder / "teacher.npy", vectors)
    (folder / "names.txt").write_text("".join(f"{part}/{name}\n" for name, part in zip(names, parts, strict=True)))
    rows = sorted(unseen)
    np.save(folder / "teacher-unseen.npy", vectors[rows])
    (folder / "names-unseen.txt").write_text("".join(f"{names[row]}\n" for row in rows))
    for ours, theirs in (("lvis", "lvis1203"), ("coco", "coco80")):
        for suffix in (".npy", ".txt"):
            shutil.copyfile(data / "clip_vitb32_text" / f"{theirs}{suffix}", folder / f"{ours}{suffix}")


def distil(mckit: Mckit, minutes: float) -> dict[str, Any]:
    """Train for about so many minutes: a few steps tell this machine's speed."""
    flags = ["distill", "--cache", "teacher.cache", "--data", "photos/train", "--student", STUDENT, "--recipe",
             "piccollage", "--batch-size", BATCH_SIZE]  # fmt: skip
    probe = mckit(*flags, "--steps", PROBE_STEPS, "-o", "probe")
    assert mckit.folder is not None
    shutil.rmtree(mckit.folder / "probe")
    epochs = max(1, round(60 * minutes * probe["images_per_s"] / probe["images"]))
    return mckit(*flags, "--epochs", epochs, "-o", "student")


def build_indexes(mckit: Mckit) -> dict[str, dict[str, Any]]:
    """The teacher's vectors and every export's, of all photos and of the unseen ones; Core ML's unseen only."""
    made = {
        "teacher-all": mckit("index", "--from-vectors", "teacher.npy", "--names", "names.txt", "--images", "photos",
                             "-o", "teacher-all.index"),
        "teacher-unseen": mckit("index", "--from-vectors", "teacher-unseen.npy", "--names", "names-unseen.txt",
                                "--images", "photos/unseen", "-o", "teacher-unseen.index"),
    }  # fmt: skip
    for name in EXPORTS:
        for part, images in (("unseen", "photos/unseen"), ("all", "photos")):
            # The interpreter that stands in for Core ML is exact, not fast: the unseen photos are enough.
            if part == "unseen" or "coreml" not in name:
                index = f"{name}-{part}"
                made[index] = mckit("index", images, "--model", name, "-o", f"{index}.index")
    return made


def search_all(mckit: Mckit, indexes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Ask every index for every LVIS name, and for the COCO names with the teacher's and the student's float export."""
    found = {}
    for index in indexes:
        for queries in ("lvis", "coco"):
            if queries == "lvis" or index.startswith(("teacher", "student-onnx-fp32")):
                found[f"{index} {queries}"] = mckit("search", f"{index}.index", "--query-vectors", f"{queries}.npy",
                                                    "--query-names", f"{queries}.txt", "-k", HITS)  # fmt: skip
    return found


def overlaps(searches: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Mean share of the first hits that the student's index and the teacher's both name, over the queries."""
    shares = {}
    for name, found in searches.items():
        index, queries = name.split(" ")
        if not index.startswith("teacher"):
            truth = searches[f"teacher-{index.rsplit('-', 1)[1]} {queries}"]
            pairs = zip(found["results"], truth["results"], strict=True)
            shares[name] = float(np.mean([len(items(ours) & items(theirs)) / HITS for ours, theirs in pairs]))
    return shares


def items(result: dict[str, Any]) -> set[str]:
    """The images that a query found."""
    return {hit["item"] for hit in result["hits"]}


def draw_words(folder: Path, searches: Mapping[str, Any], student: str = "student-onnx-fp32-all") -> None:
    """A sheet for each word: the photos that the teacher finds first above those that the student finds."""
    (folder / "sheets").mkdir()
    for word in WORDS:
        rows = [
            GridRow(who, [folder / "photos" / name for name in first_hits(searches, index, word)])
            for who, index in (("teacher", "teacher-all"), ("student", student))
        ]
        draw_grid(word.split("_(")[0].replace("_", " "), rows).save(folder / "sheets" / f"{word}.png")


def first_hits(searches: dict[str, dict[str, Any]], index: str, word: str) -> list[str]:
    """The photos that an index names first for a word, from whichever list has the word."""
    for queries in ("coco", "lvis"):
        for result in searches[f"{index} {queries}"]["results"]:
            if result["query"] == word:
                return [hit["item"] for hit in result["hits"][:SHOWN]]
    raise SystemExit(f"No query is called {word!r}.")


def print_summary(document: dict[str, Any]) -> None:
    """What a reader wants to know first."""
    print(f"distilled {document['distill']['steps']} steps, {document['distill']['seconds']:.0f} s")
    for row in document["verify"]:
        print(f"{row['path']} {row['tower']}: cosine min {row['cosine_min']:.5f}, top-10 {row['overlap_at_10']:.3f}, "
              f"{row['size_bytes'] / 1e6:.1f} MB")  # fmt: skip
    for name, share in document["search"]["overlap_with_teacher"].items():
        print(f"{name}: first {HITS} shared with the teacher {share:.3f}")
    for row in document["bench"]:
        latency = row["latency_ms"]["p50"] if row["latency_ms"] else float("nan")
        print(
            f"{row['name']}: p50 {latency:.1f} ms, MAP@10…20 {row['metrics'].get('map_at_10_to_20', float('nan')):.3f}"
        )


if __name__ == "__main__":
    main()
