"""The options of ``mckit tag``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mobileclip_kit.errors import UsageError
from mobileclip_kit.options import Option

# As the background texts are written; chosen on the synthetic scenes.
TEMPLATES = ("a {}",)
MIN_CONFIDENCE = 0.5
BESIDE = "beside"
_SUFFIXES = (".json", ".csv")


@dataclass(frozen=True, kw_only=True)
class TagRequest:
    """How tags are made, and where they go beside the index.

    Attributes:
        xmp: The folder of the sidecars; :data:`BESIDE` for the image's own; None for no sidecars.
    """

    min_confidence: Annotated[
        float, Option("Tags that are right with this probability.", metavar="P", at_least=0, at_most=1)
    ] = MIN_CONFIDENCE
    templates: Annotated[
        tuple[str, ...],
        Option('Sentence around a label; several are averaged. [default: "a {}"]',
               names=("--template",)),
    ] = ()  # fmt: skip
    out: Annotated[
        Path | None, Option("Write the tags to a .json or .csv file as well.", names=("-o", "--out"), metavar="FILE")
    ] = None
    xmp: Annotated[
        str | None,
        Option("Write XMP sidecars (IMAGE.xmp): beside the images, or below DIR.", metavar="[DIR]", flag_value=BESIDE),
    ] = None

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"{self.out} is neither .json nor .csv.", hint="Choose one of them as the suffix of -o.")
