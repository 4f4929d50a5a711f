"""Listening: a socket on this machine, the application on it, and a clean end at Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from mobileclip_kit.errors import OutputError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.resources import cache_folder
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.search import open_query_encoder
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.service import Service
from mobileclip_kit.web.thumbnails import Thumbnails

LOCAL = "127.0.0.1"
PORT = 8765
_GRACE_S = 3


@dataclass(frozen=True)
class Listening:
    """A socket that waits for browsers.

    Attributes:
        socket: Bound, and listening.
        url: Where a browser finds it.
        local: Whether only this machine can reach it.
    """

    socket: socket.socket
    url: str
    local: bool


def open_service(
    index: Path,
    *,
    images: Path | None = None,
    model: str | None = None,
    textness: Path | None = None,
    templates: Sequence[str] = (),
    threads: int | None = None,
    thumbnails: Path | None = None,
) -> Service:
    """Open what a page of an index needs.

    Args:
        index: The index folder.
        images: Where its images are now; None for where they were.
        model: Its model; None for where it was. A model that is given is opened at once, so that a mistake shows at
            once; otherwise the page opens it while it shows images already, and says what is wrong with it.
        textness: A textness vector; None for the one beside the index or its model.
        templates: See :func:`mobileclip_kit.search.encode_queries`.
        threads: Of the model's runtime.
        thumbnails: The folder of thumbnails; None for the user's cache folder.

    Raises:
        MckitError: One of them cannot be opened, or does not belong to the index.
    """

    def open_encoder(opened: IndexReader) -> Encoder:
        return open_query_encoder(opened, model, threads=threads)

    library = Library(index, images=images)
    service = Service(
        library, open_encoder, Thumbnails(thumbnails or cache_folder()), textness=textness, templates=templates
    )
    if model is not None:
        service.voice.open(library.index)
    trouble = service.voice.trouble or (service.textness_trouble if textness is not None else None)
    if trouble is not None:
        service.close()
        raise trouble
    return service


def listen(host: str = LOCAL, port: int = PORT) -> Listening:
    """Bind a socket.

    Args:
        host: An address or a name of this machine.
        port: 0 for any free one.

    Raises:
        OutputError: The port is taken or not allowed.
        UsageError: The host is not this machine.
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
            hint = "Choose another one with --port, or --port 0 for any free one."
            raise OutputError(f"Port {port} of {host} is in use already.", hint=hint) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is no address of this machine.") from error
        raise OutputError(f"Port {port} of {host} cannot be opened: {error.strerror}.") from error
    address, actual = bound.getsockname()[:2]
    named = f"[{address}]" if family == socket.AF_INET6 else address
    return Listening(bound, f"http://{named}:{actual}/", ipaddress.ip_address(address).is_loopback)


def run_server(service: Service, listening: Listening, names: Sequence[str] = ()) -> None:
    """Answer until Ctrl-C or a signal to end.

    Args:
        service: Closed at the end.
        listening: Closed at the end.
        names: Further host names that are this machine's.
    """
    app = build_app(service, names=names, any_address=not listening.local)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    with listening.socket, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening.socket])
