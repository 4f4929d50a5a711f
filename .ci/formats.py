"""Export, execute and refuse in the formats of the extras coreai and litert, in an environment over this one.

    .venv/bin/python .ci/formats.py install
    .venv/bin/python .ci/formats.py test

The packages of both extras are installed alone, from ``formats.txt``, into ``.venv-formats``, which sees everything of
the environment that runs this script: a second torch would take minutes. Their tests run there without a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-formats"
TESTS = tuple(f"tests/exporting/test_{name}.py" for name in ("coreai", "litert", "weight_bits"))


def install() -> None:
    """Make the environment anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    venv.create(PLACE, with_pip=False)
    python = PLACE / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--no-deps")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options]
    subprocess.run([*pip, "-r", Path(__file__).with_name("formats.txt")], check=True)
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    other = sysconfig.get_path("purelib")
    Path(own, "development.pth").write_text(f"import site; site.addsitedir({other!r})\n", encoding="utf-8")


def test() -> None:
    """Run the tests of both formats; a skipped module fails."""
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [PLACE / "bin" / "python", "-m", "pytest", "-n", "2", "-rs", *TESTS]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **one_thread}, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode or "SKIPPED" in done.stdout:
        raise SystemExit("The formats of the extras coreai and litert do not work.")


if __name__ == "__main__":
    {"install": install, "test": test}[sys.argv[1]]()
