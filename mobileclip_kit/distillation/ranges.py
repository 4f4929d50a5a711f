"""Ranges of numbers, written in a dataclass's annotations: ``lr: Annotated[float, Range(0.0, above=True)]``."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass, fields
from typing import Any

from mobileclip_kit.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The numbers that a field allows.

    Attributes:
        low: The least.
        high: The greatest; a number must be finite in any case.
        above: Whether ``low`` itself is excluded.
        below: Whether ``high`` itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below or self.high == math.inf else value <= self.high)

    def __str__(self) -> str:
        if self.high != math.inf:
            return f"in {self.low:g}…{self.high:.10g}"
        return f"above {self.low:g} and finite" if self.above else f"at least {self.low:g}"


def check_ranges(table: Any) -> None:
    """Refuse a dataclass one of whose numbers, or of the numbers in its tuples, is out of range; None passes.

    Raises:
        UsageError: Names the field, its value and its range.
    """
    hints = typing.get_type_hints(type(table), include_extras=True)
    for field in fields(table):
        value = getattr(table, field.name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        for extra in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(extra, Range) and not all(number in extra for number in numbers):
                shown = list(value) if isinstance(value, tuple) else value
                raise UsageError(f"{field.name} is {shown}; it must be {extra}.")
