"""Writes a page for each command from its ``--help``: ``python docs/make_commands.py``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from mobileclip_kit import extras
from mobileclip_kit.cli.entry import COMMANDS, mckit

FOLDER = Path(__file__).parent / "commands"
README = Path(__file__).parents[1] / "README.md"
# The README's table of commands names the page that explains a command.
_GUIDE = re.compile(r"^\| `mckit (\w+)` \|.*\[docs\]\(docs/([^)]+)\)", re.MULTILINE)
_EXAMPLES = re.compile(r"^Examples?:\n", re.MULTILINE)


def render_pages() -> dict[str, str]:
    """File name → text, for all commands."""
    parent = click.Context(mckit, info_name="mckit")
    return {f"{name}.md": _page(name, parent) for name in COMMANDS}


def write_pages() -> None:
    """Write the pages, and remove those of commands that are gone."""
    FOLDER.mkdir(exist_ok=True)
    pages = render_pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _page(name: str, parent: click.Context) -> str:
    command = mckit.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    parts = [f"# mckit {name}", "<!-- Made from the command's help by docs/make_commands.py. -->"]
    notes = [f"*Needs the extra `[{','.join(needed)}]`.*"] if (needed := extras.COMMANDS.get(name)) else []
    if guide := dict(_GUIDE.findall(README.read_text(encoding="utf-8"))).get(name):
        notes.append(f"[Guide](../{guide})")
    if notes:
        parts.append(" ".join(notes))
    parts += _described(command, context)
    if isinstance(command, click.Group):
        for each, subcommand in command.commands.items():
            parts.append(f"## mckit {name} {each}")
            parts += _described(subcommand, click.Context(subcommand, info_name=each, parent=context))
    return "\n\n".join(parts) + "\n"


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    prose, examples, others = _split(inspect.cleandoc(command.help or ""))
    yield prose
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    if examples:
        yield f"**Examples**\n\n```sh\n{examples}\n```"
    if others:
        yield f"```text\n{others}\n```"
    options = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    # The range stands behind the sentence.
    shown = [(names.replace(" RANGE", ""), help.replace("*", r"\*")) for names, help in filter(None, options)]
    rows = [f"- `{names}`: {help}" for names, help in shown]
    if rows:
        yield "**Options**\n\n" + "\n".join(rows)


def _split(help: str) -> tuple[str, str, str]:
    """The sentences of a help text, its examples, and the rest of what click keeps as it is."""
    prose, *kept = help.split("\b\n")
    examples, _, others = "".join(kept).partition("\n\n")
    return prose.strip(), textwrap.dedent(_EXAMPLES.sub("", examples)).strip(), others.strip()


if __name__ == "__main__":
    write_pages()
