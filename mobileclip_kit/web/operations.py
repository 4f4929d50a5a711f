"""The HTTP API: one table from which the routes are made and the API is described (OpenAPI 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mobileclip_kit import __version__
from mobileclip_kit.schemas import first_sentence, schema_of
from mobileclip_kit.web.documents import ErrorDocument, ImageFacts, LibraryDescription, SearchResults, UploadToken
from mobileclip_kit.web.library import ID_PATTERN
from mobileclip_kit.web.ranking import SearchRequest

DESCRIPTION = "/api/openapi.json"
# What each status says; a response of an operation has one of those that it names.
_STATUSES = {
    304: "The client has it: its ETag is in `If-None-Match`.",
    400: "The request is impossible.",
    401: "The token is missing or wrong.",
    403: "The request came from another web page, or to another name of this machine.",
    404: "The index has no such image.",
    408: "The request was not sent in time.",
    409: "The model cannot be opened, or lacks a tower.",
    410: "The image's file is gone.",
    413: "The request is too large.",
    415: "The request has another media type.",
    422: "The image cannot be decoded.",
    503: "The index is damaged.",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One request of the API.

    Attributes:
        name: Of the method that answers it, and its ``operationId``.
        path: With ``{id}`` in the place of an image's id.
        summary: What it is for.
        method: Of HTTP.
        takes: The dataclass of its JSON body, or media types of other bodies.
        gives: The dataclass of its JSON response, or media types of other responses; None for the description itself.
        statuses: Keys of :data:`_STATUSES`, beside those of every request.
    """

    name: str
    path: str
    summary: str
    method: str = "GET"
    takes: type[Any] | tuple[str, ...] | None = None
    gives: type[Any] | tuple[str, ...] | None = None
    statuses: tuple[int, ...] = ()


_OF_FILES = (304, 404, 410, 422)
OPERATIONS = (
    Operation(name="library", path="/api/library", gives=LibraryDescription,
              summary="The library, and what can be searched for."),
    Operation(name="search", path="/api/search", method="POST", takes=SearchRequest, gives=SearchResults,
              summary="Search by words, images or both, among all images or some.",
              statuses=(400, 404, 408, 409, 413, 415, 503)),
    Operation(name="upload_image", path="/api/images", method="POST", gives=UploadToken,
              takes=("application/octet-stream", "image/*"), summary="Accept an image to search by.",
              statuses=(408, 409, 413, 415, 422)),
    Operation(name="describe_image", path="/api/images/{id}", gives=ImageFacts, summary="Facts about an image.",
              statuses=(404,)),
    Operation(name="thumbnail", path="/thumbnails/{id}", gives=("image/webp",), statuses=_OF_FILES,
              summary="An image's thumbnail, upright, at most 480 pixels long."),
    Operation(name="image", path="/images/{id}", gives=("image/*",), statuses=_OF_FILES,
              summary="An image's file; formats that browsers do not know are converted to JPEG."),
    Operation(name="description", path=DESCRIPTION, summary="This description."),
)  # fmt: skip


def describe_api(*, token: bool) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        token: Whether every request needs a token.
    """
    parts: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, parts, token=token)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "mckit serve",
            "version": __version__,
            "description": "Search in an index of images: by words, by images, or both.",
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(parts.items()))},
    }
    if token:
        scheme = {
            "type": "http",
            "scheme": "bearer",
            "description": "The token that `mckit serve` printed or was given.",
        }
        document["components"]["securitySchemes"] = {"token": scheme}
        document["security"] = [{"token": []}]
    return document


def _describe(operation: Operation, parts: dict[str, Any], *, token: bool) -> dict[str, Any]:
    given = operation.gives
    content = {"application/json": {"schema": {"type": "object"}}} if given is None else _content(given, parts)
    about = first_sentence(given) if isinstance(given, type) else operation.summary
    error = _content(ErrorDocument, parts)
    responses: dict[str, Any] = {"200": {"description": about, "content": content}}
    for status in sorted({*operation.statuses, 403, *((401,) if token else ())}):
        responses[str(status)] = {"description": _STATUSES[status]} | ({} if status == 304 else {"content": error})
    described: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary, "responses": responses}
    if "{id}" in operation.path:
        schema = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
        described["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": schema, "description": "The `id` of a hit."}
        ]
    if operation.takes is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.takes, parts)}
    return described


def _content(kind: type[Any] | tuple[str, ...], parts: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, tuple):
        return {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in kind}
    return {"application/json": {"schema": schema_of(kind, parts)}}
