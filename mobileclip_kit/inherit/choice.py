"""Which of a teacher's units a narrower student gets."""

from __future__ import annotations

from typing import Literal

Choice = Literal["leading", "heaviest"]
