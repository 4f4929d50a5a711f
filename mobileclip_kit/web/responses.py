"""JSON documents and errors as responses."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from mobileclip_kit import errors
from mobileclip_kit.files import one_line
from mobileclip_kit.formats import to_document
from mobileclip_kit.web.documents import ErrorDocument, ErrorFacts

# The first class that matches decides.
_STATUS: dict[type[errors.MckitError], int] = {
    errors.UsageError: 400, errors.ImageError: 422, errors.DataError: 404, errors.ModelError: 409,
    errors.ModelMismatchError: 409, errors.IndexFormatError: 503,
}  # fmt: skip


def json_response(document: Any, status: int = 200) -> Response:
    """A dataclass or values as a JSON document that the browser does not cache: the next response may differ."""
    body = json.dumps(to_document(document), allow_nan=False, separators=(",", ":"))
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def error_response(status: int, kind: str, message: str, hint: str | None = None) -> Response:
    """An error as the document that ``--json`` prints too."""
    hint = None if hint is None else one_line(hint)
    return json_response(ErrorDocument(error=ErrorFacts(kind=kind, message=one_line(message), hint=hint)), status)


def response_to(error: errors.MckitError) -> Response:
    """The response for an error of mckit, with the status of its class."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return error_response(status, error.kind, error.message, error.hint)
