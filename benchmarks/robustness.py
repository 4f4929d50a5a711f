"""Does mckit survive damaged files and kills? Mutated inputs for every reader, and SIGKILL at random moments.

    python benchmarks/robustness.py [--seed 1] [--inputs 100000] [--kills 200] [--quick]

Each reader of the table is given mutations of a valid input: flipped bits, cuts, splices, extreme numbers, nesting. The
n-th mutation follows from seed, reader and n. Child processes with a memory limit of 2 GB read them. A finding is a
crash, more than 5 s of processor time or 10 s, an error that is not one of mckit's, or, for a reader of checksummed
files, another result than that of the valid input. Each command of the other table is killed at random moments;
afterwards its output is the old one or the new one, and another run gives the same as an undisturbed one and leaves
nothing behind. The quick part has 1 % of the inputs and 5 % of the kills. Writes ``results/robustness.json``; the exit
code is 1 after a finding.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE, RESULTS, parse, write

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
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    strict: bool = False
    share: float = 1.0


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
    for data in (path.read_bytes(), b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
        with socket.create_connection(_client[0], timeout=LIMIT_S) as connection:
            answer = b""
            with contextlib.suppress(ConnectionError, BrokenPipeError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16)
    if b" 500 " in answer[:20] or not answer.startswith(b"HTTP/1.1 200"):
        raise AssertionError(f"the server answered {answer[:80]!r}")


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
    "ONNX": Reader(copied(FIRST / "onnx-fp32" / "image.onnx"), read_onnx, share=0.1),
    "ONNX, inspected": Reader(copied(FIRST / "onnx-fp32" / "image.onnx"), call("inspection:inspect_path"), share=0.2),
    "export.json": Reader(
        copied(FIRST / "onnx-fp32", "export.json"), call("exporting.folder:open_export", of=lambda path: path.parent)
    ),
    "flat index": Reader(copied(GOLDEN / "index" / "int8-24.mckitidx"), read_phone_index),
    "index.json": Reader(made_index("index.json"), read_index, strict=True),
    "item store": Reader(made_index("items.sqlite"), read_index, strict=True),
    "vectors": Reader(made_index("vectors.f32"), read_index, strict=True),
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


def run_mckit(*arguments: object) -> int:
    """Run a command in this process; its exit code."""
    from mobileclip_kit.cli import main

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            main([str(each) for each in arguments])
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


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


def fuzz(name: str, seed: int, inputs: int) -> dict[str, Any]:
    """Read ``inputs`` mutations in child processes; a child that dies is a finding, and the next goes on after it."""
    started, first, found = time.monotonic(), 0, list[dict[str, Any]]()
    while first < inputs:
        with tempfile.TemporaryDirectory(prefix="mckit-fuzz-", dir=fast_folder()) as folder:
            place = Path(folder)
            command = [sys.executable, __file__, "--work", name, "--seed", str(seed), "--first", str(first)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
            done = subprocess.run([*command, "--inputs", str(inputs), "--place", folder], env=environment,
                                  capture_output=True, text=True)  # fmt: skip
            if (place / "findings").exists():
                found += [json.loads(line) for line in (place / "findings").read_text().splitlines()]
            if done.returncode == 0:
                break
            if not (place / "status").exists():
                raise SystemExit(f"{name}: the child process did not begin: {done.stderr[-2000:]}")
            first = int((place / "status").read_text()) + 1
            reason = f"the process ended with {done.returncode}: {done.stderr.strip()[-300:]}"
            found.append({"reader": name, "number": first - 1, "problem": reason})
    return {"reader": name, "inputs": inputs, "findings": found, "seconds": round(time.monotonic() - started, 1)}


def fast_folder() -> str | None:
    """A folder in memory, if the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        arguments: Given the folder to work in.
        out: Its output in that folder.
        before: Makes what the command works on, and the old output if it has one.
        again: Options that the next run needs.
        share: Kills, relative to the other commands.
    """

    arguments: Callable[[Path], list[object]]
    out: str
    before: Callable[[Path], object] = lambda folder: None
    again: tuple[str, ...] = ()
    share: float = 1.0


def photos(folder: Path, count: int) -> Path:
    """A folder of small images."""
    import numpy as np
    from PIL import Image

    (folder / "photos").mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:03d}.png")
    return folder / "photos"


def index(folder: Path, out: str = "out", *options: object) -> list[object]:
    """The arguments of an indexing run."""
    return ["index", folder / "photos", "--model", FIRST / "onnx-fp32", "-o", folder / out, *options]


def some_index(folder: Path, count: int = 20) -> None:
    """An index that is worked on."""
    photos(folder, count)
    run_mckit(*index(folder))


def two_parts(folder: Path) -> None:
    """Parts to merge."""
    photos(folder, 30)
    for part in (1, 2):
        run_mckit(*index(folder, f"part{part}", "--shard", f"{part}/2"))


def grown(folder: Path) -> None:
    """An index whose folder has changed since."""
    some_index(folder)
    (folder / "photos" / "003.png").unlink()
    photos(folder, 40)


MODEL = FIRST / "model"
COMMANDS = {
    "index": Command(index, "out", lambda folder: photos(folder, 40)),
    "update": Command(index, "out", grown),
    "index --force": Command(lambda folder: index(folder, "out", "--force"), "out", some_index),
    "merge": Command(
        lambda folder: ["merge", folder / "part1", folder / "part2", "-o", folder / "out"], "out", two_parts
    ),
    "dump": Command(
        lambda folder: ["dump", folder / "out", "--format", "npy", "-o", folder / "dump", "--force"], "dump", some_index
    ),
    "bundle": Command(
        lambda folder: ["bundle", FIRST / "coreml-fp16", "-o", folder / "bundle", "--force"],
        "bundle",
        lambda folder: run_mckit("bundle", FIRST / "coreml-fp16", "-o", folder / "bundle"),
    ),
    "scenes": Command(lambda folder: ["scenes", "60", "-o", folder / "scenes", "--force"], "scenes"),
    "cache": Command(
        lambda folder: ["cache", "--data", folder / "photos", "--teacher", MODEL, "-o", folder / "cache"],
        "cache",
        lambda folder: photos(folder, 40),
        share=0.5,
    ),
}


def content(out: Path) -> str:
    """What an output says, without times and the order of rows."""
    if (out / "index.json").is_file():
        from mobileclip_kit.index.folder import IndexReader

        with IndexReader(out) as opened:
            said: Any = [(item.name, item.sha256, opened.matrix[item.row].round(5).tolist())
                         for item in opened.store.items() if item.row is not None]  # fmt: skip
    elif (out / "cache.json").is_file():
        from mobileclip_kit.cache.folder import TeacherCache

        cache = TeacherCache.open(out)
        said = sorted(zip(cache.keys, cache.hashes, cache.vectors_at(range(len(cache))).tolist(), strict=True))
    else:
        files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.suffix != ".mlmodel"]
        said = [(path.relative_to(out).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
                for path in files if path.name not in ("export.json", "vectors.json")]  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()


def started(arguments: list[object]) -> int:
    """Run a command in a fork of this process, which has imported what it needs; the process id."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(run_mckit(*arguments))
        finally:
            os._exit(70)
    return process


def kill_command(name: str, seed: int, kills: int) -> dict[str, Any]:
    """Kill a command ``kills`` times, each time on a fresh copy of what it works on."""
    command, draw, found, reached = COMMANDS[name], random.Random(f"{seed}/{name}"), list[str](), 0
    with tempfile.TemporaryDirectory(prefix="mckit-kill-", dir=fast_folder()) as base:
        os.environ["XDG_CACHE_HOME"] = f"{base}/user"
        work = Path(base, "work")  # the same path each time: outputs record paths
        Path(base, "before").mkdir()
        work.mkdir()
        command.before(work)
        shutil.copytree(work, Path(base, "before"), dirs_exist_ok=True, copy_function=shutil.copy2)
        old = content(work / command.out) if (work / command.out).exists() else None
        begun = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(started(command.arguments(work)), 0)[1])
        seconds = time.monotonic() - begun
        if code:
            raise SystemExit(f"{name} ended with {code} without a kill")
        new = content(work / command.out)
        for number in range(kills):
            shutil.rmtree(work)
            shutil.copytree(Path(base, "before"), work, copy_function=shutil.copy2)
            process = started(command.arguments(work))
            time.sleep(draw.random() * seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            reached += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
            found += [f"kill {number}: {problem}" for problem in after_kill(command, work, old, new)]
    return {"command": name, "kills": kills, "while it ran": reached, "findings": found}


def after_kill(command: Command, work: Path, old: str | None, new: str) -> Iterator[str]:
    """What is wrong after a kill, and after the next run."""
    from mobileclip_kit.checking import check_path
    from mobileclip_kit.errors import MckitError

    out = work / command.out
    grows = command.arguments(work)[0] in ("index", "cache") and "--force" not in command.arguments(work)
    if out.exists():
        try:
            yield from (str(row.problem) for row in check_path(out) if row.problem is not None)
            if not grows and content(out) not in (old, new):
                yield "the output is neither the old nor the new one"
        except MckitError as error:
            yield f"the output cannot be read: {error.message}"
    elif old is not None:
        yield "the old output is gone"
    for left in work.rglob(".*.part"):  # only leftovers older than a few seconds are removed
        os.utime(left, (0, 0))
    code = os.waitstatus_to_exitcode(os.waitpid(started([*command.arguments(work), *command.again]), 0)[1])
    if code and not (out.exists() and content(out) == new):
        yield f"the next run ended with {code}"
    elif content(out) != new:
        yield "the next run gave another result"
    left = [path.name for pattern in (".*.part", ".*.staged", ".*.old") for path in work.rglob(pattern)]
    if left:
        yield f"left behind: {left}"


def kill_all(seed: int, kills: int) -> Iterator[dict[str, Any]]:
    """Every command of the table, one after the other."""
    for module in ("cli.index", "cli.merge", "cli.dump", "cli.bundle", "cli.scenes", "indexing.update", "runtime.onnx",
                   "indexing.merging", "indexing.dumping", "bundle", "scenes.folder", "cache.build", "checking",
                   "exporting.exporter", "networks.model", "cli.cache", "cli.export"):  # fmt: skip
        __import__(f"mobileclip_kit.{module}")
    total = sum(command.share for command in COMMANDS.values())
    for name, command in COMMANDS.items():
        result = kill_command(name, seed, max(1, round(kills * command.share / total)))
        report(result)
        yield result


def report(result: dict[str, Any]) -> None:
    """One line for a reader or a command."""
    name = result.get("reader") or result["command"]
    print(f"{name:22} {result.get('inputs') or result['kills']:7,}  {len(result['findings'])} findings", flush=True)
    for finding in result["findings"][:5]:
        print(f"    {finding}", flush=True)


def save(out: Path, seed: int, fuzzed: list[dict[str, Any]], killed: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is done so far."""
    document = {
        "claim": "No damaged input crashes a reader or gives a wrong result; a kill loses nothing.",
        "seed": seed,
        "inputs": sum(each["inputs"] for each in fuzzed),
        "kills": sum(each["kills"] for each in killed),
        "findings": sum(len(each["findings"]) for each in (*fuzzed, *killed)),
        "readers": fuzzed,
        "commands": killed,
    }
    write(out, document)
    return document


def main() -> None:
    """Fuzz, kill, write, print."""
    chosen = parse(seed=1, inputs=100_000, kills=200, quick=False, only=("",), work="", first=0, place=None,
                   out=RESULTS / "robustness.json")  # fmt: skip
    if chosen.work:
        work(chosen.work, chosen.seed, chosen.first, chosen.inputs, chosen.place)
    inputs, kills = (chosen.inputs // 100, chosen.kills // 20) if chosen.quick else (chosen.inputs, chosen.kills)
    readers = {name: reader for name, reader in READERS.items() if not any(chosen.only) or name in chosen.only}
    total = sum(reader.share for reader in readers.values())
    fuzzed, killed = list[dict[str, Any]](), list[dict[str, Any]]()
    for result in kill_all(chosen.seed, kills) if kills else ():  # first: it forks
        killed.append(result)
        save(chosen.out, chosen.seed, fuzzed, killed)
    with ThreadPoolExecutor(2) as pool:
        counts = {name: max(20, round(inputs * reader.share / total)) for name, reader in readers.items() if inputs}
        for result in pool.map(lambda name: fuzz(name, chosen.seed, counts[name]), counts):
            fuzzed.append(result)
            report(result)
            document = save(chosen.out, chosen.seed, fuzzed, killed)
    document = save(chosen.out, chosen.seed, fuzzed, killed)
    print(f"{document['inputs']:,} inputs, {document['kills']} kills, {document['findings']} findings")
    sys.exit(1 if document["findings"] else 0)


if __name__ == "__main__":
    main()
