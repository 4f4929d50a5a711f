"""Connections that send no request: closed after a while, and first when there are too many.

uvicorn waits for the rest of a request's headers without a limit, and asyncio writes a traceback for each connection
that it cannot accept for want of file descriptors.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Until a request's headers are complete.
HEADERS_S = 20.0
MAX_CONNECTIONS = 512


def connection_limit() -> int:
    """How many connections may be open at once: a part of what this process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, files // 2))


class Connection(H11Protocol):
    """uvicorn's connection with a time limit for headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, in place of one that has sent no request if there are too many."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > connection_limit():
            idle = [each for each in self.connections if isinstance(each, Connection) and each._idle is not None]
            self.connections.discard(oldest := min(idle, key=Connection._deadline))
            oldest._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; the limit ends where a request begins."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._idle = self.loop.call_later(HEADERS_S, self._close)

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _deadline(self) -> float:
        return 0.0 if self._idle is None else self._idle.when()

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.abort()
