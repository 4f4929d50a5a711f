"""The token that a server beyond this machine requires.

The printed address carries it (``/?token=…``). Opening that address stores the token in a cookie and leads to the same
address without it, so that it stands in no bookmark and in no later request. Programs send
``Authorization: Bearer TOKEN``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope

from mobileclip_kit.errors import UsageError
from mobileclip_kit.web.responses import error_response

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")
# Wrong tokens wait one after the other, whatever connection they come from.
WRONG_TOKEN_S = 1.0


def new_token() -> str:
    """A random token of 192 bits."""
    return secrets.token_urlsafe(24)


def check_token(token: str) -> str:
    """Return a token that can stand in an address and cannot be guessed in a short time.

    Raises:
        UsageError: It is too short, or has other characters.
    """
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            "The token must have 16 to 256 characters: letters, digits, - and _.",
            hint="Leave --token out: one is generated and printed.",
        )
    return token


class Access:
    """Checks the token of requests.

    Args:
        token: From :func:`new_token` or :func:`check_token`.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        # Cookies are not separated by port: each server has a name of its own.
        self.cookie = f"mckit_{hashlib.sha256(token.encode()).hexdigest()[:12]}"
        self._guesses = asyncio.Lock()

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        """None for a request that has the token; else what it gets: the cookie, or a refusal.

        A wrong token is refused after :data:`WRONG_TOKEN_S`.
        """
        request = Request(scope)
        in_address, others = None, ""
        if scope["path"] == "/" and scope["method"] == "GET":
            query = parse_qsl(scope["query_string"].decode("latin-1"))
            in_address = next((value for name, value in query if name == "token"), None)
            others = urlencode([pair for pair in query if pair[0] != "token"])
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = in_address or (bearer.strip() if scheme.lower() == "bearer" else request.cookies.get(self.cookie))
        if given is None:
            return _refusal()
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
            await self._take_time(receive)
            return _refusal()
        if in_address is None:
            return None
        response = RedirectResponse(f"/?{others}" if others else "/", 303, {"Cache-Control": "no-store"})
        response.set_cookie(
            self.cookie, self._token, httponly=True, samesite="lax", secure=scope["scheme"] == "https", path="/"
        )
        return response

    async def _take_time(self, receive: Receive) -> None:
        """Wait for this guess's turn, but no longer than its client: guesses of clients that left would fill memory."""

        async def turn() -> None:
            async with self._guesses:
                await asyncio.sleep(WRONG_TOKEN_S)

        async def disconnect() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass  # a part of a body that nobody reads

        tasks = [asyncio.ensure_future(turn()), asyncio.ensure_future(disconnect())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _refusal() -> Response:
    return error_response(401, "Forbidden", "This server requires its token.", "Open the address that it printed.")
