"""The server's addresses: the page and its files, hits, thumbnails and images, and nothing else.

Images are named by the row of their vector, never by a path (see :mod:`mobileclip_kit.web.names`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
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
from mobileclip_kit.index.store import Item
from mobileclip_kit.web.guard import Guard
from mobileclip_kit.web.library import regular_file
from mobileclip_kit.web.names import shown
from mobileclip_kit.web.problems import json_answer, problem, problem_of
from mobileclip_kit.web.question import Question, page_of
from mobileclip_kit.web.service import Service
from mobileclip_kit.web.worker import Abandoned

MAX_QUESTION_BYTES = 256 << 10
MAX_IMAGE_BYTES = 64 << 20
_THUMBNAIL_SECONDS = 600
_CLIENT_CLOSED = 499  # what servers note when nobody waits for the answer any more; it reaches nobody
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The formats that every browser shows, by how their files begin.
_SIGNATURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(service: Service, *, names: Collection[str] = (), any_address: bool = False) -> Starlette:
    """The application of one index.

    Args:
        service: Answers for the index; closed with the application.
        names: See :class:`mobileclip_kit.web.guard.Guard`.
        any_address: See there.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    pages = _Pages(service)
    app = Starlette(
        routes=[
            Route("/", pages.static),
            Route("/static/{name}", pages.static),
            Route("/api/library", pages.library),
            Route("/api/search", pages.search, methods=["POST"]),
            Route("/api/images", pages.take_image, methods=["POST"]),
            Route("/api/items/{id}", pages.item),
            Route("/thumbnails/{id}", pages.thumbnail),
            Route("/images/{id}", pages.image),
        ],
        middleware=[Middleware(Guard, names=names, any_address=any_address)],
        exception_handlers={
            MckitError: _on_mckit_error,
            HTTPException: _on_http_error,
            Abandoned: _on_abandoned,
            ClientDisconnect: _on_abandoned,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


class _Pages:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service
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
        return Response(data, 200, headers, _KINDS[Path(name).suffix])

    async def library(self, request: Request) -> Response:
        """What can be asked."""
        return json_answer(await self._service.describe())

    async def search(self, request: Request) -> Response:
        """Hits."""
        document = await _read_json(request)
        start, count = page_of(document)
        return json_answer(
            await self._service.search(Question.from_json(document), start, count, request.is_disconnected)
        )

    async def take_image(self, request: Request) -> Response:
        """An image to look for."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise HTTPException(415, "An image must be sent as image/* or application/octet-stream.")
        data = await _read(request, MAX_IMAGE_BYTES)
        return json_answer({"token": await self._service.take_image(data, request.is_disconnected)})

    async def item(self, request: Request) -> Response:
        """What is known of an image."""
        return json_answer(self._service.item(self._find(request)))

    async def thumbnail(self, request: Request) -> Response:
        """A small copy."""
        path = self._file(request)
        status = regular_file(path)
        if status is None:
            return _vanished(path)
        tag = self._service.tag(path, status)
        if _has(request, tag):
            return Response(status_code=304, headers=_kept(tag, _THUMBNAIL_SECONDS))
        try:
            data, tag = await self._service.thumbnail(path, status, request.is_disconnected)
        except ImageError as error:
            return _unreadable(path, error)
        return Response(data, 200, _kept(tag, _THUMBNAIL_SECONDS), "image/webp")

    async def image(self, request: Request) -> Response:
        """The image itself, as it is where browsers know the format."""
        path = self._file(request)
        status = regular_file(path)
        if status is None:
            return _vanished(path)
        tag = self._service.tag(path, status)
        if _has(request, tag):
            return Response(status_code=304, headers=_kept(tag))
        kind = _kind_of(path)
        if kind is None:
            try:
                data = await self._service.as_jpeg(path, request.is_disconnected)
            except ImageError as error:
                return _unreadable(path, error)
            return Response(data, 200, _kept(tag), "image/jpeg")
        return FileResponse(
            path,
            200,
            _kept(tag),
            kind,
            filename=shown(path.name),
            stat_result=status,
            content_disposition_type="inline",
        )

    def _find(self, request: Request) -> Item:
        item = self._service.library.find(request.path_params["id"])
        if item is None:
            raise DataError("The index has no such image (any more).", hint="Search again.")
        return item

    def _file(self, request: Request) -> Path:
        return self._service.library.file_of(self._find(request))


def _static_files() -> dict[str, bytes]:
    folder = resources.files("mobileclip_kit.web").joinpath("static")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if Path(entry.name).suffix in _KINDS}


def _has(request: Request, tag: str) -> bool:
    return tag in (known.strip() for known in request.headers.get("if-none-match", "").split(","))


def _kept(tag: str, seconds: int = 0) -> dict[str, str]:
    """Kept by the browser, and shown again without asking for so long: a file may vanish or change."""
    return {"ETag": tag, "Cache-Control": f"private, max-age={seconds}" if seconds else "private, no-cache"}


def _unreadable(path: Path, error: ImageError) -> Response:
    """A damaged image, called by its name alone since the page has little room, or one that vanished meanwhile."""
    if regular_file(path) is None:
        return _vanished(path)
    return problem_of(ImageError(error.message.replace(str(path), path.name), hint=error.hint))


def _vanished(path: Path) -> Response:
    return problem(
        410,
        "DataError",
        f"{path.name} is no longer where it was when it was indexed.",
        "Bring the index up to date with mckit index.",
    )


def _kind_of(path: Path) -> str | None:
    """The media type of a file that browsers show as it is; None for others."""
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError:
        return None  # whoever decodes it says why
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if start.startswith(signature)), None)


async def _read(request: Request, limit: int) -> bytes:
    """The body of a request, as long as it is not longer than the limit."""
    refusal = HTTPException(413, f"At most {limit >> 10:,} KiB can be handed in at once.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise refusal
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise refusal
    return bytes(data)


async def _read_json(request: Request) -> dict[str, Any]:
    # A form of another page can send text, but nothing of this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "A question must be sent as application/json.")
    try:
        document = json.loads(await _read(request, MAX_QUESTION_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError("The question is not valid JSON.") from error
    if not isinstance(document, dict):
        raise UsageError("The question is not a JSON object.")
    return document


async def _on_mckit_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MckitError)
    return problem_of(error)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, "HttpError", f"{error.detail}.".replace("..", "."))


async def _on_abandoned(_: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED)
