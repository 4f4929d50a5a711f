"""The description of the HTTP API: valid, true for the requests that it allows, and for the examples in the docs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.operations import DESCRIPTION, OPERATIONS, Operation, describe_api
from tests.web.serving import make_index, make_photos, open_service, running, write_textness

DOCS = Path(__file__).parents[2] / "docs" / "serve.md"
# Not positive_data_acceptance: a schema cannot say that "red -red" leaves nothing to look for.
CHECKS = [
    schemathesis.checks.not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("api")
    index = make_index(folder / "photos.index", make_photos(folder / "photos"))
    service = open_service(index, folder / "cache", textness=write_textness(folder / "textness.json"))
    with running(service) as address:
        yield address
    service.close()


@pytest.fixture(scope="module")
def api(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}api/openapi.json")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_responses_are_those_that_are_described(api: Any, operation: Operation, mode: GenerationMode) -> None:
    """Requests that the description allows, and requests that it does not."""
    described = api[operation.path][operation.method]
    if mode is GenerationMode.NEGATIVE and not isinstance(operation.takes, type) and "{id}" not in operation.path:
        pytest.skip("nothing in this request can be wrong")

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    ask()


@pytest.mark.parametrize("token", [False, True])
def test_the_description_is_valid(token: bool) -> None:
    document = describe_api(token=token)
    validate(document)
    assert ("security" in document) == token
    assert document["components"]["schemas"]["SearchRequest"]["properties"]["count"] == {
        "type": "integer", "minimum": 0, "default": 100,
        "description": "Number of hits to return; at most MAX_PAGE are.",
    }  # fmt: skip


def test_a_program_reads_the_description_and_searches_with_the_token(tmp_path: Path) -> None:
    service = open_service(make_index(tmp_path / "i", make_photos(tmp_path / "p")), tmp_path / "cache")
    token = "a-token-for-programs-1234"
    with TestClient(build_app(service, token=token), base_url="http://127.0.0.1:8765") as client:
        assert client.get(DESCRIPTION).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get(DESCRIPTION).json()["security"] == [{"token": []}]
        assert client.post("/api/search", json={"words": "red"}).json()["hits"][0]["name"] == "red.png"


def test_the_model_of_a_library_names_its_device(url: str) -> None:
    import urllib.request

    document = json.loads(urllib.request.urlopen(f"{url}api/library").read())
    assert document["model"]["device"] in (None, "cpu")  # None until it is open


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_in_the_docs_work(url: str, tmp_path: Path) -> None:
    """The lines of the section on the API, one after the other, as they stand there."""
    section = DOCS.read_text(encoding="utf-8").partition("## HTTP API")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("curl")]
    assert len(lines) >= 4
    from PIL import Image

    Image.new("RGB", (40, 40), (230, 20, 20)).save(tmp_path / "photo.jpg")
    found: dict[str, str] = {}
    for line in lines:
        line = re.sub(r"\$(\w+)", lambda name: found[name[1]], line.replace("http://127.0.0.1:8765/", url))
        command = [part for part in shlex.split(line) if part != "-s"]
        done = subprocess.run(
            [command[0], "-sS", "--fail", *command[1:]], capture_output=True, cwd=tmp_path, timeout=20
        )
        assert done.returncode == 0, (line, done.stderr)
        answer = json.loads(done.stdout) if done.stdout.startswith(b"{") else {}
        if answer.get("hits"):
            found["ID"] = answer["hits"][0]["id"]
        if "token" in answer:
            found["IMAGE"] = answer["token"]
    assert (tmp_path / "thumbnail.webp").read_bytes()[8:12] == b"WEBP"
