"""open_clip models in and out of mckit: by name, by hub address, or as a model folder.

A model folder holds ``model.json``, ``open_clip_config.json`` and ``open_clip_model.safetensors`` (and ``merges.txt``
when its vocabulary is trimmed), so ``open_clip.create_model("local-dir:PATH")`` loads it too. Weights are read from
safetensors only; nothing is unpickled.

A student distilled from stored image vectors has no text tower. open_clip knows no such model, so its folder carries
:data:`PLACEHOLDER_TEXT`, and ``model.json`` says that the tower is not there.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import torch
from open_clip.factory import get_pretrained_cfg
from open_clip.model import CLIP, CustomTextCLIP
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mobileclip_kit import __version__
from mobileclip_kit.errors import MissingExtraError, ModelError, OutputError, first_line
from mobileclip_kit.files import read_json, write_json
from mobileclip_kit.hub import local_place, quiet_hub
from mobileclip_kit.model_names import FOLDER, HUB, check_model_name, check_tag
from mobileclip_kit.networks.configuration import check_configuration
from mobileclip_kit.networks.families import image_tower, text_tower
from mobileclip_kit.networks.pruned import even_section, shape_tower
from mobileclip_kit.spec import (
    CONFIG_FILE,
    MERGES_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ImageSpec,
    ModelSpec,
    TextSpec,
    check_merges,
    hash_model,
    read_spec,
    tower_of,
    write_spec,
)
from mobileclip_kit.tokenizer import HuggingFaceTokenizer, find_tokenizer

PLACEHOLDER_TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


@dataclass
class Model:
    """A dual encoder in memory.

    Attributes:
        network: An open_clip model (``CLIP``, ``CustomTextCLIP`` or ``CoCa``), float32, on the CPU, in eval mode.
        config: ``{"model_cfg": …, "preprocess_cfg": …}`` as in ``open_clip_config.json``.
        spec: What it is fed and gives.
        tokenizer_file: From :func:`~mobileclip_kit.tokenizer.find_tokenizer`.
        warnings: What the user should know about how it was loaded.
    """

    network: nn.Module
    config: dict[str, Any]
    spec: ModelSpec
    tokenizer_file: Path | None = None
    warnings: tuple[str, ...] = ()


def load_model(name: str | Path, *, seed: int = 0) -> Model:
    """Load a model folder, an open_clip name or a hub address.

    Args:
        name: A model folder's path, ``ViT-B-32:openai``, ``hf-hub:org/repo``, or an open_clip name without a tag, which
            gives random weights and a warning.
        seed: Of the random weights.

    Raises:
        ModelError: The name is unknown (the nearest known ones are named), the folder is damaged, or the weights cannot
            be downloaded or are not finite.
    """
    check_model_name(name)
    text = str(local_place(name)).removeprefix(FOLDER)
    path = Path(text)
    if path.is_dir():
        return _load_folder(path)
    if text.startswith(HUB):
        return _load_open_clip(text, tag=None, seed=seed)
    architecture, _, tag = text.partition(":")
    return _load_open_clip(architecture, tag=tag or None, seed=seed)


def save_model(folder: Path, network: nn.Module, config: Mapping[str, Any], spec: ModelSpec,
               tokenizer_file: Path | None = None, *, dtype: torch.dtype = torch.float32) -> ModelSpec:  # fmt: skip
    """Fill an (empty, staged) folder with a model.

    Args:
        folder: Exists already; callers stage it with :func:`mobileclip_kit.files.atomic_folder`.
        network: The open_clip model.
        config: Its ``model_cfg`` and ``preprocess_cfg``.
        spec: Its description; the hash is computed here.
        tokenizer_file: The ``merges.txt`` of a trimmed vocabulary or the ``tokenizer.json`` to carry along. A Hugging
            Face tokenizer without a file is fetched, if that is possible here; else it is fetched when it is used.
        dtype: Of the stored weights; ``torch.float16`` halves the folder. Counters keep their own.

    Returns:
        The spec as written, with its hash, which covers the weights as they are stored.
    """
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    spec = replace(spec, model_hash=hash_network(config, state)).with_provenance(mckit=__version__)
    try:
        save_file(_without_shared_storage(state), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    except SafetensorError as error:  # its own kind even for a full disk
        raise OutputError(f"The weights cannot be written to {folder}: {error}.", hint="Free some space.") from error
    (folder / WEIGHTS_FILE).chmod(0o644)
    write_json(folder / CONFIG_FILE, dict(config))
    uses_hub = spec.text is not None and spec.text.tokenizer == "huggingface"
    if tokenizer_file is not None:
        shutil.copyfile(tokenizer_file, folder / (TOKENIZER_FILE if uses_hub else MERGES_FILE))
    elif spec.text is not None and uses_hub:
        with contextlib.suppress(ModelError, MissingExtraError):
            HuggingFaceTokenizer(spec.text).write(folder / TOKENIZER_FILE)
    write_spec(folder, spec)
    return spec


def build_network(model_cfg: Mapping[str, Any]) -> nn.Module:
    """An open_clip model with fresh weights from its ``model_cfg``, without any download."""
    config = copy.deepcopy(dict(model_cfg))
    sections = {name: config[name] for name in ("vision_cfg", "text_cfg") if name in config}
    config |= {name: even_section(section) for name, section in sections.items()}
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config.get("text_cfg", {})
    # open_clip would download these weights; for a text encoder of the transformers library, that is its default.
    for name in sections:
        for key in ("timm_model", "hf_model"):
            if f"{key}_name" in config[name]:
                config[name][f"{key}_pretrained"] = False
    if "multimodal_cfg" in config:
        from open_clip.coca_model import CoCa

        kind: Any = CoCa
    else:
        kind = CustomTextCLIP if custom_text else CLIP
    try:
        network = kind(**config)
        shape_tower(image_tower(network), sections["vision_cfg"])
        shape_tower(text_tower(network), sections["text_cfg"])
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise ModelError(f"open_clip cannot build this configuration: {error}.") from error
    assert isinstance(network, nn.Module)
    return network.eval()


def describe(name: str, network: nn.Module, config: Mapping[str, Any], **provenance: Any) -> ModelSpec:
    """The spec of a network: preprocessing and tokenizer from its configuration, hash from its weights."""
    text_cfg = config["model_cfg"]["text_cfg"]
    return ModelSpec(
        name=name,
        embedding_dim=int(config["model_cfg"]["embed_dim"]),
        image=ImageSpec.from_open_clip(config["preprocess_cfg"]),
        text=None if is_placeholder(text_cfg) else _text_spec(text_cfg),
        logit_scale=float(network.logit_scale.detach().exp()) if isinstance(network.logit_scale, Tensor) else 100.0,
        model_hash=hash_network(config, network.state_dict()),
        provenance=provenance,
    )


def logit_bias(network: nn.Module) -> float | None:
    """What SigLIP adds to scaled cosines; None for a network without it."""
    bias = getattr(network, "logit_bias", None)
    return float(bias.detach()) if isinstance(bias, Tensor) else None


def is_placeholder(text_cfg: Mapping[str, Any]) -> bool:
    """Whether a text configuration is the placeholder of an image-only model."""
    return all(text_cfg.get(key) == value for key, value in PLACEHOLDER_TEXT.items())


def hash_network(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """:func:`mobileclip_kit.spec.hash_model` of a state dict."""
    return hash_model(
        config,
        (
            (
                name,
                str(tensor.dtype).removeprefix("torch."),
                tuple(tensor.shape),
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
            )
            for name, tensor in state.items()
        ),
    )


def hash_weights(network: nn.Module) -> str:
    """SHA-256 of the weights alone: unlike the model hash, independent of the words of a configuration."""
    return hash_network({}, network.state_dict())


def tower_parameters(network: Any) -> dict[str, int]:
    """Parameters of each tower: ``{"image": …, "text": …}``, the logit scale in neither."""
    counts = {"image": 0, "text": 0}
    for name, parameter in network.named_parameters():
        if (tower := tower_of(name)) is not None:
            counts[tower] += parameter.numel()
    return counts


def _load_folder(folder: Path) -> Model:
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {WEIGHTS_FILE}.")
    config = read_json(folder / CONFIG_FILE)
    if "model_cfg" not in config:
        raise ModelError(f"{folder / CONFIG_FILE} has no model_cfg.")
    check_configuration(config["model_cfg"], str(folder / CONFIG_FILE))
    with named(folder / CONFIG_FILE):
        network = build_network(config["model_cfg"])
    try:
        state = load_file(folder / WEIGHTS_FILE)
        # float16 folders (a bundled teacher) are computed with in float32, like every other model.
        network.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{folder / WEIGHTS_FILE} cannot be read: {first_line(error)}.",
            hint="The file is damaged or of another model; make it again.",
        ) from error
    _require_finite(network, str(folder / WEIGHTS_FILE))
    config.setdefault("preprocess_cfg", _default_preprocessing(config["model_cfg"]))
    if (folder / "model.json").is_file():
        spec = read_spec(folder)
        actual = hash_network(config, state)
        if actual != spec.model_hash:
            raise ModelError(
                f"The weights in {folder} have the hash {actual[:12]}, but its model.json says {spec.model_hash[:12]}.",
                hint="A file of the folder was changed or cut off; make the model again.",
            )
        check_merges(folder)
    else:
        with named(folder / CONFIG_FILE):
            spec = describe(folder.name, network, config)
    return Model(network, config, spec, find_tokenizer(folder, spec.text))


def _require_finite(network: nn.Module, source: str) -> None:
    """Refuse weights that are not finite, which every later step would blame on something else."""
    for name, tensor in network.state_dict().items():
        # aminmax passes a NaN on and, unlike isfinite, makes no copies.
        if tensor.is_floating_point() and tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
            raise ModelError(
                f"{source} holds values that are not finite ({name}).",
                hint="It is damaged, or its training failed; make it again or use another model.",
            )


@contextlib.contextmanager
def named(*paths: Path) -> Iterator[None]:
    """Say which file's configuration cannot be used.

    Raises:
        ModelError: As in the block, with the files' names if there are any.
    """
    try:
        yield
    except ModelError as error:
        files = " with ".join(map(str, paths))
        raise ModelError(f"{files} cannot be used: {error.message}" if files else error.message,
                         hint=error.hint) from error  # fmt: skip


def _load_open_clip(name: str, *, tag: str | None, seed: int) -> Model:
    if name.startswith(HUB):
        network, config = _download(name, None, {})
        return Model(network, config, describe(name, network, config, source=name))
    model_cfg = copy.deepcopy(open_clip.get_model_config(name))
    if tag is None:
        check_configuration(model_cfg, name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(model_cfg)
        tags = open_clip.list_pretrained_tags_by_model(name)
        # The preprocessing that the architecture's published weights want (SigLIP's differs from CLIP's).
        published = get_pretrained_cfg(name, tags[0]) if tags else {}
        config = {"model_cfg": model_cfg, "preprocess_cfg": _default_preprocessing(model_cfg, published)}
        warning = f"{name} without a :tag has random weights (seed {seed}); its vectors mean nothing."
        return Model(network, config, describe(name, network, config, source=name, seed=seed), warnings=(warning,))
    check_tag(name, tag, open_clip.list_pretrained_tags_by_model(name))
    pretrained_cfg = get_pretrained_cfg(name, tag) or {}
    # A tag's weights were trained with one activation; open_clip only warns when the architecture's name implies the
    # other one (ViT-B-32:openai), and the vectors are then wrong.
    if pretrained_cfg.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    network, config = _download(name, tag, model_cfg)
    return Model(network, config, describe(f"{name}:{tag}", network, config, source=f"{name}:{tag}"))


def _download(name: str, tag: str | None, model_cfg: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    try:
        with quiet_hub():
            model_cfg = dict(model_cfg or open_clip.get_model_config(name) or {})
            check_configuration(model_cfg, name)
            network = open_clip.create_model(
                name, pretrained=tag, force_quick_gelu=bool(model_cfg.get("quick_gelu")), require_pretrained=True
            )
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{tag} holds more than tensors, or is damaged; it is not read, since reading it could run code.",
            hint="Pass the weights as .safetensors, or as a file of tensors alone.",
        ) from error
    except Exception as error:  # hub libraries raise their own trees; all of them mean "no weights came"
        raise ModelError(
            f"The weights of {name}{':' + tag if tag else ''} {_why_none_came(error)}.",
            hint="Check the name and the network. Without a network, pass a model folder such as "
            "models/scenes-teacher, or import a teacher's vectors with `mckit cache import`.",
        ) from error
    _require_finite(network, f"{name}{':' + tag if tag else ''}")
    image = ImageSpec.from_open_clip(image_tower(network).preprocess_cfg)
    return network.eval(), {"model_cfg": model_cfg, "preprocess_cfg": image.to_open_clip()}


def _why_none_came(error: BaseException) -> str:
    """The end of a sentence about weights: the first cause, if it is the network, or else the error's first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, huggingface_hub.errors.OfflineModeIsEnabled | socket.gaierror):
            by_the_user = huggingface_hub.constants.HF_HUB_OFFLINE  # _quiet_hub has reset its own
            return f"cannot be downloaded: {'HF_HUB_OFFLINE is set' if by_the_user else 'no network'}"
        cause = cause.__cause__ or cause.__context__
    return f"could not be loaded: {first_line(error).rstrip('.')}"


def _default_preprocessing(model_cfg: Mapping[str, Any], published: Mapping[str, Any] | None = None) -> dict[str, Any]:
    size = model_cfg["vision_cfg"].get("image_size", 224)
    return ImageSpec.from_open_clip({**(published or {}), "size": size}).to_open_clip()


def _text_spec(text_cfg: Mapping[str, Any]) -> TextSpec:
    tokenizer_name = text_cfg.get("hf_tokenizer_name")
    kwargs = dict(text_cfg.get("tokenizer_kwargs") or {})
    vocab_size = int(text_cfg.get("vocab_size", 49408))
    return TextSpec(
        context_length=int(text_cfg.get("context_length", 77)),
        vocab_size=vocab_size,
        tokenizer="huggingface" if tokenizer_name else "clip-bpe",
        # open_clip's own defaults: its HFTokenizer keeps capitals, its SimpleTokenizer does not.
        cleaning=kwargs.pop("clean", "whitespace" if tokenizer_name else "lower"),
        merges="trimmed" if not tokenizer_name and vocab_size < 49408 else "standard",
        tokenizer_name=tokenizer_name,
        pad_id=int(text_cfg.get("pad_id", 0)),
        kwargs=kwargs,
    )


def _without_shared_storage(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen: set[int] = set()
    kept = {}
    for name, tensor in state.items():
        shared = tensor.data_ptr() in seen and tensor.numel() > 0
        seen.add(tensor.data_ptr())
        kept[name] = tensor.clone() if shared else tensor
    return kept
