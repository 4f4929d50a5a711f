"""``mckit serve`` as a program: its address, its refusals, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import pytest

from mobileclip_kit.cli import main
from mobileclip_kit.web import server
from tests.web.serving import make_index, make_photos

COMMAND = [sys.executable, "-m", "mobileclip_kit", "serve"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    # Without a model there is none to be opened: these tests are about the program.
    return make_index(folder / "colours.index", make_photos(folder / "photos"), model=None)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """The exit code and the sentence of a command that fails."""
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:  # the program silences warnings for good
        main(["serve", *map(str, arguments)])
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_serves_this_machine_and_ends_quietly(index: Path, tmp_path: Path, end: int) -> None:
    arguments = [str(index), "--port", "0", "--thumbnails", str(tmp_path), "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=-1, stderr=-1, text=True, env=environment) as program:
        assert program.stdout is not None and program.stderr is not None
        document = json.loads(program.stdout.readline())
        assert document["items"] == 6
        assert document["url"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{document['url']}api/library") as answer:
            library = json.load(answer)
        assert library["images"] == 6
        program.send_signal(end)
        assert program.stderr.read() == ""
        program.wait(30)
    assert program.returncode in (0, -end)
    if end == signal.SIGINT:
        assert program.returncode == 0


def test_a_taken_port_a_foreign_address_and_a_missing_index_are_refused(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, sentence = refused(capsys, index, "--port", port, "--thumbnails", tmp_path)
    assert (code, f"Port {port}" in sentence, "--port" in sentence) == (1, True, True)
    code, sentence = refused(capsys, index, "--host", "192.0.2.1", "--thumbnails", tmp_path)
    assert (code, sentence) == (2, "error: 192.0.2.1 is not an address of this machine.\n")
    code, sentence = refused(capsys, tmp_path / "none", "--thumbnails", tmp_path)
    assert (code, "does not exist" in sentence) == (1, True)


def test_a_model_or_a_textness_vector_that_was_named_must_be_right(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export.json").write_text("{")
    code, sentence = refused(capsys, index, "--model", tmp_path, "--thumbnails", tmp_path)
    assert (code, "export.json" in sentence) == (1, True)
    code, sentence = refused(capsys, index, "--textness-vector", tmp_path / "t.json", "--thumbnails", tmp_path)
    assert (code, "t.json does not exist" in sentence) == (1, True)


def test_beyond_this_machine_a_token_is_generated_and_printed(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    required = []

    def run_server(service, listening, names, token) -> None:
        listening.socket.close()
        service.close()
        required.append(token)

    monkeypatch.setattr(server, "run_server", run_server)

    def serve(*arguments: str) -> str:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            main(["serve", str(index), "--port", "0", "--thumbnails", str(tmp_path), "--json", *arguments])
        assert stop.value.code == 0
        return json.loads(capsys.readouterr().out)["url"]

    assert "token" not in serve()
    for arguments in (["--host", "0.0.0.0"], ["--allow-host", "photos.example.org"]):
        assert serve(*arguments).endswith(f"/?token={required[-1]}")
        assert len(required[-1]) == 32
    assert serve("--token", "sixteen-letters-").endswith("/?token=sixteen-letters-")
    assert [required[0], required[-1]] == [None, "sixteen-letters-"] and required[1] != required[2]
    code, sentence = refused(capsys, index, "--token", "guess")
    assert (code, "16 to 256 characters" in sentence) == (2, True)


def test_the_printed_address_of_all_interfaces_can_be_opened_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Probe(socket.socket):
        def connect(self, address: object) -> None:
            assert self.type == socket.SOCK_DGRAM  # which sends nothing

        def getsockname(self) -> tuple[str, int]:
            return ("192.168.1.7", 5) if self.type == socket.SOCK_DGRAM else super().getsockname()

    monkeypatch.setattr("mobileclip_kit.web.server.socket.socket", Probe)
    listening = server.listen("0.0.0.0", 0)
    with listening.socket:
        assert listening.url.startswith("http://192.168.1.7:") and not listening.local
