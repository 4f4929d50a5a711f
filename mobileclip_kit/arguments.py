"""Arguments and errors of the public functions: a wrong type is one sentence before any work, not a ``TypeError``.

Options are the fields of a request dataclass: their annotations say which types and which numbers are allowed, here as
on the command line.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import functools
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from mobileclip_kit.errors import MckitError, UsageError, in_python
from mobileclip_kit.options import Option

Described = TypeVar("Described")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# The types of arguments that several functions take.
Count = Annotated[int, Option("", at_least=1)]
Cosine = Annotated[float, Option("", at_least=-1, at_most=1)]
Confidence = Annotated[float, Option("", at_least=0, at_most=1)]

_TITLES: dict[Any, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "True or False", Path: "a path",
    tuple: "a list", collections.abc.Callable: "a function",
}  # fmt: skip
_UNIONS = (typing.Union, types.UnionType)
_SHOWN = 60


def python_errors(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let the errors of a function of the public API name options as Python does, also in ``message`` and ``hint``."""

    @functools.wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except MckitError as error:
            error.message = in_python(error.message)
            error.hint = None if error.hint is None else in_python(error.hint)
            raise

    return call


def check_arguments(function: str, /, **given: tuple[Any, Any]) -> None:
    """Refuse values of another type than a function takes.

    Args:
        function: Its name, for the message.
        **given: Each argument's value and annotation; an :class:`Option` in it gives the range of a number.

    Raises:
        UsageError: Names the first argument that does not fit.
    """
    for name, (value, annotation) in given.items():
        option = _option(annotation)
        if not _fits(value, annotation):
            wanted = " or ".join(dict.fromkeys(_titles(annotation)))  # None is the default; nobody has to pass it
            raise UsageError(f"{function}: {name} is {_shown(value)}; it must be {wanted}.")
        if option is not None and isinstance(value, numbers.Real):
            number, low, high = float(value), option.at_least, option.at_most
            if not ((low is None or number >= low) and (high is None or number <= high)):
                ends = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
                raise UsageError(f"{function}: {name} is {value}; it must be {' and '.join(filter(None, ends))}.")


def request_from(kind: type[Described], function: str, named: tuple[str, ...] = (), /, **fields: Any) -> Described:
    """A dataclass of options, made from the arguments of a function.

    Paths may be texts and names may be paths. An option's second name on the command line is accepted, too.

    Args:
        kind: The dataclass.
        function: Its name, for messages.
        named: Arguments of the function beside the options, which a misspelt one may mean.
        **fields: The options.

    Raises:
        UsageError: An option is unknown (the nearest one is named), missing, of a wrong type or out of range.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    second = {
        alias.lstrip("-").replace("-", "_"): name
        for name in known
        if (option := _option(hints[name])) is not None
        for alias in option.names
        if alias.startswith("--")
    }
    chosen: dict[str, Any] = {}
    for given, value in fields.items():
        name = given if given in known else second.get(given, given)
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *named], n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
            raise UsageError(f"{function} has no option {name!r}.", hint=hint)
        if name in chosen:
            both = " and ".join(each for each in fields if second.get(each, each) == name)
            raise UsageError(f"{function}: {both} are the same option.", hint="Pass one of them.")
        if isinstance(value, os.PathLike) and not _fits(value, hints[name]):
            value = os.fspath(value)
        check_arguments(function, **{given: (value, hints[name])})
        kinds = _parts(hints[name])
        is_place = isinstance(value, str) and str not in kinds and Path in kinds
        chosen[name] = Path(value) if is_place else value
    return kind(**chosen)


def listed_texts(function: str, name: str, value: str | Iterable[str]) -> list[str]:
    """Several texts as a list; a single ``str`` is one text.

    Raises:
        UsageError: Something else than texts was given.
    """
    try:
        texts = [value] if isinstance(value, str) else list(value)
    except TypeError:  # as an array of no dimension, which seems to be iterable
        texts = None
    if texts is None or isinstance(value, bytes):
        raise UsageError(f"{function}: {name} is {_shown(value)}; it must be a text or a list.")
    for number, text in enumerate(texts):
        check_arguments(function, **{f"{name}[{number}]": (text, str)})
    return texts


def _option(annotation: Any) -> Option | None:
    """The annotation's Option, also of a part of a union."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    found = inner[1:] if origin is Annotated else map(_option, inner) if origin in _UNIONS else ()
    return next((each for each in found if isinstance(each, Option)), None)


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the type itself."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _parts(inner[0])
    return tuple(part for each in inner for part in _parts(each)) if origin in _UNIONS else (annotation,)


def _fits(value: Any, annotation: Any) -> bool:
    return any(_is(value, part) for part in _parts(annotation))


def _is(value: Any, kind: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin is tuple:  # of one kind; a single entry may stand alone
        return _fits(value, inner[0]) or (
            isinstance(value, list | tuple) and all(_fits(one, inner[0]) for one in value)
        )
    if origin is collections.abc.Callable:
        return callable(value)
    if kind in (int, float):  # numpy's numbers, too
        return isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    return isinstance(value, origin or kind)


def _titles(annotation: Any) -> list[str]:
    found: list[str] = []
    for part in _parts(annotation):
        if part is type(None):
            continue
        origin = typing.get_origin(part)
        if origin is Literal:
            found += map(repr, typing.get_args(part))
        else:
            kind = origin or part
            found.append(_TITLES.get(kind) or with_article(kind))
    place = [_TITLES[Path], "a name"]  # of what has both
    texts = {_TITLES[str], _TITLES[Path]}
    return [*place, *(each for each in found if each not in texts)] if texts <= {*found} else found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN and "\n" not in text else with_article(type(value))


def with_article(kind: type) -> str:
    """The name of a class, for a message: "an int"."""
    return f"{'an' if kind.__name__[0] in 'AEIOaeio' else 'a'} {kind.__name__}"
