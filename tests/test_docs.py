"""The commands of the documentation run as they are printed, and its generated pages are up to date.

A block of shell commands is run here, in a folder that has what earlier steps would have made: ``student-onnx-fp32``,
``student-onnx-int8``, ``student-coreml-fp16``, ``photos.index``, ``textness.json`` and photos. Or a comment before it
says why not: ``<!-- needs the network -->``, ``<!-- needs a cluster -->``, or ``<!-- run by FILE -->`` for a test that
runs such commands on data of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cli.entry import COMMANDS, main, mckit
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.search.models import open_model
from tests.indexing.fakes import draw_many
from tests.test_pages import PAGES, ROOT

GOLDEN = ROOT / "tests" / "golden" / "first-version"
_BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```sh\n(.*?)```", re.DOTALL)
# Of the README, run by .ci/run.
_LINES_OF_CI = ("run-line", "test-line")
_REASONS = ("needs the network", "needs a cluster")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(block: str) -> list[list[str]]:
    """The words of each command of a block, without comments."""
    lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The comment before each block of shell commands, and the block."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


GENERATED = sorted((ROOT / "docs" / "commands").glob("*.md"))
WRITTEN = [page for page in PAGES if page not in GENERATED and blocks(page)]


def test_the_pages_of_the_commands_say_what_help_says() -> None:
    """Run `python docs/make_commands.py` after a change of options."""
    pages = load("make_commands").render_pages()
    assert {path.name: path.read_text(encoding="utf-8") for path in GENERATED} == pages
    assert len(pages) == len(COMMANDS)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_commands_is_run_or_says_why_not(page: Path) -> None:
    for comment, block in blocks(page):
        if comment in (*_LINES_OF_CI, *_REASONS):
            continue
        if comment.startswith("run by "):
            files = [ROOT / name for name in comment.removeprefix("run by ").split(", ")]
            text = "".join(file.read_text(encoding="utf-8") for file in files)
            for name in {words[1] for words in commands(block) if words[0] == "mckit"}:
                assert f'"{name}"' in text or f"mckit {name}" in text, f"{comment}: mckit {name} is not among it"
        else:
            assert not comment, f"{page.name}: {comment!r} is no reason"
            assert all(words[0] == "mckit" for words in commands(block)), f"{page.name}: {block}"


@pytest.mark.parametrize("page", [*GENERATED, *WRITTEN], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_has_options_that_exist(page: Path) -> None:
    for _, block in blocks(page):
        for words in commands(block):
            if words[0] != "mckit" or "…" in words:
                continue
            parse(words[1:], in_project="mckit init" in page.read_text(encoding="utf-8"))


def parse(words: list[str], *, in_project: bool) -> None:
    """Read a command's arguments as click does; in a project, mckit.toml gives what is missing."""
    if words == ["--version"]:
        return
    with click.Context(mckit, info_name="mckit") as context:
        name, command, rest = mckit.resolve_command(context, words)
        if isinstance(command, click.Group) and rest and rest[0] in command.commands:
            name, command, rest = command.resolve_command(context, rest)
        assert command is not None
        with contextlib.suppress(*([click.MissingParameter] if in_project else [])):
            command.make_context(name, list(rest), parent=context)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps of the documentation leave behind."""
    home = tmp_path_factory.mktemp("home")
    draw_many(home / "Photos", 24)
    (home / "Photos" / "holidays").mkdir()
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(home / "Photos" / "holidays" / "harbour.jpg")
    for name in ("onnx-fp32", "onnx-int8", "coreml-fp16"):
        shutil.copytree(GOLDEN / name, home / f"student-{name}")
    shutil.copytree(GOLDEN / "model", home / "student")
    shutil.copy(GOLDEN / "textness.json", home / "textness.json")
    update_index(home / "Photos", open_model(home / "student-onnx-fp32"), home / "photos.index", IndexOptions())
    for part in range(2, 5):  # of the other machines
        options = IndexOptions(shard=f"{part}/4")
        update_index(home / "Photos", open_model(home / "student-onnx-fp32"), home / f"part{part}.index", options)
    return home


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run(
    page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [words for comment, block in blocks(page) if not comment for words in commands(block)]
    if not found:
        pytest.skip("its commands are run elsewhere")
    shutil.copytree(prepared, tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    for words in found:
        if words[1] == "serve":  # it would not end; tests/cli/test_serve.py runs it
            continue
        arguments = [os.path.expanduser(re.sub("^/photos$", "~/Photos", word)) for word in words[1:]]
        _remove_output(arguments)
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


def _remove_output(arguments: list[str]) -> None:
    """Make place for what a command writes; an index is brought up to date."""
    if "-o" in arguments and arguments[0] != "index":
        out = Path(arguments[arguments.index("-o") + 1])
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)


def test_the_site_has_every_page() -> None:
    """`mkdocs build --strict` reports pages that are not listed as information only."""
    listed = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "docs" / "site" / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert there <= listed
    assert all((ROOT / name).is_file() or (ROOT / "docs" / name).is_file() for name in listed)
