"""What every command shares: its --json and --force flags, and where results and progress go."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

# All but line feeds and tabs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {
    re.compile(r"^error:|\b(FAILED|DAMAGED)\b|^  no  ", re.MULTILINE): "red",
    re.compile(r"^warning:", re.MULTILINE): "yellow",
    re.compile(r"\bpassed$|^  ok  ", re.MULTILINE): "green",
}

_PARTS_SHOWN = 8

Command = TypeVar("Command", bound=Callable[..., Any])


class LocalPath(click.Path):
    """A file or folder on this machine; a URL, whose two slashes would not survive a path, is refused as it is."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse URLs."""
        if "://" in str(value):
            self.fail(f"{value} is a URL; here a file or folder on this machine is meant.", param, ctx)
        return super().convert(value, param, ctx)


class NumberRange(click.FloatRange):
    """A range of numbers. "nan" is none, and lies neither below nor above its ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse it like any number beyond the range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """A range of whole numbers; what lies outside of it, and what is no number, get the same sentence."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Refuse everything else with the range in words."""
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            ends = f" from {self.min} " + ("on" if self.max is None else f"to {self.max}")
            self.fail(f"{value!r} is not a whole number{ends}.", param, ctx)
        return number


def json_option(command: Command) -> Command:
    """Add ``--json`` as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def force_option(command: Command) -> Command:
    """Add ``--force``."""
    return click.option("--force", is_flag=True, help="Replace an output that exists already.")(command)


def emit(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result: ``document`` as JSON, or ``text`` for a person."""
    if as_json:
        click.echo(printable(json.dumps(document, ensure_ascii=False, allow_nan=False)))
    else:
        click.echo(paint(printable(text)))


def paint(text: str, *, err: bool = False) -> str:
    """The text with colours, where its stream is a terminal and neither ``NO_COLOR`` nor ``TERM=dumb`` forbids them."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    for pattern, colour in _COLOURS.items():
        text = pattern.sub(partial(_coloured, colour), text)
    return text


def _coloured(colour: str, found: re.Match[str]) -> str:
    return click.style(found[0], fg=colour)


def printable(text: str) -> str:
    r"""The text with what a terminal would obey or not show escaped as in JSON: ``\u001b``.

    These are control characters, marks that turn the direction of writing, and bytes of file names that are not UTF-8.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def note(message: str) -> None:
    """Say something to the person at the terminal without touching stdout."""
    click.echo(paint(printable(message), err=True), err=True)


def note_missing(out: Path, missing: Sequence[str]) -> None:
    """Say which parts ``i/n`` a merged output lacks."""
    if missing:
        more = f" and {len(missing) - _PARTS_SHOWN} more" if len(missing) > _PARTS_SHOWN else ""
        note(f"warning: {out} lacks these parts: {', '.join(missing[:_PARTS_SHOWN])}{more}.")


@contextlib.contextmanager
def resumable(model: Path) -> Iterator[None]:
    """After Ctrl-C, say that the run of ``model`` goes on with --resume, if anything of it lies on disk."""
    try:
        yield
    except KeyboardInterrupt as stop:
        run = model.with_name(f"{model.name}.run")
        if not run.exists():
            raise
        raise KeyboardInterrupt(f"{run} keeps what was done: add --resume to go on.") from stop


def format_table(header: list[str], rows: list[list[str]]) -> str:
    """Columns under a header, the first one left-aligned and the others right-aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, ["─" * width for width in widths], *rows]:
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def is_explicit(name: str) -> bool:
    """Whether the command line names an option of the running command, which may be its default all the same."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
