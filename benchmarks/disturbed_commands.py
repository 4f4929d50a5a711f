"""Commands of mckit that are killed, or that lack disk, permission, descriptors or memory; for ``robustness.py``.

A command runs in a fork of this process, on a fresh copy of what it works on. Afterwards its output is the old one or
the new one (for those that grow their output, whole), and another run gives the same as an undisturbed one and leaves
nothing behind.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from damaged_inputs import FIRST, ROOT, run_mckit

MODEL, EXPORT = FIRST / "model", FIRST / "onnx-fp32"
STUDENT = {"image_size": 32, "layers": 1, "width": 24, "head_width": 12, "patch_size": 16}
LIMIT_S = 600
REPOSITORY = "me/tiny"
# Imported once, before the forks.
MODULES = (
    *(f"cli.{name}" for name in ("index", "merge", "dump", "bundle", "scenes", "cache", "export", "distill", "train",
                                 "textness", "push")),
    "indexing.update", "indexing.merging", "indexing.dumping", "runtime.onnx", "bundle", "scenes.folder", "cache.build",
    "checking", "exporting.exporter", "exporting.onnx", "networks.model", "distillation.run", "distillation.from_pairs",
    "textness.fit", "publishing.push",
)  # fmt: skip
# Audit events of changes beside writing opens.
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.chmod", "os.link")
# Files that hold times, as TensorBoard's do too.
TIMED = ("export.json", "vectors.json", "log.jsonl", "training.json")
_hub: list[Any] = []


@dataclass(frozen=True)
class Command:
    """A command that is disturbed.

    Attributes:
        arguments: Given the folder to work in.
        out: Its output in that folder.
        before: Makes what the command works on, and the old output if it has one.
        again: Options that the next run needs.
        grows: What a disturbed run has done stays in the output.
        share: Disturbances, relative to the other commands.
        is_slow: It is left out of the quick part.
    """

    arguments: Callable[[Path], list[object]]
    out: str
    before: Callable[[Path], object] = lambda folder: None
    again: tuple[str, ...] = ()
    grows: bool = False
    share: float = 1.0
    is_slow: bool = False


def photos(folder: Path, count: int) -> Path:
    """A folder of small images, and a table of captions."""
    import numpy as np
    from PIL import Image

    (folder / "photos").mkdir(exist_ok=True)
    lines = ["image,caption"]
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:03d}.png")
        lines.append(f"photos/{number:03d}.png,caption number {number}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    (folder / "student.json").write_text(json.dumps(STUDENT))
    return folder / "photos"


def index(folder: Path, out: str = "out", *options: object) -> list[object]:
    """The arguments of an indexing run."""
    return ["index", folder / "photos", "--model", EXPORT, "-o", folder / out, *options]


def made(*arguments: object) -> None:
    """Run a command that must succeed."""
    code = run_mckit(*arguments)
    if code:
        raise SystemExit(f"mckit {' '.join(map(str, arguments))} ended with {code}")


def some_index(folder: Path, count: int = 20) -> None:
    """An index that is worked on."""
    photos(folder, count)
    made(*index(folder))


def two_parts(folder: Path) -> None:
    """Parts to merge."""
    photos(folder, 30)
    for part in (1, 2):
        made(*index(folder, f"part{part}", "--shard", f"{part}/2"))


def grown(folder: Path) -> None:
    """An index whose folder has changed since."""
    some_index(folder)
    (folder / "photos" / "003.png").unlink()
    photos(folder, 40)
    (folder / "photos" / "003.png").unlink()


def pushed(folder: Path) -> list[object]:
    """The arguments of an upload to the stand-in for the hub."""
    if not _hub:
        sys.path.insert(0, str(ROOT))
        from tests.publishing.hub import serve_hub

        stack = contextlib.ExitStack()
        _hub.append(stack.enter_context(serve_hub()))
        atexit.register(stack.close)
        os.environ |= {"HF_ENDPOINT": _hub[0].url, "HF_TOKEN": "hf_none"}
    return ["push", EXPORT, REPOSITORY]


TRAINING = ("--steps", 6, "--batch-size", 4, "--checkpoint-seconds", 0)
COMMANDS = {
    "cache": Command(
        lambda folder: ["cache", "--data", folder / "photos", "--teacher", MODEL, "-o", folder / "out"],
        "out",
        lambda folder: photos(folder, 40),
        grows=True,
    ),
    "distill": Command(
        lambda folder: ["distill", "--teacher", MODEL, "--data", folder / "photos", "--student",
                        folder / "student.json", *TRAINING, "-o", folder / "out"],
        "out",
        lambda folder: photos(folder, 12),
        again=("--resume",),
        share=0.6,
        is_slow=True,
    ),
    "train": Command(
        lambda folder: ["train", "--data", folder / "pairs.csv", "--student", folder / "student.json", "--text",
                        "text-2", "--embedding-dim", 8, "--trim-vocab", *TRAINING, "-o", folder / "out"],
        "out",
        lambda folder: photos(folder, 8),
        again=("--resume",),
        share=0.4,
        is_slow=True,
    ),
    "export": Command(
        lambda folder: ["export", MODEL, "--format", "onnx", "--num-images", 2, "-o", folder / "out", "--force"],
        "out",
        lambda folder: shutil.copytree(FIRST / "onnx-int8", folder / "out"),
        share=0.15,
        is_slow=True,
    ),
    "index": Command(index, "out", lambda folder: photos(folder, 40), grows=True, share=1.5),
    "update": Command(index, "out", grown, grows=True, share=1.5),
    "index --force": Command(lambda folder: index(folder, "out", "--force"), "out", some_index, share=1.5),
    "merge": Command(
        lambda folder: ["merge", folder / "part1", folder / "part2", "-o", folder / "out"],
        "out",
        two_parts,
        share=1.5,
    ),
    "bundle": Command(
        lambda folder: ["bundle", FIRST / "coreml-fp16", "-o", folder / "out", "--force"],
        "out",
        lambda folder: made("bundle", FIRST / "coreml-fp16", "-o", folder / "out"),
    ),
    "dump": Command(
        lambda folder: ["dump", folder / "index", "--format", "npy", "-o", folder / "out", "--force"],
        "out",
        lambda folder: (photos(folder, 20), made(*index(folder, "index"))),
    ),
    "textness": Command(
        lambda folder: ["textness", "fit", folder / "photos", "--model", EXPORT, "-o", folder / "out" / "textness.json",
                        "--force"],
        "out",
        lambda folder: (photos(folder, 24), (folder / "out").mkdir(),
                        shutil.copy(FIRST / "textness.json", folder / "out")),
        share=0.6,
        is_slow=True,
    ),
    "scenes": Command(
        lambda folder: ["scenes", "60", "-o", folder / "out", "--workers", 1], "out", share=0.5, is_slow=True
    ),
    "push": Command(pushed, "out"),
}  # fmt: skip


def content(out: Path) -> str | None:
    """What an output says, without times and the order of rows; None if there is none."""
    if _hub and not out.exists():
        said: Any = sorted(_hub[0].repositories.get(REPOSITORY, {}).items())
        return hashlib.sha256(repr(said).encode()).hexdigest() if said else None
    if (out / "index.json").is_file():
        from mobileclip_kit.index.folder import IndexReader

        with IndexReader(out) as opened:
            said = [(item.name, item.sha256, opened.matrix[item.row].round(5).tolist())
                    for item in opened.store.items() if item.row is not None]  # fmt: skip
    elif (out / "cache.json").is_file():
        from mobileclip_kit.cache.folder import TeacherCache

        cache = TeacherCache.open(out)
        said = sorted(zip(cache.keys, cache.hashes, cache.vectors_at(range(len(cache))).tolist(), strict=True))
    else:
        # What a killed run leaves behind is looked for after the next run.
        files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.suffix not in (".mlmodel", ".part")]
        if not files:
            return None
        said = [(path.relative_to(out).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
                for path in files if path.name not in TIMED and not path.name.startswith("events.out")]  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()


def forked(run: Callable[[], object]) -> int:
    """Run something in a fork of this process, which has imported what it needs; the process id."""
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(LIMIT_S)  # a hang ends with SIGALRM
            code = run()
            os._exit(code if isinstance(code, int) else 0)
        finally:
            os._exit(70)
    return process


def ended(process: int) -> int:
    """The exit code of a child process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Trials:
    """One command, disturbed again and again.

    Args:
        name: Of the command.
        base: An empty folder.
    """

    def __init__(self, name: str, base: Path) -> None:
        self.command, self.base, self.work = COMMANDS[name], base, base / "disk" / "work"
        os.environ["XDG_CACHE_HOME"] = f"{base}/user"
        # A disk of its own can be full. Where it cannot be mounted, files cannot grow beyond a limit instead.
        (base / "disk").mkdir()
        mounting = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", base / "disk"]
        self.is_mounted = sys.platform == "linux" and subprocess.run(mounting, capture_output=True).returncode == 0
        self.said = base / "said"
        self.work.mkdir()
        if ended(forked(partial(self.command.before, self.work))):
            raise SystemExit(f"{name}: its input cannot be made")
        shutil.copytree(self.work, base / "before", copy_function=shutil.copy2)
        self.old = content(self.out)
        used, writes = self.used_bytes(), base / "writes"
        begun = time.monotonic()
        with writes.open("ab", buffering=0) as log:
            code = ended(self.start(before=lambda: watch_writes(self.base, 0, lambda path: log.write(b"."))))
        self.seconds = time.monotonic() - begun
        if code:
            raise SystemExit(f"{name} ended with {code} undisturbed: {self.said.read_text()[-2000:]}")
        self.writes, self.growth = len(writes.read_bytes()), max(1 << 17, self.used_bytes() - used)
        self.new = content(self.out)

    @property
    def out(self) -> Path:
        """The output."""
        return self.work / self.command.out

    def used_bytes(self) -> int:
        """Of the disk."""
        return sum(-(-path.lstat().st_size // 4096) * 4096 for path in self.work.rglob("*"))

    def resize(self, size: int | None = None, options: str = "rw") -> None:
        """Change the disk."""
        subprocess.run(["mount", "-o", f"remount,{options},size={size or 1 << 30}", self.base / "disk"], check=True)

    def start(self, *more: object, before: Callable[[], object] = lambda: None) -> int:
        """Run the command in a child process; the process id."""
        arguments = [*self.command.arguments(self.work), *more]  # the hub lives in this process

        def run() -> int:
            before()
            return run_mckit(*arguments, said=self.said)

        return forked(run)

    def disturb(self, kind: str, draw: random.Random) -> Iterator[str]:
        """Disturb the command once, run it again, and yield what is wrong."""
        shutil.rmtree(self.work)
        shutil.copytree(self.base / "before", self.work, copy_function=shutil.copy2)
        if _hub:
            _hub[0].repositories.clear()
        self.said.write_bytes(b"")
        code = DISTURBANCES[kind](self, draw)
        said = self.said.read_text(errors="replace")
        if "Traceback" in said or code in (70, -signal.SIGALRM):
            yield f"{kind}: ended with {code}: {said.strip()[-600:]}"
        yield from (f"{kind}: {problem}" for problem in self.after(code))

    def after(self, code: int) -> Iterator[str]:
        """What is wrong after a disturbance, and after the next run."""
        yield from self.in_between(code)
        code = ended(self.start(*self.command.again))
        if content(self.out) != self.new:
            yield f"the next run ended with {code} and gave another result: {self.said.read_text()[-300:]}"
        left_behind = [path.name for end in ("part", "staged", "old") for path in self.work.rglob(f".*.{end}")]
        left_behind += [path.name for path in self.work.glob("*.run")]
        if left_behind:
            yield f"left behind: {left_behind}"

    def in_between(self, code: int) -> Iterator[str]:
        """What is wrong after a disturbance."""
        from mobileclip_kit.checking import check_path
        from mobileclip_kit.errors import DataError, MckitError

        try:
            found = content(self.out)
            if self.out.exists():
                with contextlib.suppress(DataError):  # nothing that is checked
                    yield from (str(row.problem) for row in check_path(self.out) if row.problem is not None)
            if found not in (self.old, self.new) and not self.command.grows:
                yield "the output is neither the old nor the new one"
            if code == 0 and found != self.new:
                yield "exit code 0 without the result"
        except MckitError as error:
            yield f"the output cannot be read: {error.message}"


def by_signal(number: int, trials: Trials, draw: random.Random) -> int:
    """A signal at a random moment or before a random write."""
    if draw.random() < 0.5:  # most states lie between two writes
        first = draw.randrange(max(1, trials.writes))
        return ended(
            trials.start(before=lambda: watch_writes(trials.base, first, lambda path: signal.raise_signal(number)))
        )
    process = trials.start()
    time.sleep(draw.random() * trials.seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
    return ended(process)


def full_disk(trials: Trials, draw: random.Random) -> int:
    """Less space than the command needs."""
    size = trials.used_bytes() + int(draw.random() * trials.growth)
    if not trials.is_mounted:
        most = int(draw.random() * trials.growth)
        return ended(trials.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))))
    trials.resize(max(4096, size))
    code = ended(trials.start())
    trials.resize()
    return code


def read_only(trials: Trials, draw: random.Random) -> int:
    """A disk that cannot be written: from the start, or from a random write on."""
    if trials.is_mounted and draw.random() < 0.1:
        trials.resize(options="ro")
        code = ended(trials.start())
        trials.resize()
        return code
    first = draw.randrange(max(1, trials.writes))
    return ended(trials.start(before=lambda: watch_writes(trials.base, first, refuse)))


def refuse(path: str) -> None:
    """As a disk that was mounted anew to be read only."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def watch_writes(place: Path, first: int, act: Callable[[str], object]) -> None:
    """Call ``act`` with the path before each write of this process below a folder, from one on."""
    seen, flags = [0], os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            is_write = bool(set(arguments[1] or "").intersection("wax+")) or bool((arguments[2] or 0) & flags)
        else:
            is_write = event in CHANGES
        if is_write and not isinstance(arguments[0], int) and f"{place}/disk" in os.fsdecode(arguments[0]):
            seen[0] += 1
            if seen[0] > first:
                act(os.fsdecode(arguments[0]))

    sys.addaudithook(hook)


def few_descriptors(trials: Trials, draw: random.Random) -> int:
    """At most 20 more open files than the process has now."""

    def limit() -> None:
        most = max(int(name) for name in os.listdir("/proc/self/fd")) + 1 + draw.randrange(20)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return ended(trials.start(before=limit))


def little_memory(trials: Trials, draw: random.Random) -> int:
    """At most 200 MB more address space than the process has now."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + draw.randrange(200 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return ended(trials.start(before=limit))


def two_at_once(trials: Trials, draw: random.Random) -> int:
    """The same command twice, one a moment after the other."""
    first = trials.start()
    time.sleep(draw.random() * trials.seconds / 2)
    codes = ended(trials.start()), ended(first)
    return min(codes, key=abs)


DISTURBANCES: dict[str, Callable[[Trials, random.Random], int]] = {
    "SIGKILL": partial(by_signal, signal.SIGKILL),
    "SIGTERM": partial(by_signal, signal.SIGTERM),
    "Ctrl-C": partial(by_signal, signal.SIGINT),
    "full disk": full_disk,
    "read-only": read_only,
    "descriptors": few_descriptors,
    "memory": little_memory,
    "two at once": two_at_once,
}


def disturb_command(name: str, seed: int, counts: dict[str, int]) -> dict[str, Any]:
    """Disturb a command as often as ``counts`` says, each time on a fresh copy of what it works on."""
    started, found = time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(prefix="mckit-kill-", ignore_cleanup_errors=True) as base:
        trials = Trials(name, Path(base))
        try:
            for kind, count in counts.items():
                for number in range(count):
                    draw = random.Random(f"{seed}/{name}/{kind}/{number}")
                    found += [f"{number}: {problem}" for problem in trials.disturb(kind, draw)]
        finally:
            if trials.is_mounted:
                subprocess.run(["umount", "-l", Path(base, "disk")], check=True)
    return {"command": name, **counts, "findings": found, "seconds": round(time.monotonic() - started, 1)}


def disturb_all(names: list[str], seed: int, kills: int, *, is_quick: bool) -> Iterator[dict[str, Any]]:
    """Commands of the table, one after the other.

    Args:
        names: Which.
        seed: Of the moments.
        kills: Over all commands of the table.
        is_quick: One disturbance for each command that is not slow, each of another kind.
    """
    for module in MODULES:
        __import__(f"mobileclip_kit.{module}")
    total, kinds = sum(command.share for command in COMMANDS.values()), list(DISTURBANCES)
    for place, (name, command) in enumerate(COMMANDS.items()):
        count = max(1, round(kills * command.share / total))
        counts = {kind: count if kind == "SIGKILL" else max(1, count // 16) for kind in kinds}
        if is_quick:
            counts = {kind: int(place % len(kinds) == number) for number, kind in enumerate(kinds)}
        if name in names and not (is_quick and command.is_slow):
            yield disturb_command(name, seed, counts)
