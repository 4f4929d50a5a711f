"""Where the Swift package meets the Python tests: a program that the package builds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

_BUILT = Path(__file__).parent.parent / "ios_demo" / "MobileCLIPKit" / ".build"
PROGRAMS = [path for kind in ("debug", "release") if (path := _BUILT / kind / "mckit-bench").is_file()]
needs_swift = pytest.mark.skipif(not PROGRAMS, reason="the Swift package has not been built")


def ask_swift(*arguments: str | Path, **options: Any) -> dict[str, Any]:
    """Run ``mckit-bench`` and read the document that it prints."""
    done = subprocess.run([PROGRAMS[0], *arguments], capture_output=True, text=True, check=True, **options)
    document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return document


def swift_refusal(*arguments: str | Path, **options: Any) -> str:
    """Run ``mckit-bench`` on something bad: it must fail with one line on stderr, which is returned."""
    done = subprocess.run([PROGRAMS[0], *arguments], capture_output=True, text=True, check=False, **options)
    assert (done.returncode, done.stdout) == (1, ""), done
    [line] = done.stderr.splitlines()
    return line
