"""Connections that send no request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn

from mobileclip_kit.web import connections
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.server import listen, server_config
from tests.web.serving import open_service

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
WHOLE = b"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n"


def serve(index: Path, cache: Path, talk: Callable[[str, int], object]) -> object:
    """Run the server and, in a thread, a client that talks to its address; what the client returned."""

    async def run() -> object:
        server = uvicorn.Server(server_config(build_app(open_service(index, cache))))
        listening = listen(port=0)
        task = asyncio.create_task(server._serve([listening.socket]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            return await asyncio.to_thread(talk, *listening.socket.getsockname()[:2])
        finally:
            server.should_exit = True
            await task

    return asyncio.run(run())


@pytest.mark.parametrize("before", [b"", WHOLE + b"\r\n"], ids=["first request", "after a request"])
def test_a_half_sent_header_is_given_up(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_S", 0.2)

    def talk(host: str, port: int) -> bytes:
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(before + HALF)
            data = b""
            try:
                while part := client.recv(1 << 16):
                    data += part
            except ConnectionResetError:
                pass
            return data

    data = serve(index, tmp_path / "cache", talk)
    assert isinstance(data, bytes) and data.startswith(b"HTTP/1.1 200") is bool(before)


def test_half_requests_lock_nobody_out(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With more connections than allowed, those that have sent no request are closed, the oldest first."""
    monkeypatch.setattr(connections, "connection_limit", lambda: 8)

    def talk(host: str, port: int) -> bytes:
        half = [socket.create_connection((host, port), timeout=10) for _ in range(20)]
        for client in half:
            try:
                client.sendall(HALF)
            except OSError:  # closed already
                pass
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(WHOLE + b"Connection: close\r\n\r\n")
            answer = client.recv(100)
        for client in half:
            client.close()
        return answer

    answer = serve(index, tmp_path / "cache", talk)
    assert isinstance(answer, bytes) and answer.startswith(b"HTTP/1.1 200")
    assert capfd.readouterr().err == ""
