"""Does the search page hold under load? Many clients, slow ones, half-sent uploads and an index that is updated.

    python benchmarks/page_load.py PHOTOS MODEL [--clients 64] [--minutes 5] [--bodies 64]

Indexes half of PHOTOS and starts ``mckit serve`` in a process of its own. Each client has one connection and sends, one
after the other, searches, thumbnails and, each fiftieth time, an upload. Beside them the other half of the photos is
indexed, 16 connections send a byte each second, and 16 uploads stop half-way. At the end as many clients send bodies of
64 MiB at once. Writes ``results/page-load.json``: requests, errors, percentiles of the time to the last byte, and the
server's memory over time; the exit code is 1 after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness import RESULTS, parse, write

WORDS = ("a red car", "two dogs on a beach", "snow", "people at a table -food", "a house by a lake +evening:2")
BODY_BYTES, SLOW, HALF = 64 << 20, 16, 16


class Load:
    """The clients of one server.

    Args:
        address: Host and port.
        ids: Of images, for thumbnails.
        upload: An image file.
    """

    def __init__(self, address: tuple[str, int], upload: bytes) -> None:
        self.address, self.upload, self.ids = address, upload, list[str]()
        self.times: dict[str, list[float]] = {"search": [], "thumbnail": [], "upload": []}
        self.errors = Counter[str]()
        self.memory_mb: list[float] = []

    def request(self, kind: str, draw: random.Random) -> bytes:
        """The bytes of a request."""
        if kind == "thumbnail":
            return self.head("GET", f"/thumbnails/{draw.choice(self.ids)}", "", 0)
        if kind == "upload":
            return self.head("POST", "/api/images", "image/jpeg", len(self.upload)) + self.upload
        body = json.dumps({"words": draw.choice(WORDS), "count": 20}).encode()
        return self.head("POST", "/api/search", "application/json", len(body)) + body

    def head(self, method: str, path: str, kind: str, size: int) -> bytes:
        """A request's head."""
        content = f"Content-Type: {kind}\r\nContent-Length: {size}\r\n" if kind else ""
        return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{content}\r\n".encode()

    async def ask(self, kind: str, data: bytes, link: tuple[Any, Any] | None) -> tuple[tuple[Any, Any] | None, bytes]:
        """Send a request; the connection, if it can be used again, and the body."""
        begun = time.monotonic()
        reader, writer = link or await asyncio.open_connection(*self.address)
        writer.write(data)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        self.times.setdefault(kind, []).append(1000 * (time.monotonic() - begun))
        if head.split()[1] != "200":
            self.errors[f"{kind}: {head.split()[1]} {body[:120]!r}"] += 1
        if "connection: close" in head.lower():
            writer.close()
            return None, body
        return (reader, writer), body

    async def client(self, number: int, end: float) -> None:
        """Ask until the end."""
        draw, link, count = random.Random(number), None, 0
        while time.monotonic() < end:
            count += 1
            kind = "upload" if count % 50 == 0 else draw.choice(("search", "thumbnail", "thumbnail"))
            try:
                link, _ = await asyncio.wait_for(self.ask(kind, self.request(kind, draw), link), 60)
            except (TimeoutError, OSError, EOFError) as error:
                self.errors[f"{kind}: {type(error).__name__}"] += 1
                link = None

    async def slow(self, data: bytes, end: float, *, bytes_each_second: int) -> None:
        """Send a request slowly, or half of it and no more."""
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(*self.address)
                writer.write(data[: len(data) // 2])
                for place in range(len(data) // 2, len(data), max(1, bytes_each_second)):
                    await asyncio.sleep(1)
                    writer.write(data[place : place + bytes_each_second])
                    await writer.drain()
                    if time.monotonic() > end:
                        break
                writer.close()
            await asyncio.sleep(1)

    async def big(self) -> str:
        """Send a body of 64 MiB; the status of the answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(self.head("POST", "/api/images", "image/jpeg", BODY_BYTES))
        with contextlib.suppress(OSError):
            for _ in range(64):
                writer.write(bytes(1 << 20))
                await writer.drain()
        try:
            return (await reader.readline()).decode().split()[1]
        except (OSError, IndexError) as error:
            return type(error).__name__

    async def watch(self, process: int, end: float, memory_mb: list[float]) -> None:
        """The server's memory, each second."""
        while time.monotonic() < end:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            memory_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            await asyncio.sleep(1)


def started(arguments: list[object]) -> tuple[subprocess.Popen[str], tuple[str, int]]:
    """``mckit serve``, and where it listens."""
    process = subprocess.Popen([sys.executable, "-m", "mobileclip_kit", "serve", *map(str, arguments), "--port", "0"],
                               stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://([\d.]+):(\d+)", line):
            return process, (found[1], int(found[2]))
    raise SystemExit("mckit serve did not start")


async def loaded(load: Load, process: int, chosen: Any, update: list[object]) -> dict[str, Any]:
    """Run all clients; what the 64 MiB bodies were answered with, and what memory they took."""
    _, body = await load.ask("first", load.request("search", random.Random(0)), None)
    load.ids = [hit["id"] for hit in json.loads(body)["hits"]]
    end = time.monotonic() + 60 * chosen.minutes
    search = load.request("search", random.Random(0))
    upload = load.request("upload", random.Random(0))
    updating = await asyncio.create_subprocess_exec(sys.executable, "-m", "mobileclip_kit", *map(str, update),
                                                    stderr=asyncio.subprocess.DEVNULL,
                                                    stdout=asyncio.subprocess.DEVNULL)  # fmt: skip
    await asyncio.gather(
        load.watch(process, end, load.memory_mb),
        *(load.client(number, end) for number in range(chosen.clients)),
        *(load.slow(search, end, bytes_each_second=1) for _ in range(SLOW)),
        *(load.slow(upload, end, bytes_each_second=0) for _ in range(HALF)),
    )
    updated = await updating.wait()
    during = list[float]()
    bodies = asyncio.gather(*(load.big() for _ in range(chosen.bodies)))
    watching = asyncio.create_task(load.watch(process, time.monotonic() + 600, during))
    answers = Counter(await bodies)
    watching.cancel()
    return {
        "sent": chosen.bodies,
        "update": updated,
        "answers": dict(answers),
        "before_mb": round(load.memory_mb[-1]),
        "peak_mb": round(max(during)),
    }


def main() -> None:
    """Index, serve, load, write."""
    chosen = parse("photos", "model", clients=64, minutes=5.0, bodies=64, out=RESULTS / "page-load.json")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = sorted(path for path in chosen.photos.rglob("*") if path.suffix in (".jpg", ".png"))
        (folder / "photos").mkdir()
        update = ["index", folder / "photos", "--model", chosen.model, "-o", folder / "index"]
        for number, path in enumerate(files):
            if number == len(files) // 2:
                subprocess.run([sys.executable, "-m", "mobileclip_kit", *map(str, update)], check=True)
            shutil.copy(path, folder / "photos" / f"{number:05d}{path.suffix}")
        process, address = started([folder / "index", "--thumbnails", folder / "thumbnails"])
        load = Load(address, files[0].read_bytes())
        try:
            bodies = asyncio.run(loaded(load, process.pid, chosen, update))
        finally:
            process.terminate()
            process.wait()
    memory = load.memory_mb
    fifth = max(1, len(memory) // 5)
    times = {kind: sorted(values) for kind, values in load.times.items() if len(values) > 1}
    document = {
        "claim": "The page answers many clients without errors while the index grows, in bounded memory.",
        "photos": len(files), "clients": chosen.clients, "minutes": chosen.minutes,
        "slow clients": SLOW, "half-sent uploads": HALF,
        "errors": dict(load.errors),
        "requests": {kind: {"count": len(values), "p50_ms": round(values[len(values) // 2], 1),
                            "p99_ms": round(values[int(0.99 * len(values))], 1)} for kind, values in times.items()},
        "memory_mb": {"first fifth": round(max(memory[:fifth])), "second fifth": round(max(memory[fifth : 2 * fifth])),
                      "last fifth": round(max(memory[-fifth:]))},
        "bodies of 64 MiB": bodies,
    }  # fmt: skip
    write(chosen.out, document)
    print(json.dumps(document, indent=1))
    sys.exit(1 if load.errors or bodies["update"] else 0)


if __name__ == "__main__":
    main()
