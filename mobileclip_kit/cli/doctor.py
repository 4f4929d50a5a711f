"""``mckit doctor``."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

import click

from mobileclip_kit.cli.output import emit, json_option


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> None:
    """Say what is installed, which runtimes work, and what is missing for which command.

    Nothing is downloaded or changed.

    \b
    Examples:
      mckit doctor
      mckit doctor --json
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.doctor import Diagnosis, Finding, examine

    def mark(finding: Finding) -> str:
        return "ok" if finding.works else "no"

    def lines(found: Diagnosis) -> list[str]:
        there = [each.name for each in found.extras if each.works]
        missing = [f"{each.name} ({each.detail})" for each in found.extras if not each.works]
        unusable = [each for each in found.commands if not each.works]
        # No line break between a name and its version.
        versions = ", ".join(f"{name}\xa0{version}" for name, version in found.versions.items())
        return [
            f"mckit {found.mckit}, Python {found.python}, {found.system}",
            *(line.replace("\xa0", " ") for line in textwrap.wrap(versions, 100, break_on_hyphens=False)),
            "",
            "runtimes",
            *(f"  {mark(each)}  {each.name:7} {each.detail}" for each in found.runtimes),
            "",
            f"extras: {', '.join(there) or 'none'}",
            *(f"  no  {each}" for each in missing),
            f"images: {' '.join(found.image_suffixes)}",
            "",
            *(f"mckit {each.name} needs: {each.detail}" for each in unusable),
            *([] if unusable else ["Every command can be used."]),
        ]

    found = examine()
    emit(asdict(found), "\n".join(lines(found)), as_json=as_json)
