"""A model's configuration, checked before open_clip builds what it says.

It comes from whoever made the model, and open_clip passes parts of it on to other libraries: ``hf_model_name``,
``hf_tokenizer_name`` and ``tokenizer_kwargs`` to transformers, which can run code that lies beside a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobileclip_kit.errors import ModelError
from mobileclip_kit.spec import check_hub_name, check_tokenizer_arguments

_SECTIONS = ("vision_cfg", "text_cfg", "multimodal_cfg")


def check_configuration(model_cfg: Any, source: str) -> None:
    """Refuse a ``model_cfg`` that would make a library run foreign code.

    Args:
        model_cfg: As in ``open_clip_config.json``.
        source: The file or the hub address that it comes from, for the message.

    Raises:
        ModelError: Names the source, the key and the value.
    """
    if not isinstance(model_cfg, Mapping):
        raise ModelError(f"{source}: model_cfg is {model_cfg!r}, not an object.")
    for name in _SECTIONS:
        section = model_cfg.get(name, {})
        if not isinstance(section, Mapping):
            raise ModelError(f"{source}: {name} is {section!r}, not an object.")
        _check_tokenizer(section, f"{source}: {name}")
        _check_text_encoder(section, f"{source}: {name}")


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
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
        raise ModelError(f"{where}.hf_model_name is {name!r}, which cannot be loaded: {reason}.") from error
    if getattr(config, "auto_map", None):
        raise ModelError(
            f"{where}.hf_model_name is {name!r}, which brings code of its own; mckit does not run it.",
            hint="Use a model whose text tower the transformers library knows.",
        )
