"""Which licences do mckit's dependencies have? Lists those that are installed, with version and licence.

python benchmarks/licences.py
"""

from __future__ import annotations

import re
from importlib import metadata

from harness import parse


def main() -> None:
    """Print one line for each package."""
    parse()
    waiting, seen = ["mobileclip-kit"], set[str]()
    while waiting:
        name = re.split(r"[^\w.-]", waiting.pop())[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        print(f"{name:28} {package.version:14} {licence_of(package)}")
        waiting += package.requires or ()


def licence_of(package: metadata.Distribution) -> str:
    """The licence expression, the classifiers, or the first line of the licence field."""
    told = package.metadata
    classes = [each for each in told.get_all("Classifier") or () if each.startswith("License")]
    named = ", ".join(each.rpartition(" :: ")[2] for each in classes)
    lines = (told.get("License-Expression") or named or told.get("License") or "not stated").splitlines()
    return lines[0][:80] if lines else "not stated"


if __name__ == "__main__":
    main()
