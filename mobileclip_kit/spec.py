"""What a model is fed and what it gives: the one description that every room shares.

``model.json`` in a model folder, ``export.json`` in an export and ``index.json`` in an index all embed the same
:class:`ModelSpec`, so that preprocessing and tokenizing never drift between training, export, search and the phone.

The model hash is the identity that binds vectors, exports and indexes together. It covers every weight and the
configuration, and nothing else (not names, dates or paths), so equal models have equal hashes wherever they lie. A
description carries a digest of its own settings beside it: a changed digit in them would give other vectors under the
same model hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from mobileclip_kit.errors import ModelError, ModelMismatchError
from mobileclip_kit.files import read_json, sha256_of_file, write_json

FORMAT_VERSION = 1
MODEL_FILE = "model.json"
CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MERGES_FILE = "merges.txt"

_POSITIVE = "a whole number above 0"
# What the keys of a description hold: section (None for the description itself), keys, type, its name.
_KINDS: tuple[tuple[str | None, tuple[str, ...], Any, str], ...] = (
    (None, ("name", "model_hash"), str, "a text"),
    (None, ("embedding_dim",), int, _POSITIVE),
    (None, ("logit_scale",), (int, float, type(None)), "a number"),
    ("image", ("mean", "std"), (int, float), "numbers"),
    ("image", ("height", "width", "fill_color"), int, "a whole number"),
    ("text", ("context_length", "vocab_size"), int, _POSITIVE),
    ("text", ("pad_id",), int, "a whole number"),
)

# Arguments of a transformers tokenizer that a file may set, and their types. Any other is refused: with
# trust_remote_code, for one, the library runs code that lies beside the tokenizer.
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
# What decides which vectors a model gives; names and provenance are for people, and may be edited.
_SETTINGS = ("towers", "embedding_dim", "image", "text", "logit_scale", "model_hash")

Interpolation = Literal["bilinear", "bicubic"]
ResizeMode = Literal["shortest", "longest", "squash"]
Cleaning = Literal["lower", "canonicalize", "whitespace"]
TokenizerKind = Literal["clip-bpe", "huggingface"]
Tower = Literal["image", "text"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How an image becomes the image tower's input. Field names follow open_clip's preprocess_cfg.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: RGB mean, in units of 0…1, subtracted after division by 255.
        std: RGB standard deviation, in units of 0…1.
        interpolation: Filter of the antialiased resize.
        resize_mode: ``shortest`` crops the longer side, ``longest`` pads the shorter one, ``squash`` ignores aspect.
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
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError(f"mean {self.mean} and std {self.std} must be three numbers each, std above 0.")

    def to_open_clip(self) -> dict[str, Any]:
        """The same as open_clip's ``preprocess_cfg``."""
        return {
            "size": [self.height, self.width],
            "mode": "RGB",
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Self:
        """Read open_clip's ``preprocess_cfg``; absent keys take open_clip's own defaults."""
        size = config.get("size", 224)
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        interpolation: Any = config.get("interpolation") or "bicubic"
        return cls(
            height=int(height),
            width=int(width),
            mean=_triple(config.get("mean") or cls.mean),
            std=_triple(config.get("std") or cls.std),
            # open_clip evaluates "random" with the bicubic filter.
            interpolation="bicubic" if interpolation == "random" else interpolation,
            resize_mode=config.get("resize_mode") or "shortest",
            fill_color=int(config.get("fill_color") or 0),
        )


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """How a text becomes the text tower's input.

    Attributes:
        context_length: Tokens, start and end included.
        vocab_size: Rows of the embedding table.
        tokenizer: ``clip-bpe`` (ours, no torch) or ``huggingface`` (through the transformers library).
        cleaning: What is done to the text before it is split, in open_clip's words.
        merges: ``standard`` for CLIP's 48,894 merges, ``trimmed`` when the folder's ``merges.txt`` lists fewer.
        tokenizer_name: The hub name of a ``huggingface`` tokenizer, else None.
        pad_id: What fills the row after the end token.
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
        check_hub_name(self.tokenizer_name, "text.tokenizer_name")
        check_tokenizer_arguments(self.kwargs, "text.kwargs")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A dual encoder as its users see it.

    Attributes:
        name: For people; never compared.
        embedding_dim: Width d of both towers' vectors.
        image: None when the model has no image tower of its own.
        text: None when the model has no text tower (a student distilled from stored image vectors has none).
        logit_scale: Factor on cosine similarities before a softmax (the exponential is taken already).
        model_hash: Hex SHA-256 of weights and configuration, see :func:`hash_model`.
        provenance: Where the model comes from: teacher and its hash, recipe, licence, library versions.
    """

    name: str
    embedding_dim: int
    image: ImageSpec | None
    text: TextSpec | None
    logit_scale: float = 100.0
    model_hash: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that the model has, image first."""
        return tuple(tower for tower in get_args(Tower) if getattr(self, tower) is not None)

    def require_image(self) -> ImageSpec:
        """The image half, or a ModelError that says it is missing."""
        if self.image is None:
            raise ModelError(f"The model {self.name} has no image tower.", hint="Use a model that has one.")
        return self.image

    def require_text(self) -> TextSpec:
        """The text half, or a ModelError that says it is missing."""
        if self.text is None:
            raise ModelError(
                f"The model {self.name} has no text tower.",
                hint="Search it by image, or pass vectors of the teacher's text tower with --query-vectors.",
            )
        return self.text

    def check_same_model(self, other_hash: str, what: str) -> None:
        """Refuse something made by another model.

        Args:
            other_hash: The hash that the other thing carries.
            what: The other thing, for the message: "The index images.index".

        Raises:
            ModelMismatchError: The hashes differ.
        """
        if other_hash != self.model_hash:
            raise ModelMismatchError(
                f"{what} belongs to the model {other_hash[:12]}, not to {self.name} ({self.model_hash[:12]}).",
                hint="Vectors of two models cannot be compared; use the model it was made with, or make it again.",
            )

    def with_provenance(self, **entries: Any) -> Self:
        """A copy whose provenance has further entries."""
        return replace(self, provenance={**self.provenance, **entries})

    def to_json(self) -> dict[str, Any]:
        """The JSON object that stands in model.json, export.json and index.json."""
        document = {"format_version": FORMAT_VERSION, "towers": list(self.towers), **asdict(self)}
        return {**document, _DIGEST_KEY: _settings_digest(document)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], source: str = "model.json") -> Self:
        """Read :meth:`to_json`'s object; unknown keys are left alone so that newer writers stay readable.

        Raises:
            ModelError: A key is missing or of the wrong kind, the tokenizer is none that a file may choose, the format
                version is newer than this program's, or the settings are not those that were written.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{source} has format version {version}; this mckit reads version {FORMAT_VERSION}.",
                hint="Update mckit, or make the file again.",
            )
        try:
            known = {name: document[name] for name in (f.name for f in fields(cls)) if name in document}
            _check_kinds(document)
            text = document["text"] or {}
            check_hub_name(text.get("tokenizer_name"), f"{source}: text.tokenizer_name")
            check_tokenizer_arguments(text.get("kwargs", {}), f"{source}: text.kwargs")
            known["image"] = _section(ImageSpec, document["image"])
            known["text"] = _section(TextSpec, document["text"])
            spec = cls(**known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{source} is not a complete model description: {error!r}.") from error
        # Over the document, not over what was understood of it: a newer writer may know more settings.
        if _DIGEST_KEY in document and document[_DIGEST_KEY] != _settings_digest(document):
            raise ModelError(
                f"The model's settings in {source} were changed: their SHA-256 is not the {_DIGEST_KEY} beside them.",
                hint=f"Copy the file again, or make it again. If the change is meant, remove {_DIGEST_KEY}.",
            )
        return spec


def read_spec(folder: Path) -> ModelSpec:
    """The spec of a model folder, without loading its weights."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {MODEL_FILE}.")
    return ModelSpec.from_json(read_json(path), str(path))


def write_spec(folder: Path, spec: ModelSpec) -> None:
    """Write ``model.json`` into a folder, with the digest of the ``merges.txt`` that lies there."""
    document = spec.to_json()
    if (folder / MERGES_FILE).is_file():
        document["merges_sha256"] = sha256_of_file(folder / MERGES_FILE)
    write_json(folder / MODEL_FILE, document)


def check_merges(folder: Path) -> None:
    """Compare a model folder's ``merges.txt`` with its digest in ``model.json``, where one is written.

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
    """Refuse a name, found in a file, that is no name on the Hugging Face hub: a path or an address.

    Args:
        name: ``NAME`` or ``OWNER/NAME``, or None for none.
        where: The file and the key, for the message.

    Raises:
        ModelError: It is a path, an address or no text.
    """
    if name is not None and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise ModelError(
            f"{where} is {name!r}, which is no name on the Hugging Face hub (NAME or OWNER/NAME).",
            hint="Use a model from a source that you trust.",
        )


def check_tokenizer_arguments(arguments: object, where: str) -> None:
    """Refuse arguments of a tokenizer, found in a file, that the transformers library must not get from there.

    Args:
        arguments: Names and values.
        where: The file and the key, for the message.

    Raises:
        ModelError: An argument is not among the known ones, or has another type.
    """
    if not isinstance(arguments, Mapping):
        raise ModelError(f"{where} is {arguments!r}, not an object.")
    for name, value in arguments.items():
        if name not in _TOKENIZER_ARGUMENTS:
            raise ModelError(
                f"{where} sets {name}, which mckit passes to no tokenizer.",
                hint=f"It passes on {', '.join(_TOKENIZER_ARGUMENTS)}; use a model from a source that you trust.",
            )
        kind = _TOKENIZER_ARGUMENTS[name]
        if value is not None and not isinstance(value, kind):
            raise ModelError(f"{where} sets {name} to {value!r}, which is no {kind.__name__}.")


def hash_model(config: Mapping[str, Any], tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    """The identity of a model.

    Args:
        config: ``{"model_cfg": …, "preprocess_cfg": …}`` as in ``open_clip_config.json``.
        tensors: ``(name, dtype, shape, little-endian bytes)`` of every stored tensor, in any order.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name, dtype, shape, data in sorted(tensors, key=lambda tensor: tensor[0]):
        digest.update(f"\n{name} {dtype} {','.join(map(str, shape))}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _settings_digest(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a description's settings as sorted JSON without white space."""
    settings = {name: document.get(name) for name in _SETTINGS}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check_kinds(document: Mapping[str, Any]) -> None:
    """Refuse a document whose numbers are texts or the like: what it describes would fail much later.

    Raises:
        TypeError: Names the key and its value.
    """
    for section, names, kind, what in _KINDS:
        values = (document if section is None else document[section]) or {}
        for name in names:
            value = values.get(name)
            for each in value if isinstance(value, list | tuple) and what == "numbers" else [value]:
                wrong = isinstance(each, bool) or not isinstance(each, kind) or (what == _POSITIVE and each <= 0)
                if name in values and wrong:
                    raise TypeError(f"{name} is {value!r}, not {what}")


def _section(kind: type[Any], document: Mapping[str, Any] | None) -> Any:
    if document is None:
        return None
    names = {f.name for f in fields(kind)}
    # JSON has no tuples; the dataclasses are frozen and compared, so lists become tuples again.
    return kind(**{key: tuple(value) if isinstance(value, list) else value
                   for key, value in document.items() if key in names})  # fmt: skip


def _triple(values: Any) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ModelError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}.")
