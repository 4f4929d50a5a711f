"""The running server: opening a library, listening on a socket, and stopping at Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from mobileclip_kit.errors import OutputError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.resources import cache_folder
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.search.models import open_query_encoder
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.connections import Connection, connection_limit
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.request import LOCAL, PORT, ServeRequest
from mobileclip_kit.web.service import Service
from mobileclip_kit.web.thumbnails import Thumbnails

_GRACE_S = 3


@dataclass(frozen=True)
class Listening:
    """A listening socket.

    Attributes:
        socket: Bound and listening.
        url: The address for a browser.
        local: Whether only this machine can connect.
    """

    socket: socket.socket
    url: str
    local: bool


def open_service(request: ServeRequest) -> Service:
    """Open an index, its model and the thumbnails.

    Raises:
        MckitError: One of them cannot be opened or does not belong to the index.
    """

    def open_encoder(opened: IndexReader) -> Encoder:
        return open_query_encoder(opened, request.model, threads=request.threads, device=request.device)

    library = Library(request.index_folder, images=request.images)
    service = Service(
        library, open_encoder, Thumbnails(request.thumbnails or cache_folder()),
        textness=request.textness_vector, templates=request.templates,
    )  # fmt: skip
    if request.model is not None or request.device is not None:
        service.query_encoder.open(library.index)
    problem = service.query_encoder.problem or (service.textness_problem if request.textness_vector else None)
    if problem is not None:
        service.close()
        raise problem
    return service


def listen(host: str = LOCAL, port: int = PORT) -> Listening:
    """Bind a socket.

    Args:
        host: An address or a name of this machine.
        port: 0 for any free port.

    Raises:
        OutputError: The port is in use or not allowed.
        UsageError: The host is not an address of this machine.
    """
    bound = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen()
    except socket.gaierror as error:
        raise UsageError(f"The host {host!r} cannot be resolved: {error.strerror}.") from error
    except OSError as error:
        if bound is not None:
            bound.close()
        if error.errno == errno.EADDRINUSE:
            hint = "Choose another port with --port; --port 0 takes any free one."
            raise OutputError(f"Port {port} of {host} is already in use.", hint=hint) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is not an address of this machine.") from error
        raise OutputError(f"Port {port} of {host} cannot be opened: {error.strerror}.") from error
    address, actual = bound.getsockname()[:2]
    local = ipaddress.ip_address(address).is_loopback
    if ipaddress.ip_address(address).is_unspecified:
        address = _own_address(family, address)
    named = f"[{address}]" if family == socket.AF_INET6 else address
    return Listening(bound, f"http://{named}:{actual}/", local)


def _own_address(family: socket.AddressFamily, unspecified: str) -> str:
    """The address by which others reach this machine; no browser elsewhere can open 0.0.0.0. Nothing is sent."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # of documentation, on no machine
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no network
        return unspecified


def run_server(service: Service, listening: Listening, names: Sequence[str] = (), token: str | None = None) -> None:
    """Serve until Ctrl-C or a termination signal.

    Args:
        service: Closed at the end.
        listening: Closed at the end.
        names: Further host names of this machine.
        token: Required from every request; None for no requirement.
    """
    app = build_app(service, names=names, any_address=not listening.local, token=token)
    with listening.socket, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(server_config(app)).run(sockets=[listening.socket])


def server_config(app: Starlette) -> uvicorn.Config:
    """How uvicorn serves the page."""
    return uvicorn.Config(
        app,
        http=Connection,
        # At most so many connections are accepted before those that are too many are closed.
        backlog=max(4, connection_limit() // 4),
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
