"""What stands before every request: who may ask at all, and what the browser may do with the answer.

The server has no password, so what protects a person's photos from other web pages in the same browser is this:

* **Host** must be a name of this machine. A page of evil.example whose name was made to resolve to 127.0.0.1 (DNS
  rebinding) sends its own name.
* **Origin and Sec-Fetch-Site** must be those of this very page, for everything but opening the page itself. Other pages
  can neither ask, nor embed images, nor learn from an error whether there are any.
* **Content-Security-Policy** lets the page load from here and from nowhere else, and run no script of a file's name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mobileclip_kit.web.problems import problem

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
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


class Guard:
    """Middleware around the whole application.

    Args:
        app: What it protects.
        names: Host names that are this machine's, besides ``localhost``.
        any_address: Whether any IP address is accepted as Host: when the server listens to the network. Rebinding
            needs a name, so an address is safe.
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
            await problem(403, "Forbidden", *refusal)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[str, str] | None:
        """Why a request is refused, and what to do about it; None when it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            return (
                f"This server does not answer to the name {host[:100]!r}.",
                "Open it by the address that mckit serve printed, or start it with --allow-host NAME.",
            )
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return "Another web page may not use this one.", "Open the page itself."
        site = headers.get("sec-fetch-site", "none")
        opens_page = scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in _OWN_SITES and not opens_page:
            return "Another web page may not use this one.", "Open the page itself."
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
    """Host and port of an Origin header, in lower case; empty for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
