"""Click options made from the fields of a request dataclass, see :mod:`mobileclip_kit.options`."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from mobileclip_kit.cli.output import NumberRange, WholeNumber
from mobileclip_kit.options import Option
from mobileclip_kit.urls import as_place

Command = TypeVar("Command", bound=Callable[..., Any])


def options_from(
    kind: type[Any],
    *,
    only: typing.Collection[str] | None = None,
    skip: typing.Collection[str] = (),
    name: str = "request",
) -> Callable[[Command], Any]:
    """Add an option for every annotated field of a dataclass; the command gets one instance of it.

    Args:
        kind: A dataclass whose fields are annotated with :class:`~mobileclip_kit.options.Option`. Fields without one
            are no options; they keep their defaults.
        only: The fields that this command offers; None for all.
        skip: Fields that this command does not offer.
        name: The command's argument that receives the instance.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    # A subclass's own fields come before those that it shares with others.
    order = [name for parent in kind.__mro__ for name in parent.__dict__.get("__annotations__", {})]
    offered = {
        field.name: field
        for field in sorted(dataclasses.fields(kind), key=lambda field: order.index(field.name))
        if field.name not in skip and (only is None or field.name in only)
    }
    parameters = {
        field_name: _parameter(field, *declared)
        for field_name, field in offered.items()
        if (declared := _declared(hints[field_name])) is not None
    }

    def decorate(command: Command) -> Any:
        @functools.wraps(command)
        def with_request(**given: Any) -> Any:
            values = {field_name: given.pop(field_name) for field_name in parameters}
            return command(**{name: kind(**values)}, **given)

        # Click lists parameters in the order in which decorators would have added them: the last one first.
        with_request.__click_params__ = [  # type: ignore[attr-defined]
            *getattr(command, "__click_params__", []),
            *reversed(parameters.values()),
        ]
        return with_request

    return decorate


def _declared(hint: Any) -> tuple[Any, Option] | None:
    """The plain type and the Option of an annotated field."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None
    plain, *extras = typing.get_args(hint)
    return next(((plain, extra) for extra in extras if isinstance(extra, Option)), None)


def _parameter(field: dataclasses.Field[Any], plain: Any, option: Option) -> click.Parameter:
    missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    default = None if field.default is dataclasses.MISSING else field.default
    names = option.names or (f"--{field.name.replace('_', '-')}",)
    plain = _without_none(plain)
    multiple = typing.get_origin(plain) is tuple and typing.get_args(plain)[-1] is Ellipsis
    kind = _click_type(typing.get_args(plain)[0] if multiple else plain, option)
    if not names[0].startswith("-"):
        return click.Argument(
            [field.name],
            type=kind,
            required=option.required or missing,
            metavar=option.metavar,
            nargs=-1 if multiple else 1,
        )
    given: dict[str, Any] = {"help": option.help, "required": option.required or missing, "metavar": option.metavar,
                             "envvar": option.variable}  # fmt: skip
    if plain is bool:
        return click.Option([field.name, *names], is_flag=True, default=bool(default), help=option.help)
    if option.flag_value is not None:
        given |= {"is_flag": False, "flag_value": option.flag_value}
    if multiple:
        given |= {"multiple": True}
    elif default is not None:
        given |= {"default": default, "show_default": True}
    return click.Option([field.name, *names], type=kind, **given)


def _without_none(plain: Any) -> Any:
    if typing.get_origin(plain) not in (types.UnionType, typing.Union):
        return plain
    kinds = [kind for kind in typing.get_args(plain) if kind is not type(None)]
    if len(kinds) == 1:
        return kinds[0]
    # Of several kinds the command line gives a text; what may be a path or a URL is told apart.
    return str | Path if set(kinds) == {str, Path} else str


def _click_type(plain: Any, option: Option) -> Any:
    if plain == str | Path:
        return as_place
    if typing.get_origin(plain) is Literal:
        return click.Choice(typing.get_args(plain))
    if plain is Path:
        return click.Path(path_type=Path)
    if plain is datetime:
        return click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
    if plain in (int, float) and option.at_least is option.at_most is None:
        return plain
    if plain is int:
        low, high = (None if end is None else int(end) for end in (option.at_least, option.at_most))
        return WholeNumber(low, high)
    if plain is float:
        return NumberRange(option.at_least, option.at_most)
    return plain
