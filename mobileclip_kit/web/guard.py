"""Which requests are answered, and what every response carries.

On this machine alone the server has no password (see :mod:`mobileclip_kit.web.access` for the token that it requires
otherwise). These checks protect the user's photos from other web pages in the same browser:

* **Host** must be a name of this machine. A page of evil.example whose name resolves to 127.0.0.1 (DNS rebinding)
  sends its own name.
* **Origin and Sec-Fetch-Site** must be those of this page, except for opening the page itself. Other pages can neither
  search nor embed images, nor learn from an error whether an image exists.
* **The length of a request** must be stated once. A proxy may believe the one and this server the other, and take for
  the next request what a client hid in the body (request smuggling).
* **Content-Security-Policy** lets the page load files from this server only, and no inline script runs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mobileclip_kit.web.access import Access
from mobileclip_kit.web.responses import error_response

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
# An IPv6 address in brackets, or a name or IPv4 address, and a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


class Guard:
    """Middleware around the whole application.

    Args:
        app: The application to protect.
        names: Host names of this machine besides ``localhost``.
        any_address: Accept any IP address as Host, for a server that listens on the network. Rebinding needs a name,
            so an address is safe.
        token: Required from every request; None for no requirement.
    """

    def __init__(
        self, app: ASGIApp, names: Collection[str] = (), *, any_address: bool = False, token: str | None = None
    ) -> None:
        self._app, self._any_address = app, any_address
        self._access = None if token is None else Access(token)
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
        response = None if refusal is None else error_response(403, "Forbidden", *refusal)
        if {"content-length", "transfer-encoding"}.issubset(Headers(scope=scope).keys()):
            response = error_response(
                400, "HttpError", "A request has a Content-Length or a transfer coding, not both."
            )
            response.headers["Connection"] = "close"  # what follows may be no request of its own
        if response is None and self._access is not None:
            response = await self._access.response(scope, receive)
        await (response or self._app)(scope, receive, send_guarded)

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
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower().rstrip(".")
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
