"""Does mckit survive damaged files, kills and full disks? Mutations of every input, disturbances of every command.

    python benchmarks/robustness.py [--seed 1] [--inputs 100000] [--kills 200] [--quick] [--resume] [--minutes M]

Each reader of ``damaged_inputs.py`` is given mutations of a valid input: flipped bits, cuts, splices, extreme numbers,
nesting. The n-th mutation follows from seed, reader and n. Child processes with a memory limit of 2 GB read them. A
finding is a crash, more than 5 s of processor time or 10 s, an error that is not one of mckit's, or, for a reader of
checksummed files, another result than that of the valid input. Each command of ``disturbed_commands.py`` is killed at
random moments, and a sixteenth as often interrupted, given a full disk, a disk that becomes read-only, few descriptors,
little memory, or a second process that does the same; afterwards its output is the old one or the new one, and another
run gives the same as an undisturbed one and leaves nothing behind.

The quick part has 1 % of the inputs and one disturbance for each command that takes less than a second. Writes
``results/robustness.json`` after each reader and command; ``--minutes`` ends in between with exit code 3, and
``--resume`` does what the file does not hold yet. The exit code is 1 after a finding.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from damaged_inputs import READERS, ROOT, usable, work
from disturbed_commands import COMMANDS, DISTURBANCES, disturb_all
from harness import RESULTS, parse, write


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


class Record:
    """What was done, in a file that is written after each reader and command.

    Args:
        path: The file.
        asked: Seed and counts.
        resume: Go on with what the file holds.
    """

    def __init__(self, path: Path, asked: dict[str, Any], *, resume: bool) -> None:
        self.path, self.asked = path, asked
        self.readers, self.commands = dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()
        if resume and path.exists():
            document = json.loads(path.read_text())
            if document.get("asked") == asked:
                self.readers = {each["reader"]: each for each in document["readers"]}
                self.commands = {each["command"]: each for each in document["commands"]}

    def add(self, result: dict[str, Any]) -> None:
        """Print and write the result of a reader or a command."""
        name = result.get("reader") or result["command"]
        (self.readers if "reader" in result else self.commands)[name] = result
        count = result.get("inputs") or sum(result[kind] for kind in DISTURBANCES)
        print(f"{name:22} {count:7,}  {len(result['findings'])} findings  {result['seconds']} s", flush=True)
        for finding in result["findings"][:5]:
            print(f"    {finding}", flush=True)
        self.write()

    def write(self) -> dict[str, Any]:
        """Write the file."""
        document = {
            "claim": "No damaged input crashes a reader or gives a wrong result; a kill loses nothing.",
            "asked": self.asked,
            "inputs": sum(each["inputs"] for each in self.readers.values()),
            **{kind: sum(each[kind] for each in self.commands.values()) for kind in DISTURBANCES},
            "findings": sum(len(each["findings"]) for each in (*self.readers.values(), *self.commands.values())),
            "readers": list(self.readers.values()),
            "commands": list(self.commands.values()),
        }
        write(self.path, document)
        return document


def results(record: Record, only: list[str]) -> Iterator[dict[str, Any]]:
    """The results of what the record does not hold: first the commands, which are forked."""
    seed, inputs, kills, is_quick = (record.asked[key] for key in ("seed", "inputs", "kills", "quick"))
    names = [name for name in COMMANDS if name not in record.commands and (not only or name in only)]
    if kills:
        yield from disturb_all(names, seed, kills, is_quick=is_quick)
    readers = {name: reader for name, reader in usable().items() if not only or name in only}
    total = sum(reader.share for reader in READERS.values())
    counts = {name: max(20, round(inputs * reader.share / total)) for name, reader in readers.items()
              if inputs and name not in record.readers}  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(fuzz, name, seed, count) for name, count in counts.items()]
        try:
            for done in running:
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> None:
    """Fuzz, disturb, write, print."""
    chosen = parse(seed=1, inputs=100_000, kills=200, quick=False, resume=False, minutes=1e6, only=("",), work="",
                   first=0, place=None, out=RESULTS / "robustness.json")  # fmt: skip
    if chosen.work:
        work(chosen.work, chosen.seed, chosen.first, chosen.inputs, chosen.place)
    asked = {"seed": chosen.seed, "inputs": chosen.inputs // (100 if chosen.quick else 1), "kills": chosen.kills,
             "quick": chosen.quick}  # fmt: skip
    record, begun = Record(chosen.out, asked, resume=chosen.resume), time.monotonic()
    todo = results(record, [name for name in chosen.only if name])
    for result in todo:
        record.add(result)
        if time.monotonic() - begun > 60 * chosen.minutes:
            todo.close()
            sys.exit(3)
    document = record.write()
    print(", ".join(f"{document[key]:,} {key}" for key in ("inputs", *DISTURBANCES, "findings")))
    sys.exit(1 if document["findings"] else 0)


if __name__ == "__main__":
    main()
