"""Readers of mckit, a valid input of each, and mutations of these inputs.

``robustness.py`` and ``guided_fuzzing.py`` use them. Mutations are flipped bits, cuts, splices, extreme numbers and
nesting. The n-th one follows from seed, reader and n.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import json
import os
import random
import re
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE

from mobileclip_kit import __version__

ROOT = HERE.parent
GOLDEN = ROOT / "tests" / "golden"
FIRST = GOLDEN / "first-version"
LIMIT_S = 5.0
LIMIT_BYTES = 2 << 30
EXTREMES = (b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"9" * 5000, b"4294967296", b"18446744073709551615", b"1e-320",
            b"null", b"true", b'""', b"[]", b"{}")  # fmt: skip
WORDS = tuple(
    value.to_bytes(size, "little", signed=value < 0)
    for size in (1, 2, 4, 8)
    for value in (0, -1, 2 ** (8 * size - 1) - 1, -(2 ** (8 * size - 1)), 1)
)


@dataclass(frozen=True)
class Reader:
    """A reader and a valid input.

    Attributes:
        make: Writes the input into an empty folder and returns the file to mutate.
        read: Reads the file; what it returns is compared for ``strict`` readers.
        strict: Checksums cover the file: no mutation may give another result.
        share: Inputs, relative to the other readers.
        needs: A package without which this reader is left out.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    strict: bool = False
    share: float = 1.0
    needs: str = "mobileclip_kit"


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to three mutations."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = draw.choice(MUTATIONS)(bytearray(data), draw)
    return data


def _flip(data: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 8)) if data else 0):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _cut(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data[: draw.randrange(len(data) + 1)])


def _splice(data: bytearray, draw: random.Random) -> bytes:
    first, second, place = (draw.randrange(len(data) + 1) for _ in range(3))
    part = data[min(first, second) : max(first, second)][:4096]
    return bytes(data[:place] + part + data[place + draw.choice((0, len(part))) :])


def _remove(data: bytearray, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return bytes(data[:place] + data[place + draw.choice((1, 2, 16, 256)) :])


def _extreme(data: bytearray, draw: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?|null|true|false", bytes(data[:100_000])))
    if numbers and draw.random() < 0.7:
        found = draw.choice(numbers)
        return bytes(data[: found.start()] + draw.choice(EXTREMES) + data[found.end() :])
    place, word = draw.randrange(len(data) + 1), draw.choice(WORDS)
    return bytes(data[:place] + word + data[place + len(word) :])


def _nest(data: bytearray, draw: random.Random) -> bytes:
    place, depth = draw.randrange(len(data) + 1), draw.choice((50, 990, 100_000))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"\x0a\x7f", b"")))
    return bytes(data[:place] + opening * depth + b"1" + closing * depth + data[place:])


MUTATIONS = (_flip, _flip, _cut, _splice, _remove, _extreme, _extreme, _nest)


def copied(source: Path, file: str = "") -> Callable[[Path], Path]:
    """A valid input that is a golden file, or a file in a golden folder."""

    def make(folder: Path) -> Path:
        target = folder / source.name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        return target / file if file else target

    return make


def image(kind: str) -> Callable[[Path], Path]:
    """An image of one format."""

    def make(folder: Path) -> Path:
        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"image.{kind}")
        return folder / f"image.{kind}"

    return make


def written(name: str, text: str) -> Callable[[Path], Path]:
    """A text file beside the golden photos."""

    def make(folder: Path) -> Path:
        for photo in sorted((FIRST / "photos").glob("*.png")):
            shutil.copy(photo, folder)
        (folder / name).write_text(text)
        return folder / name

    return make


def made_index(file: str) -> Callable[[Path], Path]:
    """A file of an index of today."""

    def make(folder: Path) -> Path:
        run_mckit("index", FIRST / "photos", "--model", FIRST / "onnx-fp32", "-o", folder / "index")
        return folder / "index" / file

    return make


def made_cache(file: str) -> Callable[[Path], Path]:
    """A file of a teacher cache of today."""

    def make(folder: Path) -> Path:
        import numpy as np

        from mobileclip_kit.cache.folder import CacheDescription
        from mobileclip_kit.cache.writer import CacheWriter

        description = CacheDescription(teacher="t", teacher_hash="ff", embedding_dim=16, normalized=False)
        with CacheWriter(folder / "cache", description) as writer:
            writer.add(["a.png", "b.png"], ["00" * 32, "11" * 32], np.ones((2, 1, 16), np.float32))
        return folder / "cache" / file

    return make


def made_textness(folder: Path) -> Path:
    """A textness vector of today."""
    from mobileclip_kit.textness.vector import Textness

    Textness.load(FIRST / "textness.json").save(folder / "textness.json")
    return folder / "textness.json"


def made_tar(folder: Path) -> Path:
    """A shard of two pairs."""
    import tarfile

    with tarfile.open(folder / "a.tar", "w") as tar:
        for number, photo in enumerate(sorted((FIRST / "photos").glob("*.png"))[:2]):
            (folder / f"{number}.txt").write_text("a caption")
            tar.add(photo, f"{number}.png")
            tar.add(folder / f"{number}.txt", f"{number}.txt")
    return folder / "a.tar"


def made_checkpoint(folder: Path) -> Path:
    """A checkpoint."""
    import torch

    from mobileclip_kit.distillation.checkpoint import Checkpoint, save_checkpoint

    save_checkpoint(folder / "c.safetensors", Checkpoint({"a": torch.ones(200)}, {"step": 1}))
    return folder / "c.safetensors"


def made_export(format_name: str, file: str) -> Callable[[Path], Path]:
    """A tower of an export of today, which is kept for the other readers and runs: it takes a minute."""

    def make(folder: Path) -> Path:
        kept = Path(tempfile.gettempdir(), f"mckit-robustness-{format_name}-{__version__}")
        if not (kept / "export.json").is_file():
            run_mckit("export", FIRST / "model", "--format", format_name, "--num-images", 2, "-o", kept)
        return copied(kept, file)(folder)

    return make


def made_background(folder: Path) -> Path:
    """Scores of everyday texts on an index."""
    import sys

    sys.path.insert(0, str(ROOT))
    from tests.confidence.words import make_word_index

    make_word_index(folder / "index")
    return folder / "index" / "background.safetensors"


def made_vectors(folder: Path) -> Path:
    """A matrix of vectors."""
    import numpy as np

    np.save(folder / "v.npy", np.eye(8, dtype=np.float32))
    return folder / "v.npy"


def read_image(path: Path) -> None:
    """As every encoder does."""
    from mobileclip_kit.images import load_pixels
    from mobileclip_kit.spec import ImageSpec

    load_pixels(path, ImageSpec(height=32, width=32))


def read_source(path: Path) -> None:
    """As training does."""
    from mobileclip_kit.data.sources import open_source

    for pair in open_source(path, []):
        with contextlib.suppress(OSError):  # as documented; training names the image
            pair.source()


def read_index(path: Path) -> Any:
    """Open, search, name."""
    import numpy as np

    from mobileclip_kit.index.folder import IndexReader

    with IndexReader(path.parent) as index:
        queries = np.eye(index.spec.embedding_dim, dtype=np.float32)[:2]
        scores, rows = index.nearest(queries, 4)
        names = index.names_of(sorted(set(rows.ravel().tolist()) - {-1}))
        items = [(item.name, item.row, item.sha256) for item in index.store.items()]
        return scores.tolist(), rows.tolist(), sorted(names.items()), items


def read_phone_index(path: Path) -> None:
    """Open, list, search."""
    import numpy as np

    from mobileclip_kit.index.phone import PhoneIndex

    index = PhoneIndex(path)
    index.keys()
    index.search(np.ones(index.header.dim, np.float32), 5)


def read_cache(path: Path) -> Any:
    """As training does."""
    from mobileclip_kit.cache.folder import TeacherCache

    folder = path.parent if path.name == "cache.json" else path.parent.parent
    cache = TeacherCache.open(folder)
    return cache.keys, cache.hashes, cache.vectors_at(range(len(cache))).tolist()


def read_checkpoint(path: Path) -> Any:
    """As --resume does."""
    from mobileclip_kit.distillation.checkpoint import load_checkpoint

    found = load_checkpoint(path)
    return found.state, {name: tensor.tolist() for name, tensor in found.tensors.items()}


def read_onnx(path: Path) -> None:
    """As a runtime does, without the export's SHA-256 before it."""
    from mobileclip_kit.runtime.onnx import open_session

    open_session(path, threads=1)


def read_litert(path: Path) -> None:
    """As a runtime does, without the export's SHA-256 before it."""
    import numpy as np

    from mobileclip_kit.runtime.litert import SignatureRunner

    SignatureRunner(path, "image", threads=1)({"image": np.zeros((1, 16, 16, 3), np.float32)})


def read_tower(path: Path) -> Any:
    """As every encoder does: the SHA-256 first."""
    import numpy as np

    from mobileclip_kit.runtime.open import open_encoder

    folder = next(parent for parent in path.parents if (parent / "export.json").is_file())
    return open_encoder(folder, threads=1).encode_images(np.zeros((1, 16, 16, 3), np.uint8)).tolist()


def read_package(path: Path) -> None:
    """The program of a Core ML package."""
    from mobileclip_kit.mil.program import read_program

    read_program(path.parent.parent.parent)


def call(target: str, *, of: Callable[[Path], Any] = lambda path: path) -> Callable[[Path], Any]:
    """A reader by ``module:function`` or ``module:class.method``."""

    def read(path: Path) -> Any:
        import importlib

        module, _, names = target.partition(":")
        found: Any = importlib.import_module(f"mobileclip_kit.{module}")
        for name in names.split("."):
            found = getattr(found, name)
        return found(of(path))

    return read


_client: list[Any] = []


def read_request(path: Path) -> None:
    """Send the file as a request to a running server, which must answer the next one."""
    import socket

    if not _client:
        _client.append(_serve())
    answers = []
    for data in (path.read_bytes(), b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
        with socket.create_connection(_client[0], timeout=LIMIT_S) as connection:
            answer = b""
            with contextlib.suppress(OSError):  # the server has closed it
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16)
        answers.append(answer)
    if b" 500 " in answers[0][:20] or not answers[1].startswith(b"HTTP/1.1 200"):
        raise AssertionError(f"the server answered {answers!r:.300}")


def _serve() -> tuple[str, int]:
    """A server in a thread of this process."""
    import threading

    import uvicorn

    from mobileclip_kit.web.app import build_app
    from mobileclip_kit.web.request import ServeRequest
    from mobileclip_kit.web.server import listen, open_service, server_config

    folder = Path(tempfile.mkdtemp(prefix="mckit-"))
    place = made_index("index.json")(folder).parent
    listening = listen(port=0)
    service = open_service(ServeRequest(index_folder=place, thumbnails=folder))
    server = uvicorn.Server(server_config(build_app(service)))
    threading.Thread(target=server.run, kwargs={"sockets": [listening.socket]}, daemon=True).start()
    while not server.started:
        time.sleep(0.02)
    host, port = listening.socket.getsockname()[:2]
    return host, port


REQUEST = (
    "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 52\r\n"
    'Cookie: a=b\r\n\r\n{"words": "a red star", "start": 0, "count": 10, "textness": 0.5}'
)
COCO = json.dumps({"images": [{"id": 1, "file_name": "red.png"}], "annotations": [{"image_id": 1, "caption": "red"}]})
JSONL = '{"image": "red.png", "caption": ["a red star", "red"]}\n{"image": "blue.png", "caption": "blue"}\n'
GATES = '[[gate]]\nmodel = "student"\nfigure = "precision_at_1"\nleast = 0.5\n'
WEIGHTS = "open_clip_model.safetensors"

READERS = {
    **{f"{kind} image": Reader(image(kind), read_image) for kind in ("png", "jpg", "gif", "webp", "tif", "bmp")},
    "captions CSV": Reader(written("a.csv", "image,caption\nred.png,a red star\nblue.png,blue\n"), read_source),
    "captions JSONL": Reader(written("a.jsonl", JSONL), read_source),
    "captions COCO": Reader(written("a.json", COCO), read_source),
    "tar shard": Reader(made_tar, read_source),
    "model.json": Reader(copied(FIRST / "model", "model.json"), call("spec:read_spec", of=lambda path: path.parent)),
    "safetensors header": Reader(copied(FIRST / "model", WEIGHTS), call("inspection:inspect_path")),
    "safetensors": Reader(
        copied(FIRST / "model", WEIGHTS),
        call("networks.model:load_model", of=lambda path: str(path.parent)),
        share=0.02,
    ),
    "cache.json": Reader(made_cache("cache.json"), read_cache, strict=True),
    "cache shard": Reader(made_cache("shards/00000.npy"), read_cache, strict=True),
    "cache keys": Reader(made_cache("shards/00000.jsonl"), read_cache, strict=True),
    "checkpoint": Reader(made_checkpoint, read_checkpoint, strict=True, share=0.5),
    "Core ML program": Reader(
        copied(FIRST / "coreml-fp16" / "image.mlpackage", "Data/com.apple.CoreML/model.mlmodel"),
        read_package,
        share=0.3,
    ),
    "LiteRT export": Reader(made_export("litert", "image.tflite"), read_tower, True, 0.3, "litert_torch"),
    "LiteRT": Reader(made_export("litert", "image.tflite"), read_litert, share=0.1, needs="litert_torch"),
    "LiteRT, inspected": Reader(
        made_export("litert", "image.tflite"), call("inspection:inspect_path"), share=0.1, needs="litert_torch"
    ),
    "Core AI program": Reader(
        made_export("coreai", "image.aimodel/main.mlirb"), read_tower, True, 0.05, "coreai_torch"
    ),
    "Core AI metadata": Reader(
        made_export("coreai", "image.aimodel/metadata.json"),
        call("inspection:inspect_path", of=lambda path: path.parent),
        share=0.3,
        needs="coreai_torch",
    ),
    "ONNX export": Reader(copied(FIRST / "onnx-fp32", "image.onnx"), read_tower, True, 0.5),
    "ONNX": Reader(copied(FIRST / "onnx-fp32" / "image.onnx"), read_onnx, share=0.1),
    "ONNX, inspected": Reader(copied(FIRST / "onnx-fp32" / "image.onnx"), call("inspection:inspect_path"), share=0.2),
    "export.json": Reader(
        copied(FIRST / "onnx-fp32", "export.json"), call("exporting.folder:open_export", of=lambda path: path.parent)
    ),
    "flat index": Reader(copied(GOLDEN / "index" / "int8-24.mckitidx"), read_phone_index),
    "index.json": Reader(made_index("index.json"), read_index, strict=True),
    "item store": Reader(made_index("items.sqlite"), read_index, strict=True),
    "vectors": Reader(made_index("vectors.f32"), read_index, strict=True),
    "background": Reader(made_background, call("confidence.background:Background.read"), share=0.3),
    "textness vector": Reader(made_textness, call("textness.vector:Textness.load")),
    "manifest.json": Reader(
        copied(GOLDEN / "bundle", "manifest.json"), call("bundle:open_bundle", of=lambda path: path.parent)
    ),
    "vectors .npy": Reader(made_vectors, call("index.npy:load_matrix")),
    "truth": Reader(copied(FIRST / "scenes" / "truth.jsonl"), call("scenes.truth:read_truth")),
    "gates": Reader(written("gates.toml", GATES), call("inspection:inspect_path")),
    "recipe": Reader(copied(ROOT / "models" / "recipes" / "quickstart.toml"), call("distillation.recipe:load_recipe")),
    "JSON, inspected": Reader(copied(FIRST / "textness.json"), call("inspection:inspect_path")),
    "HTTP request": Reader(written("request", REQUEST), read_request, share=0.5),
}


def run_mckit(*arguments: object, said: str | Path = os.devnull) -> int:
    """Run a command in this process, what it says into a file; its exit code, 70 after a traceback."""
    from mobileclip_kit.cli import main

    with open(said, "a") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            main([str(each) for each in arguments])
        except SystemExit as stop:
            return int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            return 70


def work(name: str, seed: int, first: int, last: int, place: Path) -> None:
    """Read mutations ``first`` to ``last`` of one reader in this process; findings go to ``place/findings``."""
    from mobileclip_kit.errors import MckitError

    warnings.simplefilter("ignore")
    reader, folder = READERS[name], place / "input"
    folder.mkdir(exist_ok=True)
    path = reader.make(folder)
    valid = path.read_bytes()
    expected = reader.read(path)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = os.open(place / "status", os.O_CREAT | os.O_WRONLY)
    with (place / "findings").open("a") as findings:
        for number in range(first, last):
            os.pwrite(status, f"{number:12d}".encode(), 0)
            path.write_bytes(mutate(valid, random.Random(f"{seed}/{name}/{number}")))
            faulthandler.dump_traceback_later(2 * LIMIT_S, exit=True)
            begun, problem = time.process_time(), None
            try:
                result = reader.read(path)
                if reader.strict and result != expected:
                    problem = f"wrong result: {str(result)[:200]}"
            except MckitError:
                pass
            except MemoryError:
                problem = "memory"
            except BaseException as error:
                problem = "".join(traceback.format_exception_only(error)).strip()[:300]
                problem += f" at {traceback.extract_tb(error.__traceback__)[-1]}"
            if time.process_time() - begun > LIMIT_S:
                problem = f"slow: {time.process_time() - begun:.1f} s"
            if problem is not None:
                findings.write(json.dumps({"reader": name, "number": number, "problem": problem}) + "\n")
                findings.flush()
    faulthandler.cancel_dump_traceback_later()
    os._exit(0)  # a server's thread may still wait


def usable() -> dict[str, Reader]:
    """The readers whose packages are installed."""
    return {name: reader for name, reader in READERS.items() if importlib.util.find_spec(reader.needs) is not None}
