"""JSON Schemas of the dataclasses that :mod:`mobileclip_kit.formats` reads and writes, and limits of their values.

A limit is written once, in the annotation of a field. :func:`check_limits` refuses a value beyond it, and
:func:`schema_of` states it, so that a description cannot disagree with what is accepted.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mobileclip_kit.errors import UsageError

_SIMPLE = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}
_FIELD = re.compile(r"^(\w+): (.*)$")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the values of a field may be, beside their type.

    Attributes:
        least: The smallest number.
        most: The greatest number.
        longest: Characters of a text, or entries of a list, at most.
        pattern: Regular expression of a whole text.
        kind: What such a text is: "a date such as 2024-12-31, or empty".
    """

    least: float | None = None
    most: float | None = None
    longest: int | None = None
    pattern: str | None = None
    kind: str = ""

    def problem(self, value: Any) -> str | None:
        """Why a value is refused, as the end of a sentence that begins with its name; None if it is not."""
        if self.longest is not None and len(value) > self.longest:
            what = "characters" if isinstance(value, str) else "entries"
            return f"has {len(value):,} {what}; the limit is {self.longest:,}"
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            return f"is {value!r}; it must be {self.kind}"
        low, high = self.least, self.most
        if (low is not None and value < low) or (high is not None and value > high):
            span = f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"
            return f"is {value:g}; it must be {span}"
        return None

    def schema(self) -> dict[str, Any]:
        """The limit in the words of JSON Schema."""
        of_list = {"maxLength": self.longest, "maxItems": self.longest}
        named = {"minimum": self.least, "maximum": self.most, **of_list,
                 "pattern": None if self.pattern is None else f"^(?:{self.pattern})$"}  # fmt: skip
        return {key: value for key, value in named.items() if value is not None}


def check_limits(described: Any) -> None:
    """Refuse an instance of a dataclass that has a value beyond its limit.

    Raises:
        UsageError: Names the field, the value and the limit.
    """
    for name, hint in typing.get_type_hints(type(described), include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Limit) and (problem := extra.problem(getattr(described, name))):
                raise UsageError(f"{name} {problem}.")


def schema_of(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a type that :func:`mobileclip_kit.formats.from_document` reads.

    Args:
        kind: A dataclass, or a type of its fields.
        parts: Takes the schemas of dataclasses by name; the result refers to them.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in parts:
            parts[kind.__name__] = {}  # a dataclass may contain itself
            parts[kind.__name__] = _object(kind, parts)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    if get_origin(kind) is typing.Annotated:
        plain, *extras = get_args(kind)
        schema = schema_of(plain, parts)
        limits: dict[str, Any] = {}
        for extra in extras:
            limits |= extra.schema() if isinstance(extra, Limit) else {}
        unused = "maxItems" if schema.get("type") == "string" else "maxLength"
        return schema | {key: value for key, value in limits.items() if key != unused}
    if get_origin(kind) in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(each, parts) for each in get_args(kind)]}
    if kind is type(None):
        return {"type": "null"}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": schema_of(get_args(kind)[0], parts)}
    if isinstance(get_origin(kind), type) and issubclass(typing.cast(type, get_origin(kind)), Mapping):
        return {"type": "object", "additionalProperties": schema_of(get_args(kind)[1], parts)}
    return {"type": _SIMPLE[kind]}


def _object(kind: type[Any], parts: dict[str, Any]) -> dict[str, Any]:
    hints, about = typing.get_type_hints(kind, include_extras=True), describe_fields(kind)
    properties: dict[str, Any] = {}
    required = []
    for field in dataclasses.fields(kind):
        schema = schema_of(hints[field.name], parts)
        if field.default is dataclasses.MISSING:
            required.append(field.name)
        elif field.default is not None:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            schema["default"] = default
        properties[field.name] = schema | ({"description": about[field.name]} if field.name in about else {})
    described = {"type": "object", "description": first_sentence(kind), "properties": properties}
    return {**described, "required": required, "additionalProperties": False}


def first_sentence(described: Any) -> str:
    """The first line of a docstring, without the marks of Sphinx."""
    return _plain((inspect.getdoc(described) or "").splitlines()[0])


def describe_fields(kind: type[Any]) -> dict[str, str]:
    """What the section ``Attributes`` of a dataclass's docstring says about each field."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if start := _FIELD.match(line[4:]):
            name = start[1]
            found[name] = start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: _plain(text) for name, text in found.items()}


def _plain(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", lambda match: match[1].rpartition(".")[2], text).replace("``", "`")
