"""Licences of published weights, for the model card: of a teacher, or of the model itself.

Each row cites where its licence is stated. A model that no row covers is "not stated" in the card: tags of open_clip do
not say who published the weights, so nothing is concluded from similar names.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

SCENES = "images drawn by `mckit scenes`, which are under mckit's MIT licence"
_DATACOMP = "image-text pairs of DataComp's pools: the index is under CC BY 4.0, each image under its own copyright"


@dataclass(frozen=True)
class Weights:
    """Weights that others may have started from.

    Attributes:
        models: Patterns of ``architecture:tag`` as open_clip names them, or model hashes.
        licence: Of the weights.
        source: Where the licence is stated.
        data: What they were trained on.
    """

    models: tuple[str, ...]
    licence: str
    source: str
    data: str


_KNOWN = (
    Weights(
        ("f4d9c646942e71e75bdf2b459aff80633634e91ea6e87d3511e4439d6161184b",),
        "MIT", "mckit's models/scenes-teacher", SCENES,
    ),
    Weights(("*:openai",), "MIT", "github.com/openai/CLIP", "400 million image-text pairs of the web, not published"),
    Weights(
        ("ViT-*:laion2b_s*", "convnext_*:laion2b_s*"), "MIT", "huggingface.co/laion",
        "LAION-2B: the index is under CC BY 4.0, each image under its own copyright",
    ),
    Weights(("ViT-*:datacomp_*", "ViT-*:commonpool_*"), "MIT", "huggingface.co/laion", _DATACOMP),
    Weights(("ViT-*SigLIP*:webli",), "Apache 2.0", "huggingface.co/timm", "WebLI, not published"),
    Weights(
        ("*:metaclip_*",), "CC BY-NC 4.0", "github.com/facebookresearch/MetaCLIP",
        "image-text pairs of Common Crawl, not published",
    ),
    Weights(("*:dfn2b*", "*:dfn5b"), "Apple AMLR", "huggingface.co/apple", "image-text pairs of the web, filtered"),
    Weights(("MobileCLIP-*:datacompdr*",), "Apple AMLR", "huggingface.co/apple", _DATACOMP),
)  # fmt: skip


def find_weights(*names: str | None) -> Weights | None:
    """The row of the first name that has one.

    Args:
        names: Model hashes, or names as open_clip gives them: ``ViT-B-32:openai``.
    """
    return next(
        (row for name in names if name for row in _KNOWN if any(fnmatchcase(name, each) for each in row.models)), None
    )


def hub_identifier(licence: str | None) -> str:
    """The hub's identifier of a licence, such as ``cc-by-4.0`` for ``CC BY 4.0``; ``other`` where it has none."""
    name = "-".join((licence or "").lower().split())
    return name if name in _HUB else "other"


_HUB = frozenset(
    "mit apache-2.0 bsd-2-clause bsd-3-clause cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-3.0 "
    "cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 "
    "epl-2.0 eupl-1.2 isc unlicense wtfpl openrail apple-amlr".split()
)
