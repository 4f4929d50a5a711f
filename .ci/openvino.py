"""Run OpenVINO's provider for real: ONNX Runtime's package with it takes the place of the plain one for one test.

    .venv/bin/python .ci/openvino.py install
    .venv/bin/python .ci/openvino.py test

The two packages have the same modules, so this one lies in a folder of its own that comes first on the path. Where it
cannot be installed, the test is left out, and a line says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-openvino"
PACKAGE = "onnxruntime-openvino==1.24.1"  # OpenVINO is in it
# pytest fails if there is no such test: it exists where the installed ONNX Runtime has the provider.
TEST = "tests/runtime/test_providers.py::test_every_installed_device_gives_the_vectors_of_the_cpu[openvino]"


def install() -> None:
    """Make the folder anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--target", PLACE)
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, PACKAGE], check=False)
    if done.returncode:
        shutil.rmtree(PLACE, ignore_errors=True)


def test() -> None:
    """Run the test, if the package is there."""
    if not PLACE.is_dir():
        print(f"{PACKAGE} could not be installed: OpenVINO's provider is NOT tested.", flush=True)
        return
    environment = {**os.environ, "PYTHONPATH": str(PLACE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-n", "0", TEST]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        raise SystemExit("OpenVINO's provider does not work.")


if __name__ == "__main__":
    {"install": install, "test": test}[sys.argv[1]]()
