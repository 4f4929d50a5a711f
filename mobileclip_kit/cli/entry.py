"""``mckit`` itself: the table of commands, and the edge where errors become sentences and exit codes."""

from __future__ import annotations

import difflib
import errno
import gc
import importlib
import json
import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from mobileclip_kit import __version__, extras
from mobileclip_kit.cli.openmp import LONG, settle_waiting
from mobileclip_kit.cli.output import paint, printable
from mobileclip_kit.errors import DataError, MckitError, MissingExtraError, OutputError, UsageError
from mobileclip_kit.progress import Waiting
from mobileclip_kit.project import Project, find_project

# New objects after which garbage is looked for. Python's 700 are reached thousands of times while a command begins.
_OBJECTS = 50_000
# Name → its one-line help. The module is mobileclip_kit.cli.<name>, the command in it is called `command`.
COMMANDS = {
    "quickstart": "Run the whole pipeline once on synthetic scenes, offline, in minutes.",
    "init": "Write a mckit.toml: the defaults of every command in this folder.",
    "scenes": "Draw the synthetic scenes: images with captions and exact truth.",
    "train": "Train a small model from image-caption pairs, without a teacher.",
    "cache": "Run a teacher once over images and keep its vectors.",
    "distill": "Distil a teacher into a small student.",
    "export": "Export a model for a phone's runtime, verified numerically.",
    "verify": "Compare an export with its model on real images.",
    "index": "Build an index of a folder of images, or bring it up to date.",
    "merge": "Merge several indexes of one model into one.",
    "dump": "Write an index's vectors and names for other programs.",
    "search": "Find images by words, by an image or by a vector.",
    "duplicates": "List copies of the same photo.",
    "tag": "Tag the images of an index with labels, without training.",
    "serve": "Search an index in the browser.",
    "textness": "Learn the textness vector that promotes or demotes written words.",
    "bundle": "Pack everything the app needs into one folder, with a manifest.",
    "push": "Upload a model, an export or a bundle to the Hugging Face Hub.",
    "bench": "Measure latency, memory, size and accuracy.",
    "inspect": "Describe a file or folder.",
    "check": "Check whether files that mckit wrote are damaged.",
    "doctor": "Say what is installed, and what is missing for which command.",
}


# What to type where no mckit.toml gives the arguments: those that it would give, and the others.
_EXAMPLES = {
    "init": ("", "--data PHOTOS"),
    "train": ("--data captions.csv -o model", ""),
    "distill": ("--data PHOTOS --teacher ViT-B-32:openai --student vit-s6-h12 -o student", ""),
    "export": ("student", "--format coreml --fp16"),
    "verify": ("student-coreml-fp16 --against student", ""),
    "index": ("PHOTOS --model student-onnx-fp32 -o photos.index", ""),
    "merge": ("", "part1.index part2.index -o photos.index"),
    "dump": ("photos.index", "-o vectors"),
    "duplicates": ("photos.index", ""),
    "tag": ("photos.index", "--labels labels.txt"),
    "serve": ("photos.index", ""),
    "bundle": ("student-coreml-fp16 -o bundle", ""),
    "push": ("student-onnx-fp32", "OWNER/NAME"),
    "inspect": ("student", ""),
    "check": ("", "photos.index"),
}
# In a project: the command that makes what a parameter takes.
_MADE_BY = {
    "model": "distill",
    "against": "distill",
    "export": "export --format coreml --fp16",
    "index": "index",
    "index_folder": "index",
    "project_index": "index",
}

# What the libraries say when memory runs out: Python's threads, torch, onnxruntime, C++ and the loader of libraries.
_OUT_OF_MEMORY = (
    "can't start new thread", "not enough memory", "out of memory", "Failed to allocate", "bad_alloc",
    "failed to map segment from shared object", "Cannot allocate memory",
)  # fmt: skip


def _import_command(name: str) -> click.Command:
    command = importlib.import_module(f"mobileclip_kit.cli.{name}").command
    assert isinstance(command, click.Command)
    _complete_files(command)
    return command


def _complete_files(command: click.Command) -> None:
    """Let the shell complete file names for every text, most of which may be paths: click would complete nothing."""
    for parameter in command.params:
        if isinstance(parameter.type, click.types.StringParamType | click.types.FuncParamType):
            parameter.shell_complete = _files  # type: ignore[method-assign]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _complete_files(each)


def _files(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


class LazyGroup(click.Group):
    """A click group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a newcomer's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        return _import_command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse a command whose extra is not installed before anything else is told about its options."""
        if args[0] not in COMMANDS and (near := difflib.get_close_matches(args[0], COMMANDS, n=1)):
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]}?", ctx)
        if not set(ctx.help_option_names).intersection(args):
            extras.require(f"mckit {args[0]}", *extras.COMMANDS.get(args[0], ()))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a package that only these arguments need is told as the extra that brings it."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            extra = extras.extra_of(error.name)
            if extra is None:
                raise
            raise extras.missing_extra(f"mckit {ctx.invoked_subcommand} with these arguments", extra) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_versions(ctx: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    if not is_asked or ctx.resilient_parsing:
        return
    from mobileclip_kit.doctor import installed_versions

    libraries = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    click.echo(f"mckit {__version__} (Python {platform.python_version()})\n{libraries}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions,
              help="Show the versions of mckit, Python and the libraries, and exit.")  # fmt: skip
def mckit() -> None:
    """Put CLIP search on a phone: distil, export, verify, index, search, measure.

    Every command takes --json (one document on stdout; progress goes to stderr) and has its own --help with examples.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with an exit code: 0 done, 1 failed, 2 called wrongly."""
    gc.set_threshold(_OBJECTS)
    with Waiting():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(given: list[str]) -> NoReturn:
    as_json = "--json" in given
    # Warnings of the libraries underneath speak to developers; ours are printed by the commands.
    warnings.simplefilter("ignore")
    try:
        if LONG.intersection(given[:1]):
            settle_waiting()
        project = find_project()
        defaults = _defaults(project, given)
        mckit.main(args=given, prog_name="mckit", standalone_mode=False, default_map=defaults)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        hint = _first_steps(error, given)
        if hint is not None:
            click.echo(hint, err=True)
        if as_json:
            _print_error("UsageError", error.format_message(), hint)
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        # click wraps the interrupt; a command that knows better how to go on says so in it.
        cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        said = str(cause) if isinstance(cause, KeyboardInterrupt) else ""
        _fail("Interrupted", "Interrupted.", said or "Run the same command again to go on.", as_json)
    except MckitError as error:
        code = 2 if isinstance(error, UsageError | MissingExtraError) else 1
        _fail(error.kind, error.message, error.hint, as_json, code=code)
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        sentence = _os_sentence(error) if isinstance(error, OSError) else _memory_sentence(error)
        if sentence is None:
            raise
        kind = OutputError if isinstance(error, OSError) else MemoryError
        _fail(kind.__name__, sentence, None, as_json)
    sys.exit(0)


def _defaults(project: Path | None, given: Sequence[str]) -> dict[str, Any]:
    """What mckit.toml says about the command that is called, for click."""
    if project is None or not given or given[0] not in COMMANDS or {"-h", "--help"}.intersection(given):
        return {}
    read = Project.read(project)
    for name in read.commands:
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"Did you mean [{near[0]}]?" if near else f"Known are {', '.join(COMMANDS)}."
            raise DataError(f"{project} has a table for the command {name!r}, which does not exist.", hint=hint)
    if given[0] in read.commands:
        table = _by_parameter(project, given[0], _import_command(given[0]), read.commands[given[0]])
        read = replace(read, commands={given[0]: table})
    return {given[0]: read.defaults(given[0], project.parent, given[1:])}


def _by_parameter(project: Path, name: str, command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
    """A command's table of mckit.toml, by click's names of the parameters instead of the options' own."""
    known = {
        option.lstrip("-").replace("-", "_"): str(parameter.name)
        for parameter in command.params
        for option in (*parameter.opts, str(parameter.name))
        if parameter.name not in ("as_json", "help")
    }
    groups = command.commands if isinstance(command, click.Group) else {}
    found: dict[str, Any] = {}
    for option, value in table.items():
        if option in groups and isinstance(value, dict):
            found[option] = _by_parameter(project, f"{name} {option}", groups[option], value)
        elif option in known:
            found[known[option]] = value
        else:
            near = difflib.get_close_matches(option, [*known, *groups], n=1)
            tables = [f"[{name}.{group}]" for group in groups]
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join([*known, *tables])}."
            raise DataError(f"{project}: the command {name} has no option {option!r}.", hint=hint)
    return found


def _first_steps(error: click.ClickException, given: Sequence[str]) -> str | None:
    """What to type where something is missing and no mckit.toml gives it, or where a value of that file is wrong."""
    if isinstance(error, click.BadParameter) and error.ctx is not None and error.param is not None:
        if error.ctx.get_parameter_source(str(error.param.name)) is click.core.ParameterSource.DEFAULT_MAP:
            return f"The value of {error.param.name} comes from {find_project()}, table [{given[0]}] or [project]."
    if not isinstance(error, click.MissingParameter):
        return None
    if find_project() is not None and given[0] != "init":
        step = _MADE_BY.get(str(error.param.name)) if error.param is not None else None
        return None if step is None else f"`mckit {step}` makes it; run that first."
    if given[0] not in _EXAMPLES:
        return None
    from_project, others = _EXAMPLES[given[0]]
    there = " ".join(filter(None, ("mckit", given[0], others)))
    once = f", or `mckit init --data PHOTOS` once and then `{there}`" if from_project else ""
    return f"Type `{' '.join(filter(None, ('mckit', given[0], from_project, others)))}`{once}."


def _fail(kind: str, message: str, hint: str | None, as_json: bool, *, code: int = 1) -> NoReturn:
    text = message if hint is None else f"{message} {hint}"
    click.echo(paint(printable(f"error: {text}"), err=True), err=True)
    if as_json:
        _print_error(kind, message, hint)
    sys.exit(code)


def _print_error(kind: str, message: str, hint: str | None) -> None:
    document: dict[str, Any] = {"error": {"kind": kind, "message": message, "hint": hint}}
    click.echo(printable(json.dumps(document, ensure_ascii=False)))


def _os_sentence(error: OSError) -> str | None:
    """One sentence for what the operating system refused; None for what must be a defect of ours."""
    where = f" ({error.filename})" if error.filename else ""
    # A copy names its source first; the destination is what does not fit.
    written = f" ({error.filename2})" if error.filename2 else where
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{written}; nothing half-written was kept. Free some space and run the command again."
    if error.errno == errno.EFBIG:
        return f"A file has become larger than this place allows{written}; nothing half-written was kept."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Permission denied{where}. Choose a place that you may read and write."
    if error.errno == errno.EMFILE:
        return "Too many open files. Raise the limit with `ulimit -n 4096` and run the command again."
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ENAMETOOLONG):
        return f"{error.strerror}{where}."
    return None


def _memory_sentence(error: Exception) -> str | None:
    """One sentence for memory that ran out; None for what must be a defect of ours."""
    if not isinstance(error, MemoryError) and not any(words in str(error) for words in _OUT_OF_MEMORY):
        return None
    return "There is not enough memory. Close other programs, or choose a smaller batch or fewer threads."
