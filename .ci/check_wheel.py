"""Build the wheel and look inside: its size, the recipes and the bundled teacher, and what it must not contain.

.ci/base_install.py installs the wheel that :func:`build_wheel` returns.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT_MB = 20
WANTED = (
    "mobileclip_kit/py.typed",
    "mobileclip_kit/_models/recipes/mckit.toml",
    "mobileclip_kit/_models/students/vit-s6-h12.json",
    "mobileclip_kit/_models/scenes-teacher/open_clip_model.safetensors",
    "mobileclip_kit/web/static/index.html",
)


def build_wheel(out: Path) -> Path:
    """The wheel, in a folder; ends the script if something is wrong with it."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "-w", str(out), "."], cwd=ROOT, check=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in WANTED if name not in names]
    foreign = sorted(name for name in names if not name.startswith("mobileclip_kit") or name.endswith((".pyc", ".png")))
    size_mb = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size_mb:.1f} MB, {len(names)} files", flush=True)
    if missing or size_mb > LIMIT_MB:
        raise SystemExit(f"The wheel has {size_mb:.1f} MB of {LIMIT_MB} allowed, and lacks {missing or 'nothing'}.")
    if foreign:
        raise SystemExit(f"The wheel has files that do not belong into it: {foreign}.")
    return wheel
