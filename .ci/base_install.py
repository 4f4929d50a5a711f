"""Install the base package into an environment of its own and run there what must work without any extra.

    .venv/bin/python .ci/base_install.py

The development environment exports a small model first, and builds the wheel. Then ``.venv-base`` is made anew and the
wheel is installed into it; its size and the time of the installation are printed. Fails when a package of an extra can
be imported there, when the environment is larger than SIZE_LIMIT_MB, when a base command fails, or when another one
does not name its extra.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from check_wheel import build_wheel

from mobileclip_kit import extras

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-base"
FIXTURES = ROOT / "tests" / "golden"
PHOTOS = FIXTURES / "first-version" / "photos"
SIZE_LIMIT_MB = 350


def main() -> None:
    """Make what the commands need, install, check."""
    with tempfile.TemporaryDirectory(prefix="mckit-base-") as folder:
        work = Path(folder)
        model = FIXTURES / "first-version" / "model"
        for format in ("onnx", "coreml"):
            call(sys.executable, "-m", "mobileclip_kit", "export", model, "--format", format, "-o", work / format)
        install(build_wheel(work / "wheel"))
        check_environment()
        check_commands(work)
        check_refusals(work)


def install(wheel: Path) -> None:
    """Make the environment anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    started = time.monotonic()
    call(sys.executable, "-m", "venv", PLACE)
    call(PLACE / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    size_mb = sum(path.lstat().st_size for path in PLACE.rglob("*") if not path.is_symlink()) / 1e6
    print(f"base installation: {size_mb:.0f} MB in {time.monotonic() - started:.0f} s", flush=True)
    if size_mb > SIZE_LIMIT_MB:
        raise SystemExit(f"The base installation takes {size_mb:.0f} MB; {SIZE_LIMIT_MB} MB are allowed.")


def check_environment() -> None:
    """Nothing of an extra is there, and what is there fits together."""
    call(PLACE / "bin" / "pip", "check", "--disable-pip-version-check")
    hidden = sorted({name for packages in extras.EXTRAS.values() for name in packages})
    code = f"import importlib.util; print(*[name for name in {hidden!r} if importlib.util.find_spec(name)])"
    # -P: a folder of such a name in the current folder is no package.
    found = call(PLACE / "bin" / "python", "-P", "-c", code).split()
    if found:
        raise SystemExit(f"The base installation brings {', '.join(found)}, which belong to extras.")


def check_commands(work: Path) -> None:
    """The commands of the base, one after the other, on an ONNX export."""
    index, export = work / "photos.index", work / "onnx"
    expect(mckit("index", PHOTOS, "--model", export, "-o", index)["items"], 4)
    parts = [work / f"part{number}.index" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        mckit("index", PHOTOS, "--model", export, "--shard", f"{number}/2", "-o", part)
    expect(mckit("merge", *parts, "-o", work / "merged.index")["items"], 4)
    expect(len(mckit("search", index, "a red star", "-k", "3")["results"][0]["hits"]), 3)
    found = mckit("search", work / "merged.index", "--image", PHOTOS / "red.png", "--model", export, "-k", "1")
    expect(found["results"][0]["hits"][0]["item"], "red.png")
    expect(mckit("dump", index, "--format", "npy", "-o", work / "dump")["items"], 4)
    call(PLACE / "bin" / "mckit", "doctor")
    expect(call(PLACE / "bin" / "mckit", "--version").startswith("mckit "), True)
    for path, kind in ((export, "export"), (index, "index"), (PHOTOS, "folder of images")):
        expect(mckit("inspect", path)["kind"], kind)
    mckit("bundle", work / "coreml", "--index", index, "-o", work / "bundle")
    for bundle in (work / "bundle", FIXTURES / "bundle"):
        mckit("bundle", "--check", bundle)
    check_server(index)


def check_server(index: Path) -> None:
    """The search page answers a query."""
    command = [
        PLACE / "bin" / "mckit",
        "serve",
        index,
        "--port",
        "0",
        "--json",
        "--thumbnails",
        index.parent / "thumbs",
    ]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=index.parent) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            with urllib.request.urlopen(url, timeout=60) as page:
                expect(b"<html" in page.read(), True)
            asked = urllib.parse.urljoin(url, "/api/search")
            body = json.dumps({"words": "a red star"}).encode()
            request = urllib.request.Request(asked, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                expect(answer.status, 200)
        finally:
            server.terminate()


def check_refusals(work: Path) -> None:
    """Every other command names its extra: one sentence, exit code 2, less than a second of processor time."""
    for command, needed in extras.COMMANDS.items():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([str(PLACE / "bin" / "mckit"), command], capture_output=True, text=True, cwd=work)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        expect(done.stderr, f"error: {extras.missing_extra(f'mckit {command}', *needed).message}\n")
        expect(done.returncode, 2)
        expect(seconds < 1, True)
        print(f"{seconds:.2f} s  {done.stderr}", end="", flush=True)
    model = FIXTURES / "first-version" / "model"
    arguments = ["index", str(PHOTOS), "--model", str(model), "-o", str(work / "torch.index")]
    done = subprocess.run([str(PLACE / "bin" / "mckit"), *arguments], capture_output=True, text=True, cwd=work)
    expect((done.returncode, ".[train]" in done.stderr), (2, True))


def mckit(*arguments: str | Path) -> dict[str, object]:
    """Run one command of the base environment; its document."""
    started = time.monotonic()
    document: dict[str, object] = json.loads(call(PLACE / "bin" / "mckit", *arguments, "--json"))
    print(f"{time.monotonic() - started:.2f} s  mckit {arguments[0]}", flush=True)
    return document


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; its standard output. A failure ends this script with the program's own words."""
    words = [str(word) for word in command]
    # Outside of the repository, so that the installed package is imported.
    place = cwd or Path(tempfile.gettempdir())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if words[0] == sys.executable:
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, cwd=place, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with exit code {done.returncode}: {done.stdout}")
    return done.stdout


def expect(found: object, wanted: object) -> None:
    """End this script unless two values are equal."""
    if found != wanted:
        raise SystemExit(f"Expected {wanted!r}, found {found!r}.")


if __name__ == "__main__":
    main()
