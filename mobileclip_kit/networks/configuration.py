"""A model's configuration, checked before open_clip builds what it says.

It comes from whoever made the model, and open_clip passes parts of it on to other libraries: ``hf_model_name``,
``hf_tokenizer_name`` and ``tokenizer_kwargs`` to transformers, which can run code that lies beside a model, and
``timm_model_name`` to timm, which asks the hub when the name has a prefix. Sizes far above those of any published model
would keep open_clip busy for minutes, or take all memory, before the weights are found not to fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mobileclip_kit.errors import ModelError, first_line
from mobileclip_kit.spec import check_hub_name, check_tokenizer_arguments

_SECTIONS = ("vision_cfg", "text_cfg", "multimodal_cfg")
_TIMM_NAME = re.compile(r"[\w.-]+", re.ASCII)
# The most that a size may be; several times what open_clip's largest models have.
_LIMITS = {
    "attn_pooler_heads": 1024,
    "attn_pooler_queries": 8192,
    "context_length": 8192,
    "embed_dim": 65_536,
    "head_width": 16_384,
    "heads": 1024,
    "image_size": 8192,
    "layers": 1000,
    "mlp_ratio": 64,
    "n_queries": 8192,
    "patch_size": 8192,
    "vocab_size": 8_000_000,
    "width": 16_384,
}
_MAX_KEPT = 65_536  # of each number in the table of what pruning kept


def check_configuration(model_cfg: Any, source: str) -> None:
    """Refuse a ``model_cfg`` that would make a library run foreign code, ask the hub, or take endless time.

    Args:
        model_cfg: As in ``open_clip_config.json``.
        source: The file or the hub address that it comes from, for the message.

    Raises:
        ModelError: Names the source, the key and the value.
    """
    if not isinstance(model_cfg, Mapping):
        raise ModelError(f"{source}: model_cfg is {model_cfg!r}, not an object.")
    _check_sizes(model_cfg, _LIMITS, f"{source}: model_cfg")
    for name in _SECTIONS:
        section = model_cfg.get(name, {})
        if not isinstance(section, Mapping):
            raise ModelError(f"{source}: {name} is {section!r}, not an object.")
        _check_sizes(section, _LIMITS, f"{source}: {name}")
        kept = section.get("kept")
        if isinstance(kept, Mapping):
            _check_sizes(kept, dict.fromkeys(kept, _MAX_KEPT), f"{source}: {name}.kept")
        _check_timm_name(section.get("timm_model_name"), f"{source}: {name}")
        _check_tokenizer(section, f"{source}: {name}")
        _check_text_encoder(section, f"{source}: {name}")


def _check_sizes(section: Mapping[str, Any], limits: Mapping[str, int], where: str) -> None:
    for name, limit in limits.items():
        sizes = section.get(name)
        for size in sizes if isinstance(sizes, list | tuple) else [sizes]:
            if isinstance(size, int | float) and not 0 <= size <= limit:  # NaN is refused too
                raise ModelError(f"{where}.{name} is {sizes!r}; mckit builds models of at most {limit:,}.")
            if name == "patch_size" and size == 0:
                raise ModelError(f"{where}.{name} is {sizes!r}; it must be at least 1.")


def _check_timm_name(name: object, where: str) -> None:
    """A prefix (``hf-hub:``, ``local-dir:``) would make timm read another model's configuration."""
    if name is not None and not (isinstance(name, str) and _TIMM_NAME.fullmatch(name)):
        raise ModelError(f"{where}.timm_model_name is {name!r}, which is no name of a timm model.")


def _check_tokenizer(section: Mapping[str, Any], where: str) -> None:
    check_hub_name(section.get("hf_tokenizer_name"), f"{where}.hf_tokenizer_name")
    arguments = section.get("tokenizer_kwargs") or {}
    if isinstance(arguments, Mapping):  # open_clip's own argument, which is the spec's cleaning
        arguments = {name: value for name, value in arguments.items() if name != "clean"}
    check_tokenizer_arguments(arguments, f"{where}.tokenizer_kwargs")


def _check_text_encoder(section: Mapping[str, Any], where: str) -> None:
    """Refuse a text tower of the transformers library that brings code of its own.

    open_clip leaves ``trust_remote_code`` open; the library then asks on the terminal whether it may run that code.
    """
    name = section.get("hf_model_name")
    check_hub_name(name, f"{where}.hf_model_name")
    if name is None:
        return
    try:
        from transformers import AutoConfig  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ModelError(
            f"{where}.hf_model_name is {name!r}, which needs the transformers library.",
            hint="Install it: pip install transformers",
        ) from error
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = first_line(error).rstrip(".")
        raise ModelError(f"{where}.hf_model_name is {name!r}, which cannot be loaded: {reason}.") from error
    if getattr(config, "auto_map", None):
        raise ModelError(
            f"{where}.hf_model_name is {name!r}, which brings code of its own; mckit does not run it.",
            hint="Use a model whose text tower the transformers library knows.",
        )
