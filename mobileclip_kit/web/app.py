"""The server's routes: the page and its files, the JSON API, thumbnails and images.

Images are addressed by ids, never by paths (see :mod:`mobileclip_kit.web.library`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from mobileclip_kit.errors import DataError, ImageError, MckitError, UsageError
from mobileclip_kit.files import one_line, parse_json
from mobileclip_kit.images import image_format
from mobileclip_kit.index.store import Item
from mobileclip_kit.web.documents import UploadToken
from mobileclip_kit.web.guard import Guard
from mobileclip_kit.web.library import regular_file
from mobileclip_kit.web.operations import OPERATIONS, describe_api
from mobileclip_kit.web.ranking import SearchRequest
from mobileclip_kit.web.responses import error_response, json_response, response_to
from mobileclip_kit.web.service import ClientDisconnected, Service

MAX_SEARCH_BYTES = 256 << 10
MAX_IMAGE_BYTES = 64 << 20
# Bytes of images that are in memory at once, those that are encoded among them; the others wait unread.
_BODIES_BYTES = 2 * MAX_IMAGE_BYTES
# For a whole body, and between two parts of it.
_BODY_S, _PART_S = 120.0, 10.0
_THUMBNAIL_SECONDS = 600
_CLIENT_CLOSED = 499  # the customary status for a request whose client has disconnected
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The formats that every browser shows, in Pillow's words; MPO is a JPEG file with further images behind the first.
_SHOWN = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}

_Respond = Callable[[Path, os.stat_result, dict[str, str]], Awaitable[Response]]


def build_app(
    service: Service, *, names: Collection[str] = (), any_address: bool = False, token: str | None = None
) -> Starlette:
    """The application of one index.

    Args:
        service: Of the index; closed with the application.
        names: See :class:`mobileclip_kit.web.guard.Guard`.
        any_address: See :class:`mobileclip_kit.web.guard.Guard`.
        token: See :class:`mobileclip_kit.web.guard.Guard`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    endpoints = _Endpoints(service, describe_api(token=token is not None))
    app = Starlette(
        routes=[
            Route("/", endpoints.static),
            Route("/static/{name}", endpoints.static),
            *(Route(each.path, getattr(endpoints, each.name), methods=[each.method]) for each in OPERATIONS),
        ],
        middleware=[Middleware(Guard, names=names, any_address=any_address, token=token)],
        exception_handlers={
            MckitError: _on_mckit_error,
            HTTPException: _on_http_error,
            ClientDisconnected: _on_disconnect,
            ClientDisconnect: _on_disconnect,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


class _Endpoints:
    """The methods that answer requests, by the names in :data:`~mobileclip_kit.web.operations.OPERATIONS`."""

    def __init__(self, service: Service, description: dict[str, Any]) -> None:
        self._service, self._description = service, description
        self._bodies = BodyMemory(_BODIES_BYTES)
        self._files = {
            name: (data, f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"')
            for name, data in _static_files().items()
        }

    async def static(self, request: Request) -> Response:
        """The page, or one of its files."""
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404)
        data, tag = self._files[name]
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if _has(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(data, 200, headers, _MEDIA_TYPES[Path(name).suffix])

    async def library(self, request: Request) -> Response:
        """The library, and what can be searched for."""
        return json_response(await self._service.describe())

    async def search(self, request: Request) -> Response:
        """Hits."""
        search = SearchRequest.from_json(await _read_json(request))
        return json_response(await self._service.search(search, request.is_disconnected))

    async def upload_image(self, request: Request) -> Response:
        """Accept an image to search by."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise HTTPException(415, "An image must be sent as image/* or application/octet-stream.")
        length = min(int(request.headers.get("content-length") or MAX_IMAGE_BYTES), MAX_IMAGE_BYTES)
        async with self._bodies.hold(length):
            data = await _read(request, MAX_IMAGE_BYTES)
            token = await self._service.encode_image(data, request.is_disconnected)
        return json_response(UploadToken(token=token))

    async def describe_image(self, request: Request) -> Response:
        """Facts about an image."""
        return json_response(self._service.describe_image(self._find(request)))

    async def description(self, request: Request) -> Response:
        """The description of this API."""
        return json_response(self._description)

    async def thumbnail(self, request: Request) -> Response:
        """A thumbnail."""

        async def respond(path: Path, status: os.stat_result, headers: dict[str, str]) -> Response:
            data = await self._service.thumbnail(path, status, request.is_disconnected)
            return Response(data, 200, headers, "image/webp")

        return await self._respond_with_file(request, respond, f"private, max-age={_THUMBNAIL_SECONDS}")

    async def image(self, request: Request) -> Response:
        """The image file, converted to JPEG if browsers do not know its format."""

        async def respond(path: Path, status: os.stat_result, headers: dict[str, str]) -> Response:
            media_type = _SHOWN.get(image_format(path) or "")
            if media_type is None:
                return Response(await self._service.as_jpeg(path, request.is_disconnected), 200, headers, "image/jpeg")
            return FileResponse(path, 200, headers, media_type, filename=one_line(path.name), stat_result=status,
                                content_disposition_type="inline")  # fmt: skip

        return await self._respond_with_file(request, respond, "private, no-cache")

    async def _respond_with_file(self, request: Request, respond: _Respond, caching: str) -> Response:
        """The response for an image's file: 410 if it is gone, 304 if the browser has it, 422 if it is damaged."""
        path = self._service.library.file_of(self._find(request))
        status = regular_file(path)
        if status is None:
            return _gone(path)
        headers = {"ETag": self._service.tag(path, status), "Cache-Control": caching}
        if _has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        try:
            return await respond(path, status, headers)
        except ImageError as error:
            if regular_file(path) is None:  # removed in the meantime
                return _gone(path)
            # The page has little room: the name is enough.
            return response_to(ImageError(error.message.replace(str(path), path.name), hint=error.hint))

    def _find(self, request: Request) -> Item:
        item = self._service.library.find(request.path_params["id"])
        if item is None:
            raise DataError("The index has no such image.", hint="It may have been removed; search again.")
        return item


def _static_files() -> dict[str, bytes]:
    folder = resources.files("mobileclip_kit.web").joinpath("static")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if Path(entry.name).suffix in _MEDIA_TYPES}


def _has(request: Request, tag: str) -> bool:
    return tag in (known.strip() for known in request.headers.get("if-none-match", "").split(","))


def _gone(path: Path) -> Response:
    message = f"{path.name} is no longer where it was when it was indexed."
    return error_response(410, "DataError", message, "Update the index with mckit index.")


class BodyMemory:
    """Memory that bodies share by their stated sizes, so that small ones need not wait for clients that send slowly.

    Args:
        size: Bytes in all.
    """

    def __init__(self, size: int) -> None:
        self._free, self._freed = size, asyncio.Event()

    @contextlib.asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Wait until ``count`` bytes are free, and hold them."""
        while self._free < count:
            self._freed.clear()
            await self._freed.wait()
        self._free -= count
        try:
            yield
        finally:
            self._free += count
            self._freed.set()


async def _read(request: Request, limit: int) -> bytes:
    """The body of a request of at most ``limit`` bytes."""
    refusal = HTTPException(413, f"A request can have at most {limit >> 10:,} KiB.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise refusal
    data, parts = bytearray(), aiter(request.stream())
    try:
        async with asyncio.timeout(_BODY_S):
            while (part := await asyncio.wait_for(anext(parts, None), _PART_S)) is not None:
                data += part
                if len(data) > limit:
                    raise refusal
    except TimeoutError as error:
        raise HTTPException(408, "The request was not sent in time.") from error
    return bytes(data)


async def _read_json(request: Request) -> dict[str, Any]:
    # A form on another page can send text, but not this media type without a preflight request.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "A search request must be sent as application/json.")
    try:
        document = parse_json(await _read(request, MAX_SEARCH_BYTES))
    except ValueError as error:
        raise UsageError("The search request is not valid JSON.") from error
    if not isinstance(document, dict):
        raise UsageError("The search request is not a JSON object.")
    return document


async def _on_mckit_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MckitError)
    return response_to(error)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, "HttpError", f"{error.detail}.".replace("..", "."))


async def _on_disconnect(_: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED)
