"""``mckit doctor`` and ``mckit --version``, and when the command line uses colours."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version

import pytest

from mobileclip_kit import extras
from mobileclip_kit.cli.entry import main
from mobileclip_kit.cli.output import paint
from mobileclip_kit.doctor import examine
from mobileclip_kit.exporting.precisions import FORMATS


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_version_names_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--version")
    assert out.startswith(f"mckit {version('mobileclip-kit')} (Python {sys.version_info[0]}.{sys.version_info[1]}.")
    assert f"numpy {version('numpy')}" in out and f"onnxruntime {version('onnxruntime')}" in out


def test_the_doctor_fits_on_a_screen_and_names_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = extras.is_installed
    hidden = {"torch", "timm", "sklearn", "coremltools", "coreai", "ai_edge_litert"}
    monkeypatch.setattr(extras, "is_installed", lambda package: package not in hidden and there(package))
    out = run(capsys, "doctor")
    assert len(out.splitlines()) <= 40
    named = out.split("\n\n")[0].splitlines()[1:]  # of the libraries, no name on one line and its version on the next
    assert all(re.fullmatch(r"[\w-]+ \S+", each) for line in named for each in line.rstrip(",").split(", "))
    assert "no  export (lacks coremltools, [train])" in out
    assert "no  train (lacks torch, timm)" in out and "no  torch" in out
    assert 'mckit distill needs: pip install -e ".[train]"' in out and "mckit index needs" not in out
    document = json.loads(run(capsys, "doctor", "--json"))
    assert [runtime["name"] for runtime in document["runtimes"]] == [*FORMATS, "torch"]
    assert [runtime["works"] for runtime in document["runtimes"]] == [True, False, False, False, False]


def test_the_doctor_of_a_base_installation_fits_on_a_narrow_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {package for packages in extras.EXTRAS.values() for package in packages}
    there = extras.is_installed
    monkeypatch.setattr(extras, "is_installed", lambda package: package not in hidden and there(package))
    findings, _, commands = run(capsys, "doctor").rpartition("images: ")
    assert max(map(len, findings.splitlines())) <= 110
    assert len(findings.splitlines()) <= 24 and len(commands.splitlines()) <= 14


def test_a_runtime_that_cannot_be_imported_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda package: False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import then fails
    onnx = examine().runtimes[0]
    assert not onnx.works and onnx.detail.startswith("onnxruntime cannot be imported: ")


@pytest.mark.parametrize(
    ("terminal", "variables", "painted"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    terminal: bool, variables: dict[str, str], painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert ("\x1b[31merror:" in paint("error: nothing", err=True)) == painted
