"""Code run in a process in which some packages cannot be imported, as if they were not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_HIDE = """
import importlib.machinery, sys
hidden = {hidden!r}
class Hide:
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else importlib.machinery.PathFinder.find_spec(name, path, target)
sys.meta_path = [Hide() if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
sys.path.insert(0, {root!r})
"""


def run_without(packages: Iterable[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where ``packages`` are neither found nor imported."""
    hide = _HIDE.format(hidden=set(packages), root=str(_ROOT))
    return subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True, check=False)
