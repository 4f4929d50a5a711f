"""The table of operators, by their name in a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mobileclip_kit.mil.ops_compressed import COMPRESSED
from mobileclip_kit.mil.ops_convolution import CONVOLUTION
from mobileclip_kit.mil.ops_elementwise import ELEMENTWISE
from mobileclip_kit.mil.ops_matrix import MATRIX
from mobileclip_kit.mil.ops_reductions import REDUCTIONS
from mobileclip_kit.mil.ops_shapes import SHAPES

OPS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **REDUCTIONS,
    **SHAPES,
    **CONVOLUTION,
    **MATRIX,
    **COMPRESSED,
}
