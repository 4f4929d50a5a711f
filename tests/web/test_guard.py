"""Who may ask: Host, Origin and Sec-Fetch-Site, and what every answer carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.guard import SECURITY_HEADERS
from tests.web.serving import open_service

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost", "LOCALHOST:9000", "[::1]:8765", "localhost.", "127.1.2.3"]
)
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "192.168.1.7", "", "127.0.0.1.evil.example:8765", "[::1", "a@b:c",
     "evil.example@localhost", "localhost/.evil.example", "localhost?evil", "localhost#evil", "[::1%evil.example]",
     "localhost:80:80", "localhost:port", "[localhost]"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/library"])
def test_other_names_are_refused(client: TestClient, host: str, path: str) -> None:
    """A name that was made to resolve to this machine is no way in."""
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.json()["error"]["hint"]


def test_a_server_for_the_network_takes_addresses_and_the_names_it_was_given(tmp_path: Path, index: Path) -> None:
    app = build_app(open_service(index, tmp_path / "cache"), names=["Photos.lan"], any_address=True)
    with TestClient(app, base_url="http://localhost") as client:
        statuses = {host: client.get("/", headers={"Host": host}).status_code
                    for host in ("192.168.1.7:8765", "photos.lan", "[fe80::1]", "evil.example")}  # fmt: skip
    assert statuses == {"192.168.1.7:8765": 200, "photos.lan": 200, "[fe80::1]": 200, "evil.example": 403}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:3000", "http://localhost:8765", "null", "http://["]
)
def test_another_origin_can_neither_search_nor_upload(client: TestClient, origin: str) -> None:
    headers = {"Origin": origin}
    assert client.post("/api/search", content=b"{}", headers={**JSON, **headers}).status_code == 403
    assert client.post("/api/images", content=b"x", headers={"Content-Type": "image/png", **headers}).status_code == 403
    assert client.get("/api/library", headers=headers).status_code == 403


def test_the_page_itself_may_ask(client: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/search", content=b"{}", headers={**JSON, **headers}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_may_link_here_and_no_more(client: TestClient, site: str) -> None:
    image = client.post("/api/search", json={}).json()["hits"][0]["id"]
    embedding = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    for path in (f"/thumbnails/{image}", f"/images/{image}", "/thumbnails/7-00000000", "/static/page.js", "/"):
        assert client.get(path, headers=embedding).status_code == 403, "an embedding page learns nothing"
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get(f"/images/{image}", headers=link).status_code == 403


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/api/library", "/api/images/0-0", "/nowhere"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    for headers in ({}, {"Host": "evil.example"}):
        answer = client.get(path, headers=headers)
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


def test_the_policy_allows_nothing_from_elsewhere() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2Fapp.py", "/static/app.py", "/static/%2e%2e/app.py", "/etc/passwd", "/static/",
        "/static/..%5Capp.py", "/static/%252e%252e%252fapp.py", "/static/%c0%ae%c0%ae/app.py", "/static/....//app.py",
        "/static/%2e%2e%2fapp.py%00.css", "/static/%2Fetc%2Fpasswd", "/static/page.css%00",
        "/static/file:%2f%2f%2fetc%2fpasswd",
        "/images/..%2F..%2Fetc%2Fpasswd", "/thumbnails/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "//etc/passwd",
    ],
)  # fmt: skip
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(client: TestClient, method: str) -> None:
    for path in ("/", "/api/search", "/api/library", "/images/0-00000000"):
        assert client.request(method, path).status_code == 405
