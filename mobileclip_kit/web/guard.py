"""Which requests are answered, and what every response carries.

The server has no password. These checks protect the user's photos from other web pages in the same browser:

* **Host** must be a name of this machine. A page of evil.example whose name resolves to 127.0.0.1 (DNS rebinding)
  sends its own name.
* **Origin and Sec-Fetch-Site** must be those of this page, except for opening the page itself. Other pages can neither
  search nor embed images, nor learn from an error whether an image exists.
* **Content-Security-Policy** lets the page load files from this server only, and no inline script runs.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mobileclip_kit import errors
from mobileclip_kit.web.library import printable

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OWN_SITES = ("same-origin", "none")
# The first class that matches decides.
_STATUS: dict[type[errors.MckitError], int] = {
    errors.UsageError: 400, errors.ImageError: 422, errors.DataError: 404, errors.ModelError: 409,
    errors.ModelMismatchError: 409, errors.IndexFormatError: 503,
}  # fmt: skip


def json_response(document: Any, status: int = 200) -> Response:
    """A JSON document that the browser does not cache: the next response may differ."""
    body = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def error_response(status: int, kind: str, message: str, hint: str | None = None) -> Response:
    """An error as the document that ``--json`` prints too."""
    hint = None if hint is None else printable(hint)
    return json_response({"error": {"kind": kind, "message": printable(message), "hint": hint}}, status)


def response_to(error: errors.MckitError) -> Response:
    """The response for an error of mckit, with the status of its class."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return error_response(status, error.kind, error.message, error.hint)


class Guard:
    """Middleware around the whole application.

    Args:
        app: The application to protect.
        names: Host names of this machine besides ``localhost``.
        any_address: Accept any IP address as Host, for a server that listens on the network. Rebinding needs a name,
            so an address is safe.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), *, any_address: bool = False) -> None:
        self._app, self._any_address = app, any_address
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await error_response(403, "Forbidden", *refusal)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[str, str] | None:
        """Why a request is refused and what to do about it; None when it is allowed."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            return (
                f"This server does not answer to the name {host[:100]!r}.",
                "Open the address that mckit serve printed, or start the server with --allow-host NAME.",
            )
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return "Other web pages may not use this server.", "Open the page itself."
        site = headers.get("sec-fetch-site", "none")
        opens_page = scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in _OWN_SITES and not opens_page:
            return "Other web pages may not use this server.", "Open the page itself."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return self._any_address or address.is_loopback


def _host_of(origin: str) -> str:
    """Host and port of an Origin header in lower case; empty when the header is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
