"""What every exported file says of itself, whatever its format; and silence and mends while converters work."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from mobileclip_kit import __version__
from mobileclip_kit.spec import ModelSpec, Tower


def describe_tower(tower: Tower, spec: ModelSpec) -> dict[str, str]:
    """Entries that an ONNX file and a Core ML package carry alike."""
    return {
        "mckit_version": __version__,
        "mckit_tower": tower,
        "model_name": spec.name,
        "model_hash": spec.model_hash,
        "model_spec": json.dumps(spec.to_json(), ensure_ascii=False),
        "licence": str(spec.provenance.get("licence", "unstated")),
    }


def short_description(tower: Tower, spec: ModelSpec) -> str:
    """One sentence on what a tower takes and gives."""
    if tower == "image":
        image = spec.require_image()
        taken = f"an RGB image of {image.width}×{image.height} pixels (normalisation is inside)"
    else:
        taken = f"{spec.require_text().context_length} token identifiers"
    return f"The {tower} tower of {spec.name}: {taken} to a unit vector of {spec.embedding_dim} numbers."


@contextlib.contextmanager
def quiet_converters() -> Iterator[None]:
    """Keep the converters' prints, bars, logs and warnings off the terminal: what matters stands in the manifest."""
    was_disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(was_disabled)


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Callable[..., Any]) -> Iterator[None]:
    """Let a converter's module have another function of that name."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
