"""Requests whose length a proxy may see otherwise than the server: no second request may hide in the body of one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.web.test_connections import serve

START = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % (5 + len(HIDDEN))


@pytest.mark.parametrize(
    "headers",
    [
        LENGTH + b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n" + LENGTH,
        LENGTH + b"Transfer-Encoding: xchunked\r\n",
        LENGTH + b"Transfer-Encoding : chunked\r\n",
        LENGTH + b"Transfer-Encoding: identity, chunked\r\n",
        b"Content-Length: 0\r\n" + LENGTH,
        b"Content-Length: +5\r\n",
        b"Content-Length: 0\r\n Content-Length: 5\r\n",
    ],
)
def test_a_request_within_the_body_of_another_is_not_answered(index: Path, tmp_path: Path, headers: bytes) -> None:
    def talk(host: str, port: int) -> bytes:
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(START + headers + b"\r\n0\r\n\r\n" + HIDDEN)
            data = b""
            try:
                while part := client.recv(1 << 16):
                    data += part
                    client.settimeout(0.3)  # for a second answer
            except (ConnectionResetError, TimeoutError):
                pass
            return data

    data = serve(index, tmp_path / "cache", talk)
    assert isinstance(data, bytes) and data.count(b"HTTP/1.1 ") == 1 and data.startswith(b"HTTP/1.1 4")
