"""How a field of a request dataclass becomes an option of the command line.

``mckit distill`` and ``mobileclip_kit.distill(...)`` take the same request. Its fields are written once::

    @dataclass(frozen=True, kw_only=True)
    class DistillRequest:
        student: Annotated[str | None, Option("A new image tower, such as vit-s6-h12.", metavar="S")] = None

The annotation gives the option's type, the default its default, the ``Option`` its help; ``cli/options.py`` makes click
options of them. This module imports nothing, so that requests stay free of click and torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """What the command line says about a field.

    Attributes:
        help: One sentence.
        names: The option's names; ``("--field-name",)`` by default. One without dashes makes it a positional argument.
        metavar: What stands for the value in the help.
        at_least: The smallest number allowed.
        at_most: The largest number allowed.
        flag_value: The value when the option is given without one.
        variable: The environment variable that gives the value when the option is missing.
        required: Whether the command refuses to run without it.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    flag_value: str | None = None
    variable: str | None = None
    required: bool = False
