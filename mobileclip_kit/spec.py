"""The description of a model that every package shares: how its inputs are prepared and what it returns.

``model.json`` in a model folder, ``export.json`` in an export and ``index.json`` in an index all contain the same
:class:`ModelSpec`, so preprocessing and tokenization cannot differ between training, export, search and the phone.

The model hash is the identity that connects vectors, exports and indexes. It covers the weights and the configuration
and nothing else (no names, dates or paths), so equal models have equal hashes everywhere. It does not cover the
settings of a description, which change the vectors too; a description therefore has a SHA-256 of its own settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from mobileclip_kit.errors import ModelError, ModelMismatchError
from mobileclip_kit.files import read_json, sha256_of_file, write_json
from mobileclip_kit.formats import from_document, to_document

FORMAT_VERSION = 1
# What the hash of the unknown model behind imported vectors begins with.
UNKNOWN_MODEL = "vectors:"
MODEL_FILE = "model.json"
CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MERGES_FILE = "merges.txt"
TOKENIZER_FILE = "tokenizer.json"

# Arguments of a transformers tokenizer that a file may set, and their types. All others are refused: with
# trust_remote_code, for example, the library runs code from the tokenizer's repository.
_TOKENIZER_ARGUMENTS: dict[str, type] = {
    "add_prefix_space": bool,
    "do_lower_case": bool,
    "language": str,
    "revision": str,
    "strip_sep_token": bool,
    "tokenizer_mode": str,
    "use_fast": bool,
}
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_DIGEST_KEY = "settings_sha256"
# The keys of a description that are not fields of ModelSpec.
_DERIVED_KEYS = ("format_version", "towers", _DIGEST_KEY, "merges_sha256")
# The settings that determine a model's vectors; name and provenance are for people.
_SETTINGS = ("towers", "embedding_dim", "image", "text", "logit_scale", "model_hash")

Interpolation = Literal["bilinear", "bicubic"]
ResizeMode = Literal["shortest", "longest", "squash"]
Cleaning = Literal["lower", "canonicalize", "whitespace"]
TokenizerKind = Literal["clip-bpe", "huggingface"]
Tower = Literal["image", "text"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How an image becomes the image tower's input; field names follow open_clip's ``preprocess_cfg``.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: RGB mean, in units of 0…1, subtracted after division by 255.
        std: RGB standard deviation, in units of 0…1.
        interpolation: Filter of the antialiased resize.
        resize_mode: ``shortest`` crops the longer side, ``longest`` pads the shorter one, ``squash`` distorts.
        fill_color: Grey level 0…255 of the padding.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0

    def __post_init__(self) -> None:
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        _check_choice("resize_mode", self.resize_mode, get_args(ResizeMode))
        if self.height < 1 or self.width < 1:
            raise ModelError(f"The image size {self.height}×{self.width} is not positive.")
        usable = len(self.mean) == len(self.std) == 3 and all(map(math.isfinite, (*self.mean, *self.std)))
        if not usable or min(self.std) <= 0:
            raise ModelError(f"mean {self.mean} and std {self.std} must have three numbers each, with std above 0.")

    def to_open_clip(self) -> dict[str, Any]:
        """These settings as open_clip's ``preprocess_cfg``."""
        settings = to_document(self)
        return {"size": [settings.pop("height"), settings.pop("width")], "mode": "RGB", **settings}

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Self:
        """Read open_clip's ``preprocess_cfg``; missing keys get open_clip's defaults.

        Raises:
            ModelError: The size is not one whole number or two, the mean or std is not one number or three, std is not
                above 0, or another value is not known.
        """
        size = config.get("size", 224)
        sides = list(size) if isinstance(size, list | tuple) else [size]
        if len(sides) not in (1, 2) or not all(isinstance(side, int) for side in sides):
            raise ModelError(f"size is {size!r}; it must be a whole number or two.")
        fill = config.get("fill_color") or 0
        if not isinstance(fill, int):
            raise ModelError(f"fill_color is {fill!r}; it must be a whole number.")
        interpolation: Any = config.get("interpolation") or "bicubic"
        return cls(
            height=sides[0],
            width=sides[-1],
            mean=_triple("mean", config.get("mean") or cls.mean),
            std=_triple("std", config.get("std") or cls.std),
            # open_clip evaluates "random" with the bicubic filter.
            interpolation="bicubic" if interpolation == "random" else interpolation,
            resize_mode=config.get("resize_mode") or "shortest",
            fill_color=fill,
        )


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """How a text becomes the text tower's input.

    Attributes:
        context_length: Number of tokens, including start and end.
        vocab_size: Rows of the embedding table.
        tokenizer: ``clip-bpe`` (ours, without torch) or ``huggingface`` (through the transformers library).
        cleaning: How a text is cleaned before tokenization, by open_clip's names.
        merges: ``standard`` for CLIP's 48,894 merges, ``trimmed`` if the folder's ``merges.txt`` lists fewer.
        tokenizer_name: Hub name of a ``huggingface`` tokenizer, else None.
        pad_id: Id of the padding after the end token.
        kwargs: Further arguments of a ``huggingface`` tokenizer, see :func:`check_tokenizer_arguments`.
    """

    context_length: int = 77
    vocab_size: int = 49408
    tokenizer: TokenizerKind = "clip-bpe"
    cleaning: Cleaning = "lower"
    merges: Literal["standard", "trimmed"] = "standard"
    tokenizer_name: str | None = None
    pad_id: int = 0
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice("tokenizer", self.tokenizer, get_args(TokenizerKind))
        _check_choice("cleaning", self.cleaning, get_args(Cleaning))
        _check_choice("merges", self.merges, ("standard", "trimmed"))
        check_hub_name(self.tokenizer_name, "tokenizer_name")
        check_tokenizer_arguments(self.kwargs, "kwargs")
        for name in ("context_length", "vocab_size"):
            _check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The description of a dual encoder.

    Attributes:
        name: For people; never compared.
        embedding_dim: Width d of both towers' embeddings.
        image: None if the model has no image tower.
        text: None if the model has no text tower, like a student distilled from stored image vectors.
        logit_scale: Factor on cosine similarities before a softmax, after the exponential.
        model_hash: Hex SHA-256 of weights and configuration, see :func:`hash_model`.
        provenance: Origin of the model: teacher and its hash, recipe, licence, library versions.
    """

    name: str
    embedding_dim: int
    image: ImageSpec | None
    text: TextSpec | None
    logit_scale: float = 100.0
    model_hash: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_positive("embedding_dim", self.embedding_dim)
        if not 0.0 < self.logit_scale < math.inf:
            raise ModelError(f"logit_scale is {self.logit_scale}; it must be above 0.")

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that the model has, image first."""
        return tuple(tower for tower in get_args(Tower) if getattr(self, tower) is not None)

    def require_image(self) -> ImageSpec:
        """The image settings; a ModelError if the model has no image tower."""
        if self.image is None:
            raise ModelError(f"The model {self.name} has no image tower.", hint="Use a model that has one.")
        return self.image

    def require_text(self) -> TextSpec:
        """The text settings; a ModelError if the model has no text tower."""
        if self.text is None:
            raise ModelError(
                f"The model {self.name} has no text tower.",
                hint="Search it by image, or pass vectors of the teacher's text tower with --query-vectors.",
            )
        return self.text

    def check_same_model(self, other: str | ModelSpec, what: str) -> None:
        """Refuse a file made by another model.

        Args:
            other: The model in that file, or only its hash.
            what: The file, for the message: "The index images.index".

        Raises:
            ModelMismatchError: The hashes differ.
        """
        other_hash = other if isinstance(other, str) else other.model_hash
        if other_hash != self.model_hash:
            other_name = other_hash[:12] if isinstance(other, str) else f"{other.name} ({other_hash[:12]})"
            raise ModelMismatchError(
                f"{what} belongs to the model {other_name}, not to {self.name} ({self.model_hash[:12]}).",
                hint="Vectors of different models cannot be compared: use the model of "
                f"{what[0].lower()}{what[1:]}, or make it again from {self.name}.",
            )

    def with_provenance(self, **entries: Any) -> Self:
        """A copy with further provenance entries."""
        return replace(self, provenance={**self.provenance, **entries})

    def to_json(self) -> dict[str, Any]:
        """The JSON object in model.json, export.json and index.json."""
        document = {"format_version": FORMAT_VERSION, "towers": list(self.towers), **asdict(self)}
        return {**document, _DIGEST_KEY: _settings_digest(document)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], source: str = "model.json") -> Self:
        """Read the object that :meth:`to_json` writes.

        Args:
            document: The object.
            source: The file, for messages.

        Raises:
            ModelError: A key is missing, unknown or has a wrong value, the tokenizer is not allowed in a file, the
                format version is unknown, or the settings do not match their SHA-256.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{source} has format version {version}; this mckit reads version {FORMAT_VERSION}.",
                hint="Update mckit, or make the file again.",
            )
        described = {key: value for key, value in document.items() if key not in _DERIVED_KEYS}
        spec = from_document(
            described, cls, where=source, error=ModelError, hint="Update mckit, or make the file again."
        )
        if _DIGEST_KEY in document and document[_DIGEST_KEY] != _settings_digest(document):
            raise ModelError(
                f"The model's settings in {source} were changed: their SHA-256 is not {_DIGEST_KEY}.",
                hint=f"Copy the file again, or make it again. If the change is intended, remove {_DIGEST_KEY}.",
            )
        return spec


def read_spec(folder: Path) -> ModelSpec:
    """Read the description of a model folder, without its weights."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {MODEL_FILE}.")
    return ModelSpec.from_json(read_json(path), str(path))


def stored_spec(model: str | Path) -> ModelSpec | None:
    """The description of a model folder; None for every other model, which has to be loaded to be described."""
    folder = Path(str(model).removeprefix("local-dir:"))
    return read_spec(folder) if (folder / MODEL_FILE).is_file() else None


def write_spec(folder: Path, spec: ModelSpec) -> None:
    """Write ``model.json`` into a folder, with the SHA-256 of the folder's ``merges.txt`` if there is one."""
    document = spec.to_json()
    if (folder / MERGES_FILE).is_file():
        document["merges_sha256"] = sha256_of_file(folder / MERGES_FILE)
    write_json(folder / MODEL_FILE, document, sealed=True)


def check_merges(folder: Path) -> None:
    """Compare a model folder's ``merges.txt`` with the SHA-256 in ``model.json``, if it has one.

    Raises:
        ModelError: The file is missing or was changed.
    """
    sha256 = read_json(folder / MODEL_FILE).get("merges_sha256")
    path = folder / MERGES_FILE
    if sha256 is None or (path.is_file() and sha256_of_file(path) == sha256):
        return
    what = f"was changed: its SHA-256 is not the one in {MODEL_FILE}" if path.is_file() else "is missing"
    raise ModelError(f"{path} {what}.", hint="Copy the model again, or make it again.")


def check_hub_name(name: object, where: str) -> None:
    """Refuse a name in a file that is not a name on the Hugging Face hub but a path or a URL.

    Args:
        name: ``NAME`` or ``OWNER/NAME``, or None.
        where: The file and the key, for the message.

    Raises:
        ModelError: It is a path, a URL or not a text.
    """
    if name is not None and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise ModelError(
            f"{where} is {name!r}, which is not a name on the Hugging Face hub (NAME or OWNER/NAME).",
            hint="Use a model from a source that you trust.",
        )


def check_tokenizer_arguments(arguments: object, where: str) -> None:
    """Refuse tokenizer arguments in a file that must not be passed to the transformers library.

    Args:
        arguments: Names and values.
        where: The file and the key, for the message.

    Raises:
        ModelError: An argument is not allowed or has the wrong type.
    """
    if not isinstance(arguments, Mapping):
        raise ModelError(f"{where} is {arguments!r}, not an object.")
    for name, value in arguments.items():
        if name not in _TOKENIZER_ARGUMENTS:
            raise ModelError(
                f"{where} sets {name}, which mckit does not pass to a tokenizer.",
                hint=f"Allowed are {', '.join(_TOKENIZER_ARGUMENTS)}; use a model from a source that you trust.",
            )
        kind = _TOKENIZER_ARGUMENTS[name]
        if value is not None and not isinstance(value, kind):
            raise ModelError(f"{where} sets {name} to {value!r}, which is not a {kind.__name__}.")


def tower_of(parameter: str) -> Tower | None:
    """The tower that a parameter of an open_clip model belongs to, by its name; None for the logit scale and bias."""
    if parameter.startswith("logit_"):
        return None
    return "image" if parameter.startswith("visual.") else "text"


def hash_model(config: Mapping[str, Any], tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    """The identity of a model.

    Args:
        config: ``{"model_cfg": …, "preprocess_cfg": …}`` as in ``open_clip_config.json``.
        tensors: ``(name, dtype, shape, little-endian bytes)`` of each stored tensor, in any order.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name, dtype, shape, data in sorted(tensors, key=lambda tensor: tensor[0]):
        digest.update(f"\n{name} {dtype} {','.join(map(str, shape))}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _settings_digest(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a description's settings as JSON with sorted keys and no white space."""
    settings = {name: document.get(name) for name in _SETTINGS}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _triple(name: str, values: Any) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name} is {values!r}; it must be three numbers.") from error
    return (red, green, blue)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ModelError(f"{name} is {value}; it must be 1 or more.")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ModelError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}.")
