"""Errors as the browser gets them: a status, and the same document as ``--json`` gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from mobileclip_kit.errors import (
    DataError,
    ImageError,
    IndexFormatError,
    MckitError,
    ModelError,
    ModelMismatchError,
    UsageError,
)
from mobileclip_kit.web.names import shown

# The first class that fits counts.
_STATUS: tuple[tuple[type[MckitError], int], ...] = (
    (UsageError, 400),
    (ImageError, 422),
    (DataError, 404),
    (ModelError, 409),
    (ModelMismatchError, 409),
    (IndexFormatError, 503),
)


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document that is never kept: the next answer may be another one."""
    body = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def problem(status: int, kind: str, message: str, hint: str | None = None) -> Response:
    """An error in words."""
    return json_answer(
        {"error": {"kind": kind, "message": shown(message), "hint": None if hint is None else shown(hint)}}, status
    )


def problem_of(error: MckitError) -> Response:
    """One of ours, with the status that suits it."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return problem(status, error.kind, error.message, error.hint)
