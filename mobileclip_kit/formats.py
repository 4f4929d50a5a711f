"""Reading and writing of mckit's JSON and TOML files, each of which is described by a frozen dataclass.

``read`` and ``from_document`` check every key and type against the dataclass's annotations. An unknown key, a missing
key or a value of the wrong type gives an error of one sentence that names the file and the key. cattrs does the
conversion; the hooks below make it strict: a string is not converted to a number, and a fraction not to an integer.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
from cattrs import AttributeValidationNote
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from mobileclip_kit.errors import DataError, MckitError
from mobileclip_kit.files import check_nesting, read_json, read_text, write_json

Described = TypeVar("Described")
# A class of errors, called with a message and a hint.
Refusal = Callable[..., MckitError]


def read(path: Path, kind: type[Described], *, error: Refusal = DataError, hint: str | None = None) -> Described:
    """Read a JSON or, by its suffix, a TOML file into a dataclass.

    Args:
        path: The file.
        kind: A dataclass; its annotations say what the file must contain.
        error: Class of the error if the content does not fit.
        hint: What the user can do about it.

    Raises:
        DataError: The file is missing, or is neither JSON nor TOML.
        MckitError: ``error``, naming the file and the key, when the content does not fit ``kind``.
    """
    document = read_toml(path) if path.suffix == ".toml" else read_json(path)
    return from_document(document, kind, where=str(path), error=error, hint=hint)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        DataError: The file is missing or not TOML.
    """
    try:
        document = tomllib.loads(read_text(path))
        check_nesting(document)
    except (ValueError, RecursionError) as cause:
        raise DataError(f"{path} is not valid TOML: {cause}.") from cause
    return document


def write(path: Path, described: Any, *, sealed: bool = True) -> None:
    """Write a dataclass as JSON, atomically; ``sealed`` as for :func:`mobileclip_kit.files.write_json`."""
    write_json(path, to_document(described), sealed=sealed)


def to_document(described: Any) -> Any:
    """A dataclass as JSON values: tuples become lists, paths strings."""
    return _CONVERTER.unstructure(described)


def from_document(
    document: Any, kind: type[Described], *, where: str, error: Refusal = DataError, hint: str | None = None
) -> Described:
    """Build a dataclass from JSON or TOML values.

    Args:
        document: The values.
        kind: The dataclass.
        where: The file, and the table in it, for the message.
        error: Class of the error.
        hint: What the user can do about it; an unknown key has a hint of its own.

    Raises:
        MckitError: ``error``: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    try:
        return _CONVERTER.structure(document, kind)
    except MckitError as cause:  # from __post_init__: a value out of range
        raise error(f"{where}: {cause.message}", hint=cause.hint or hint) from cause
    except Exception as cause:
        place, reason, own_hint = _first_reason(cause)
        # "file.json has no name", but "file.json: parts has no name" and "file.json: size is 3; …".
        colon = "" if not place and reason.startswith("has ") else ":"
        sentence = " ".join(filter(None, (f"{where}{colon}", place, reason)))
        raise error(f"{sentence.rstrip('.')}.", hint=own_hint or hint) from cause


class _Within(Exception):
    """An entry of a list or an object that does not fit."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(step)
        self.step, self.cause = step, cause


def _first_reason(cause: BaseException, place: str = "") -> tuple[str, str, str | None]:
    """The key, the message and the hint of the first value that does not fit."""
    if isinstance(cause, _Within):
        return _first_reason(cause.cause, f"{place}{cause.step}")
    if isinstance(cause, ClassValidationError):
        # A misspelt key is the likelier cause than the key that is therefore missing.
        inner = min(cause.exceptions, key=lambda each: not isinstance(each, ForbiddenExtraKeysError))
        note = next(
            (note for note in getattr(inner, "__notes__", ()) if isinstance(note, AttributeValidationNote)), None
        )
        step = "" if note is None or isinstance(inner, KeyError) else note.name
        if isinstance(inner, MckitError) and note is None:  # from __post_init__; the message may begin with a key
            key = re.split(r"\W", inner.message, maxsplit=1)[0]
            if key in {field.name for field in dataclasses.fields(cause.cl)}:
                return f"{place}.{inner.message}" if place else inner.message, "", inner.hint
            return f"{place}:" if place else "", inner.message, inner.hint
        return _first_reason(inner, f"{place}.{step}" if place and step else place or step)
    if isinstance(cause, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(cause.cl)]
        key = sorted(cause.extra_fields)[0]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        return place, f"has the unknown key {key!r}", hint
    if isinstance(cause, KeyError):
        return place, f"has no {cause.args[0]}", None
    if isinstance(cause, MckitError):
        return place, cause.message, cause.hint
    return place, str(cause), None


def _strict(wanted: type, accepts: tuple[type, ...], name: str) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, bool) and wanted is not bool or not isinstance(value, accepts):
            raise TypeError(f"is {_shown(value)}; it must be {name}")
        try:
            if wanted is float and not math.isfinite(typing.cast(float, value)):
                raise TypeError(f"is {value}; it must be a finite number")
            return wanted(value)
        except OverflowError as cause:  # JSON has integers that no float can hold
            raise TypeError(f"is {_shown(value)}; it must be a finite number") from cause

    return structure


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _literal(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1, cutoff=0.6)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise TypeError(f"is {_shown(value)}; it must be one of {', '.join(map(str, choices))}{meant}")
    return value


def _tuple(value: Any, kind: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"is {_shown(value)}; it must be a list")
    wanted = get_args(kind)
    if wanted[-1] is Ellipsis:
        kinds = [wanted[0]] * len(value)
    elif len(wanted) != len(value):
        raise TypeError(f"has {len(value)} entries; it must have {len(wanted)}")
    else:
        kinds = list(wanted)
    pairs = enumerate(zip(value, kinds, strict=True))
    return tuple(_entry(f"[{number}]", each, one) for number, (each, one) in pairs)


def _mapping(value: Any, kind: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"is {_shown(value)}; it must be an object")
    key_kind, wanted = get_args(kind) or (str, Any)
    if get_origin(key_kind) is Literal and (unknown := sorted(set(value) - set(get_args(key_kind)))):
        raise TypeError(f"has the unknown key {unknown[0]!r}; known are {', '.join(get_args(key_kind))}")
    return {key: each if wanted is Any else _entry(f".{key}", each, wanted) for key, each in value.items()}


def _entry(step: str, value: Any, kind: Any) -> Any:
    try:
        return _CONVERTER.structure(value, kind)
    except Exception as cause:
        raise _Within(step, cause) from cause


def _origin(kind: Any) -> Any:  # any annotation, where get_origin is typed for some of them
    return get_origin(kind)


def _is_tuple(kind: Any) -> bool:
    return _origin(kind) is tuple


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _dataclass(kind: Any) -> Callable[[Any, Any], Any]:
    build = make_dict_structure_fn(kind, _CONVERTER, _cattrs_forbid_extra_keys=True)

    def structure(value: Any, wanted: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"is {_shown(value)}; it must be an object")
        return build(dict(value), wanted)

    return structure


def _converter() -> cattrs.Converter:
    made = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    for wanted, name in {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.items():
        made.register_structure_hook(wanted, _strict(wanted, (int, float) if wanted is float else (wanted,), name))
    made.register_structure_hook(Path, lambda value, _: Path(_strict(str, (str,), "a path")(value, str)))
    made.register_unstructure_hook(Path, str)
    made.register_unstructure_hook_func(_is_tuple, lambda value: [made.unstructure(each) for each in value])
    made.register_structure_hook_func(_is_tuple, _tuple)
    made.register_structure_hook_func(_is_mapping, _mapping)
    made.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _literal)
    made.register_structure_hook_factory(dataclasses.is_dataclass, _dataclass)
    return made


_CONVERTER = _converter()
