"""Options made from the fields of a request."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.options import Option


@dataclass(frozen=True, kw_only=True)
class Shared:
    out: Annotated[Path, Option("The output.", names=("-o",))]
    limit: Annotated[int | None, Option("At most.", at_least=2)] = None
    share: Annotated[float, Option("A share.", at_least=0, at_most=1)] = 0.5
    hidden: int = 7


@dataclass(frozen=True, kw_only=True)
class Request(Shared):
    place: Annotated[Path | str | None, Option("A path or a URL.")] = None
    model: Annotated[str, Option("The model.", names=("model",))]
    kind: Annotated[Literal["a", "b"], Option("Which.", flag_value="b")] = "a"
    several: Annotated[tuple[Path, ...], Option("Paths.", metavar="P")] = ()
    loud: Annotated[bool, Option("Loudly.")] = False
    holdout: Annotated[str | float | None, Option("A share or a file.")] = None
    count: Annotated[int | None, Option("A number.")] = None


def run(*arguments: str, **options: Any) -> Any:
    got: list[Request] = []

    @click.command()
    @options_from(Request, **options)
    @click.option("--json", "as_json", is_flag=True)
    def command(request: Request, as_json: bool) -> None:
        got.append(request)

    result = CliRunner().invoke(command, list(arguments))
    return got[0] if got else result


def test_fields_become_options_and_the_command_gets_the_request() -> None:
    request = run("m", "-o", "x", "--limit", "3", "--kind", "--several", "a", "--several", "b", "--loud")
    assert request == Request(model="m", out=Path("x"), limit=3, kind="b", several=(Path("a"), Path("b")), loud=True)


def test_defaults_are_the_dataclass_own() -> None:
    assert run("m", "-o", "x") == Request(model="m", out=Path("x"))


def test_a_place_is_a_path_or_a_url() -> None:
    assert run("m", "-o", "x", "--place", "s3://bucket/a").place == "s3://bucket/a"
    assert run("m", "-o", "x", "--place", "a/b").place == Path("a/b")
    assert run("m", "-o", "x", "--holdout", "0.1").holdout == "0.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m"], "Missing option '-o'"),
        (["-o", "x"], "Missing argument 'MODEL'"),
        (["m", "-o", "x", "--limit", "1"], "'1' is not a whole number from 2 on"),
        (["m", "-o", "x", "--share", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["m", "-o", "x", "--share", "nan"], "is not a number"),
        (["m", "-o", "x", "--kind", "c"], "'c' is not one of 'a', 'b'"),
        (["m", "-o", "x", "--hidden", "3"], "No such option"),
        (["m", "-o", "x", "--count", "many"], "not a valid integer"),
    ],
)
def test_wrong_calls_are_refused_by_click(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.output


def test_help_lists_a_requests_own_options_before_the_shared_ones_and_ranges_only_where_there_are_any() -> None:
    text = run("--help").output
    order = [text.index(name) for name in ("--place", "--kind", "--several", "--count", "-o ", "--limit", "--json")]
    assert order == sorted(order)
    assert "x>=2" in text and "None" not in text


def test_skipped_fields_keep_their_defaults() -> None:
    assert run("m", "-o", "x", "--limit", "3", skip=("limit",)).exit_code == 2
    assert run("m", "-o", "x", skip=("limit",)).limit is None


@pytest.mark.parametrize("command", ["distill", "train"])
def test_help_and_refusals_of_wrong_names_import_no_torch(command: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mobileclip_kit.cli.entry import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'open_clip', 'faiss'} & set(sys.modules)))"
    )
    teacher = ["--teacher", "ViT-B-32"] if command == "distill" else []
    for arguments, said in (
        (["--help"], "Examples:"),
        (["--data", "d", "-o", "m", *teacher, "--student", "vit-s6-h1"], "Did you mean vit-s6-h12"),
        (["--data", "d", "-o", "m", *teacher, "--student", "vit-s6-h12", "--recipe", "mkit"], "Did you mean mckit"),
        (["--data", "d", "-o", "m", *teacher, "--student", "vit-s6-h12", "--lr", "-1"], "lr is -1.0"),
    ):
        done = subprocess.run([sys.executable, "-c", code, command, *arguments], capture_output=True, text=True,
                              check=True, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
        assert said in done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.iterdir())
