"""How fast a folder of JPEG files becomes an index: mckit beside open_clip's own loop and clip-retrieval's inference.

    python benchmarks/index_speed.py JPEGS --work DIR [--clip-retrieval PYTHON] [-o results/index_speed.json]

JPEGS is a folder of photos; where they are too few, they come again with a row and a column less, so that no file is a
copy of another one, which an indexing run would not decode. Two sets are made of them: "small" (the longer side 500 px)
and "camera" (4000×3000 px, 12 megapixels, with the noise of a sensor, since an enlarged photo alone would be cheaper to
decode than a real one). The model is ViT-B/32 with random weights of a fixed seed: every contender computes with the
same ones, and cosines against open_clip's vectors say whether it is the same computation. Rounds are interleaved: in
each round every contender goes once, in a process of its own, in an order drawn anew; loading the model is not counted,
nor are the background texts, which a model's first index encodes for all of its later ones.

Contenders: ``open_clip`` (its own transform and a torch loop, batches of 32), ``open_clip workers`` (the same behind a
torch DataLoader with a process a core), ``clip_retrieval`` (its ``clip_inference``, in an environment of its own that
PYTHON belongs to), ``mckit fp32`` and ``mckit int8`` (what ``mckit index`` does with ONNX exports). Bounds: ``decode
only``, ``fp32 only`` and ``int8 only``. ``of_slower`` compares with the slower one of the two halves; since both share
the same cores, ``bound`` is what is left when both are paid for, 1 / (1/decode + 1/model). Each turn is noted in
``DIR/turns.jsonl``: an interrupted run goes on where it was, and a new one wants another DIR or that file removed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, Clock, last_line, parse, write
from PIL import Image

from mobileclip_kit.bench.machine import usable_cores
from mobileclip_kit.files import atomic_folder
from mobileclip_kit.metrics import row_cosines

MODEL = "ViT-B-32"
BATCH = 32
SETS = {"small": 240, "camera": 64}
CAMERA_SIZE = (4000, 3000)
CONTENDERS = ("open_clip", "open_clip workers", "mckit fp32", "mckit int8", "decode only", "fp32 only", "int8 only")
CALIBRATION = 64


def main() -> None:
    """Prepare what is missing, run the rounds, write the result."""
    chosen = parse("jpegs", work=Path, clip_retrieval=None, rounds=5, sets=tuple(SETS), only=(), contender="",
                   out=Path("index_speed.json"), choices={"sets": list(SETS)})  # fmt: skip
    if chosen.contender:
        print(json.dumps(run_contender(chosen.contender, chosen.jpegs, chosen.work)))
        return
    prepare(chosen.jpegs, chosen.work, chosen.sets)
    names = [*CONTENDERS, *(["clip_retrieval"] if chosen.clip_retrieval else [])]
    names = [name for name in names if not chosen.only or name in chosen.only]
    turns = take_turns(names, chosen.sets, chosen.rounds, chosen.work, chosen.clip_retrieval)
    results = {
        part: summarise(part, [turn for turn in turns if turn["part"] == part], chosen.work) for part in chosen.sets
    }
    document = {
        "loads": [turn["load"] for turn in turns],
        "model": MODEL,
        "weights": "random, seed 0",
        "batch": BATCH,
        "images": {part: {"count": SETS[part], "bytes": folder_bytes(chosen.work / part)} for part in chosen.sets},
        "rounds": chosen.rounds,
        "failures": {f"{turn['name']}, {turn['part']}": turn["failure"] for turn in turns if not turn["images_per_s"]},
        "results": results,
    }
    write(chosen.out, document)
    print(f"wrote {chosen.out}")


def take_turns(
    names: list[str], sets: list[str], rounds: int, work: Path, clip_retrieval: Path | None
) -> list[dict[str, Any]]:
    """Every contender over every set in every round, as far as an earlier run has not done it."""
    notes = work / "turns.jsonl"
    turns = [json.loads(line) for line in notes.read_text().splitlines()] if notes.is_file() else []
    for number in range(rounds):
        order = [(part, name) for part in sets for name in names]
        random.Random(number).shuffle(order)
        for part, name in order:
            failed = any((turn["part"], turn["name"], turn["images_per_s"]) == (part, name, None) for turn in turns)
            if failed or any((turn["round"], turn["part"], turn["name"]) == (number, part, name) for turn in turns):
                continue
            turn = {"round": number, "part": part, "name": name, "load": round(os.getloadavg()[0], 2)}
            try:
                turn |= ask(name, part, work, clip_retrieval)
            except subprocess.CalledProcessError as error:
                turn |= {"images_per_s": None, "failure": last_line(error.stderr)}
            with notes.open("a") as stream:
                stream.write(json.dumps(turn) + "\n")
            turns.append(turn)
            said = f"{turn['images_per_s']:8.1f} images/s" if turn["images_per_s"] else turn["failure"]
            print(f"round {number + 1}  {part:7} {name:18} {said}", flush=True)
    return turns


def ask(name: str, part: str, work: Path, clip_retrieval: Path | None) -> dict[str, Any]:
    """One contender over one set, in a process of its own."""
    python = clip_retrieval if name == "clip_retrieval" else sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": str(usable_cores())}
    if name == "clip_retrieval":
        out = work / f"out-{part}-clip-retrieval"
        shutil.rmtree(out, ignore_errors=True)
        command = [str(python), str(HERE / "clip_retrieval_run.py")]
        command += [str(work / part), str(out), str(work / "model")]
    else:
        command = [str(python), __file__, str(work / part), "--work", str(work), "--contender", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    # Some libraries write on without ending their lines.
    return dict(json.loads(done.stdout[done.stdout.rindex('{"images_per_s"') :].split("}")[0] + "}"))


def prepare(jpegs: Path, work: Path, sets: list[str]) -> None:
    """Make the image sets, the model and its exports, as far as they are missing."""
    work.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in jpegs.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"{jpegs} holds no JPEG files.")
    for part in sets:
        if not (work / part).is_dir():
            with atomic_folder(work / part) as staging:
                draw_set(files, part, SETS[part], staging)
    if not (work / "model").is_dir():
        from mobileclip_kit.networks.model import load_model, save_model

        model = load_model(MODEL, seed=0)
        with atomic_folder(work / "model") as staging:
            save_model(staging, model.network, model.config, model.spec)
    if not (work / "calibration").is_dir():
        with atomic_folder(work / "calibration") as staging:
            for path in files[-CALIBRATION:]:
                shutil.copyfile(path, staging / path.name)
    mckit = [sys.executable, "-m", "mobileclip_kit", "export", str(work / "model"), "--format", "onnx", "--keep-failed"]
    mckit += ["--images", str(work / "small"), "--num-images", "16"]
    for precision, more in (("fp32", []), ("int8", ["--calibration", str(work / "calibration")])):
        if not (work / precision).is_dir():
            subprocess.run([*mckit, f"--{precision}", *more, "-o", str(work / precision)], check=False)
    if not (work / "first.index").is_dir():
        mckit = [sys.executable, "-m", "mobileclip_kit", "index", str(work / "small"), "--model", str(work / "int8")]
        subprocess.run([*mckit, "-o", str(work / "first.index")], check=True)


def draw_set(files: list[Path], part: str, count: int, folder: Path) -> None:
    """Images of a set, no two of them alike."""
    for number in range(count):
        again, which = divmod(number, len(files))
        draw(files[which], part, number, again).save(folder / f"{number:04d}.jpg", quality=90)


def draw(path: Path, part: str, number: int, cropped: int) -> Image.Image:
    """An image of a set, of the photo without its first ``cropped`` rows and columns."""
    photo = Image.open(path).convert("RGB")
    photo = photo.crop((cropped, cropped, photo.width, photo.height))
    if part == "small":
        photo.thumbnail((500, 500)) if max(photo.size) > 500 else None
        scale = 500 / max(photo.size)
        return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    large = photo.resize(CAMERA_SIZE, Image.Resampling.LANCZOS)
    noise = np.random.default_rng(number).normal(0, 4, (CAMERA_SIZE[1], CAMERA_SIZE[0], 1))
    return Image.fromarray(np.clip(np.asarray(large, np.float32) + noise, 0, 255).astype(np.uint8))


def run_contender(name: str, images: Path, work: Path) -> dict[str, Any]:
    """Images a second, and a second of processor time; vectors are left in ``work`` for the comparison."""
    files = sorted(images.glob("*.jpg"))
    if name.startswith("open_clip"):
        spent, vectors = by_open_clip(files, work / "model", workers=name.endswith("workers"))
        np.save(work / f"out-{images.name}-{name.replace(' ', '-')}.npy", vectors)
    elif name.startswith("mckit"):
        spent = by_mckit(images, work, name.split()[1])
    elif name == "decode only":
        spent = decode_only(images, work / "fp32")
    else:
        spent = model_only(len(files), work / name.split()[0])
    return {"images_per_s": len(files) / spent.seconds, "images_per_cpu_s": len(files) / spent.cpu_s}


def by_open_clip(files: list[Path], model: Path, *, workers: bool) -> tuple[Clock, np.ndarray]:
    """open_clip's own way: its transform, one image after the other, and the model on batches."""
    import open_clip
    import torch

    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{model}")
    network.eval()
    torch.set_num_threads(usable_cores())

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, number: int) -> Any:
            return transform(Image.open(files[number]))

    loader = torch.utils.data.DataLoader(Files(), batch_size=BATCH, num_workers=usable_cores() if workers else 0)
    rows = []
    with torch.inference_mode():
        network.encode_image(torch.zeros(BATCH, 3, 224, 224))
        spent = Clock()
        for batch in loader:
            rows.append(torch.nn.functional.normalize(network.encode_image(batch), dim=-1).numpy())
    return spent.stop(), np.concatenate(rows)


def by_mckit(images: Path, work: Path, precision: str) -> Clock:
    """What ``mckit index`` does, from the listing of the folder to the last commit."""
    from mobileclip_kit.indexing.options import IndexOptions
    from mobileclip_kit.indexing.update import update_index
    from mobileclip_kit.runtime.open import open_encoder

    encoder = open_encoder(work / precision, threads=1)
    image = encoder.spec.require_image()
    encoder.encode_images(np.zeros((BATCH, image.height, image.width, 3), np.uint8))
    spent = Clock()
    out = work / f"out-{images.name}-{precision}.index"
    report = update_index(images, encoder, out, IndexOptions(force=True, encoders=usable_cores()))
    assert report.items == report.decoded == len(list(images.glob("*.jpg"))), report
    return spent.stop()


def decode_only(images: Path, model: Path) -> Clock:
    """The decoding half of an indexing run on all cores, hashing included."""
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.indexing.decode import decode_ahead
    from mobileclip_kit.indexing.listing import list_library
    from mobileclip_kit.indexing.scan import FileToEncode

    files = [FileToEncode(found, None) for found in list_library(images.absolute())]
    spec = open_export(model).spec.require_image()
    spent = Clock()
    decoded = decode_ahead(files, spec, is_known=lambda _: False, workers=None, ahead=3 * BATCH, draft=True)
    assert sum(one.pixels is not None for one in decoded) == len(files)
    return spent.stop()


def model_only(count: int, export: Path) -> Clock:
    """The model half: pixels lie ready, and each core has batches of its own, as when indexing."""
    from mobileclip_kit.runtime.open import open_encoder

    encoder = open_encoder(export, threads=1)
    image = encoder.spec.require_image()
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, image.height, image.width, 3), dtype=np.uint8)
    encoder.encode_images(pixels)
    batches = [pixels[: min(BATCH, count - start)] for start in range(0, count, BATCH)]
    spent = Clock()
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(encoder.encode_images, batches))
    return spent.stop()


def summarise(part: str, turns: list[dict[str, Any]], work: Path) -> dict[str, Any]:
    """Medians, ratios and cosines of one set."""
    rows: dict[str, Any] = {}
    clock, processor = {}, {}
    for name in dict.fromkeys(turn["name"] for turn in turns if turn["images_per_s"]):
        mine = [turn for turn in turns if turn["name"] == name and turn["images_per_s"]]
        clock[name], processor[name] = (
            float(np.median([turn[key] for turn in mine])) for key in ("images_per_s", "images_per_cpu_s")
        )
        rows[name] = {
            "images_per_s": round(clock[name], 2),
            "images_per_cpu_s": round(processor[name], 2),
            "rounds": [round(turn["images_per_s"], 2) for turn in mine],
        }
    for precision in ("fp32", "int8"):
        ours, model = f"mckit {precision}", f"{precision} only"
        if {ours, model, "decode only"} <= rows.keys():
            rows[ours] |= halves(clock, ours, model)
            rows[ours] |= {f"{key}_cpu": value for key, value in halves(processor, ours, model).items()}
        for other in ("open_clip", "open_clip workers", "clip_retrieval"):
            if {ours, other} <= rows.keys():
                key = f"times_{other.replace(' ', '_')}"
                rows[ours] |= {key: round(clock[ours] / clock[other], 2)}
                rows[ours] |= {f"{key}_cpu": round(processor[ours] / processor[other], 2)}
        if ours in rows:
            rows[ours] |= cosines(part, precision, work)
    return rows


def halves(rates: dict[str, float], ours: str, model: str) -> dict[str, float]:
    """A rate beside those of its two halves."""
    decode_s, model_s = 1 / rates["decode only"], 1 / rates[model]
    return {
        "of_slower": round(rates[ours] * max(decode_s, model_s), 3),
        "bound": round(1 / (decode_s + model_s), 2),
        "of_bound": round(rates[ours] * (decode_s + model_s), 3),
    }


def cosines(part: str, precision: str, work: Path) -> dict[str, float]:
    """Of our vectors with those of open_clip's own preprocessing and model."""
    from mobileclip_kit.index.folder import IndexReader

    path = work / f"out-{part}-open_clip.npy"
    if not path.is_file():
        return {}
    theirs = np.load(path)
    with IndexReader(work / f"out-{part}-{precision}.index") as index:
        items = [item for item in index.store.items() if item.row is not None]
        ours = np.stack([index.matrix[item.row] for item in items])
    found = row_cosines(ours, theirs)
    return {"cosine_min": round(float(found.min()), 5), "cosine_mean": round(float(found.mean()), 5)}


def folder_bytes(folder: Path) -> int:
    """Bytes of the JPEG files."""
    return sum(path.stat().st_size for path in folder.glob("*.jpg"))


if __name__ == "__main__":
    main()
