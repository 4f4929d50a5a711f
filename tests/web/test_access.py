"""The token of a server beyond this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mobileclip_kit.errors import UsageError
from mobileclip_kit.web import access
from mobileclip_kit.web.app import build_app
from tests.web.serving import open_service

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def client(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(access, "WRONG_TOKEN_S", 0.0)
    app = build_app(open_service(index, tmp_path / "cache"), any_address=True, token=TOKEN)
    with TestClient(app, base_url="http://192.168.1.7:8765", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/library", "/images/0-00000000", "/nowhere"])
def test_nothing_is_answered_without_the_token(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, "token" in answer.json()["error"]["message"]) == (401, True)
    assert client.post("/api/search", json={}).status_code == 401


def test_the_printed_address_opens_the_page_and_the_cookie_keeps_it_open(client: TestClient) -> None:
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert client.get("/").status_code == 200
    assert client.post("/api/search", json={}).status_code == 200


def test_the_search_in_an_address_outlives_its_token(client: TestClient) -> None:
    answer = client.get(f"/?q=caf%C3%A9+-people&token={TOKEN}&folder=a%26b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=caf%C3%A9+-people&folder=a%26b")


def test_programs_send_the_token_in_a_header(client: TestClient) -> None:
    assert client.get("/api/library", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], TOKEN + "a", "é" * 24])
def test_wrong_tokens_cost_time_wherever_they_are_sent(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(access, "WRONG_TOKEN_S", 1.0)
    monkeypatch.setattr(access.asyncio, "sleep", sleep)
    name = access.Access(TOKEN).cookie
    sent = [
        client.get("/", params={"token": f"{wrong}-"}),
        client.get("/api/library", headers={"Authorization": f"Bearer {wrong}".encode()}),
        client.get("/", headers={"Cookie": f"{name}=x{wrong}".encode()}),
    ]
    assert {answer.status_code for answer in sent} == {401}
    assert slept.count(1.0) == 3


def test_guesses_of_clients_that_left_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second, thousands of them would wait for hours, each with its headers in memory."""
    monkeypatch.setattr(access, "WRONG_TOKEN_S", 1000.0)
    checks, scope = access.Access(TOKEN), {
        "type": "http", "method": "GET", "path": "/api/library", "query_string": b"",
        "headers": [(b"authorization", b"Bearer a-wrong-token-of-some-length")],
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": b"a", "more_body": True}])

    async def receive() -> dict[str, object]:
        return next(messages, {"type": "http.disconnect"})

    async def guess() -> None:
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(checks.response(scope, receive) for _ in range(100)))
        assert {answer.status_code for answer in answers if answer is not None} == {401}

    asyncio.run(guess())


def test_a_token_that_can_be_guessed_is_refused() -> None:
    assert access.check_token(access.new_token())
    for token in ("short", "a" * 15, "a token with some spaces", "a" * 257):
        with pytest.raises(UsageError, match="16 to 256 characters"):
            access.check_token(token)
