"""What is this? One file or folder, recognised by its own markers, with its main facts.

Markers and headers are read, never weights or vectors, so that a damaged thing can still say what it was.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ImageError
from mobileclip_kit.files import read_json, size_bytes
from mobileclip_kit.images import image_suffixes, list_images, load_image

Facts = dict[str, Any]

# Longer entries of a file's metadata are not for reading.
_LONGEST_ENTRY = 200


@dataclass(frozen=True)
class Finding:
    """What a path is.

    Attributes:
        path: As asked.
        kind: "model folder".
        facts: Small JSON values by name.
    """

    path: Path
    kind: str
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    title: str
    fits: Callable[[Path], bool]
    facts: Callable[[Path], Facts]


def inspect_path(path: Path) -> Finding:
    """Say what a file or folder is.

    Raises:
        DataError: It does not exist, is of no known kind, or its marker cannot be read.
        ImageError: It is named like an image and cannot be decoded.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    for kind in _KINDS:
        if kind.fits(path):
            try:
                facts = kind.facts(path)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise DataError(f"{path} is marked as {kind.title}, but is damaged: {error}.") from error
            return Finding(path, kind.title, {**facts, "size_bytes": size_bytes(path)})
    if path.is_file() and path.suffix.lower() in image_suffixes():
        load_image(path)  # says what is wrong with it
    what = "folder without images or a marker of mckit's" if path.is_dir() else "file of no kind that mckit knows"
    raise DataError(f"{path} is a {what}.")


def _model(path: Path) -> Facts:
    spec = read_json(path / "model.json")
    weights = _tensors(path / "open_clip_model.safetensors")
    towers = spec.get("towers", [])
    image = sum(count for name, (_, count) in weights.items() if name.startswith("visual."))
    return {
        **_spec_facts(spec),
        "towers": towers,
        "image_parameters": image,
        "text_parameters": sum(count for _, count in weights.values()) - image if "text" in towers else 0,
        "types": sorted({kind for kind, _ in weights.values()}),
        **_origin(spec),
    }


def _open_clip_folder(path: Path) -> Facts:
    model = read_json(path / "open_clip_config.json").get("model_cfg", {})
    return {"embedding_dim": model.get("embed_dim"), "vision": model.get("vision_cfg"), "text": model.get("text_cfg")}


def _export(path: Path) -> Facts:
    document = read_json(path / "export.json")
    spec = document.get("model") or {}
    facts = {"format": document.get("format"), "precision": document.get("precision"),
             "mckit_version": document.get("mckit"), **_spec_facts(spec), **_origin(spec)}  # fmt: skip
    for name, tower in (document.get("towers") or {}).items():
        facts[f"{name}_file"] = tower.get("file")
        for result in tower.get("verification") or ():
            facts[f"{name}_cosine_min_{result.get('runtime')}"] = result.get("cosine_min")
    return facts


def _comparison(path: Path) -> Facts:
    document = read_json(path / "comparison.json")
    passed = {row["name"]: True for row in document["rows"]}
    for row in document["rows"]:
        passed[row["name"]] &= bool(row.get("passed"))
    return {"name": document["model"], "model_hash": document["model_hash"],
            "passed": [name for name, all_of in passed.items() if all_of],
            "failed": [name for name, all_of in passed.items() if not all_of]}  # fmt: skip


def _cache(path: Path) -> Facts:
    document = read_json(path / "cache.json")
    wanted = ("teacher", "teacher_hash", "items", "views", "embedding_dim", "normalized")
    return {**{name: document.get(name) for name in wanted}, "shards": len(document.get("shards", ()))}


def _index(path: Path) -> Facts:
    document = read_json(path / "index.json")
    images = document.get("images", document.get("pictures"))  # the first version's name of the key
    facts = {**_spec_facts(document.get("model") or {}), "images": images}
    facts["search"] = document.get("kind")
    matrices = sorted(path.glob("vectors*.f32"), key=lambda each: each.stat().st_mtime_ns)
    if facts.get("embedding_dim") and matrices:
        facts["rows"] = matrices[-1].stat().st_size // (4 * facts["embedding_dim"])
    return facts


def _textness(path: Path) -> Facts:
    document = read_json(path)
    return {name: value for name, value in document.items() if isinstance(value, str | int | float)}


def _manifest(path: Path) -> Facts:
    document = read_json(path / "manifest.json")
    return {name: value for name, value in document.items() if isinstance(value, str | int | float)}


def _run(path: Path) -> Facts:
    state = json.loads((_header(path / "checkpoint.safetensors").get("__metadata__") or {}).get("mckit_state", "{}"))
    fingerprint = {name: value for name, value in (state.get("fingerprint") or {}).items() if name != "recipe"}
    return {"steps": state.get("step"), "seconds": state.get("seconds"), **fingerprint}


def _package(path: Path) -> Facts:
    from mobileclip_kit.mil.engine import leaving_operators
    from mobileclip_kit.mil.program import read_program

    program = read_program(path)
    main = program.functions[program.default_function]
    return {
        "inputs": {feature.name: _face(feature.image) for feature in program.inputs},
        "outputs": {feature.name: _face(feature.image) for feature in program.outputs},
        "specification_version": program.specification_version,
        "operators": dict(Counter(operation.type for operation in main.operations).most_common()),
        "leaves_neural_engine": leaving_operators(program),
        **_metadata(program.metadata),
    }


def _metadata(entries: Mapping[str, str]) -> Facts:
    """What a file says of itself: short entries, and what mckit wrote of model, preprocessing, tokenizer and origin."""
    facts: Facts = {"metadata": {key: value for key, value in entries.items() if len(value) <= _LONGEST_ENTRY}}
    try:
        spec = json.loads(entries.get("model_spec", "null"))
    except ValueError:
        return facts
    if not isinstance(spec, dict):
        return facts
    return {**facts, **_spec_facts(spec), **_origin(spec)}


def _face(image: Any) -> str:
    return "array" if image is None else f"{image.color} image {image.height}×{image.width}"


def _onnx(path: Path) -> Facts:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable ONNX file: {error}.") from error

    if not model.graph.output:  # any bytes may pass for a message of which nothing is known
        raise DataError(f"{path} is not an ONNX model: it holds no graph.")

    def shapes(values: Any) -> dict[str, list[Any]]:
        return {value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
                for value in values}  # fmt: skip

    return {
        "inputs": shapes(model.graph.input),
        "outputs": shapes(model.graph.output),
        "opset": max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=None),
        "operators": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        **_metadata({entry.key: entry.value for entry in model.metadata_props}),
    }


def _vectors(path: Path) -> Facts:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not a readable .npy file: {error}.") from error
    facts: Facts = {"shape": list(array.shape), "type": str(array.dtype)}
    if array.ndim == 2 and np.issubdtype(array.dtype, np.floating) and len(array):
        norms = np.linalg.norm(np.asarray(array[:4096], np.float64), axis=1)
        numbers = norms[np.isfinite(norms)]
        facts |= {"norm_min": float(numbers.min()), "norm_max": float(numbers.max())} if numbers.size else {}
        if numbers.size < norms.size:
            facts["rows_not_finite"] = norms.size - numbers.size
    return facts


def _weights(path: Path) -> Facts:
    tensors = _tensors(path)
    return {"tensors": len(tensors), "parameters": sum(count for _, count in tensors.values()),
            "types": sorted({kind for kind, _ in tensors.values()})}  # fmt: skip


def _image(path: Path) -> Facts:
    image = load_image(path)
    return {"width": image.width, "height": image.height}


def _captions(path: Path) -> Facts:
    skipped: list[Skipped] = []
    captions = [len(pair.captions) for pair in open_source(path, skipped)]
    return {"images": len(captions), "captions": sum(captions), "skipped": len(skipped)}


def _images(path: Path) -> Facts:
    return {"images": sum(1 for _ in list_images(path))}


def _spec_facts(spec: dict[str, Any]) -> Facts:
    image, text = spec.get("image") or {}, spec.get("text") or {}
    facts = {"name": spec.get("name"), "model_hash": spec.get("model_hash"), "embedding_dim": spec.get("embedding_dim")}
    if image:
        facts["image"] = (
            f"{image.get('height')}×{image.get('width')} {image.get('interpolation')} {image.get('resize_mode')}"
        )
        facts["normalisation"] = f"mean {_digits(image.get('mean'))}, std {_digits(image.get('std'))}"
    if text:
        facts["tokenizer"] = text.get("tokenizer_name") or text.get("tokenizer")
        facts["text"] = f"{text.get('context_length')} tokens, {text.get('vocab_size')} pieces ({text.get('merges')})"
    return facts


def _origin(spec: dict[str, Any]) -> Facts:
    """Teacher, recipe, licence and versions, as far as the model says."""
    return {f"made_{key}": value for key, value in (spec.get("provenance") or {}).items() if value is not None}


def _digits(values: Any) -> str:
    return " ".join(f"{value:.4g}" for value in values or ())


def _header(path: Path) -> dict[str, Any]:
    """A safetensors file's own description: eight bytes of length, then JSON."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 1 << 27)))
    except (OSError, ValueError, struct.error) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}.") from error
    if not isinstance(header, dict):
        raise DataError(f"{path} is not a readable safetensors file.")
    return header


def _tensors(path: Path) -> dict[str, tuple[str, int]]:
    return {name: (entry["dtype"], math.prod(entry["shape"]))
            for name, entry in _header(path).items() if name != "__metadata__"}  # fmt: skip


def _marked(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).is_file()


def _named(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.suffix.lower() in suffixes


def _is_textness(path: Path) -> bool:
    try:
        return path.is_file() and path.suffix == ".json" and read_json(path).get("kind") == "textness"
    except DataError:
        return False


def _is_image(path: Path) -> bool:
    if not path.is_file() or (path.suffix.lower() not in image_suffixes() and zipfile.is_zipfile(path)):
        return False
    try:
        load_image(path)
    except ImageError:
        return False
    return True


# The first one that fits names the path.
_KINDS = (
    _Kind("model folder", _marked("model.json"), _model),
    _Kind("export", _marked("export.json"), _export),
    _Kind("comparison of exports", _marked("comparison.json"), _comparison),
    _Kind("teacher cache", _marked("cache.json"), _cache),
    _Kind("index", _marked("index.json"), _index),
    _Kind("bundle", _marked("manifest.json"), _manifest),
    _Kind("interrupted run", _marked("checkpoint.safetensors"), _run),
    _Kind("Core ML package", _marked("Manifest.json"), _package),
    _Kind("open_clip model folder", _marked("open_clip_config.json"), _open_clip_folder),
    _Kind("synthetic scenes", _marked("truth.jsonl"), _captions),
    _Kind("images with captions", _marked("captions.csv"), _captions),
    _Kind("textness vector", _is_textness, _textness),
    _Kind("ONNX model", _named(".onnx"), _onnx),
    _Kind("vectors", _named(".npy"), _vectors),
    _Kind("weights", _named(".safetensors"), _weights),
    _Kind("captions file", _named(".csv", ".tsv", ".jsonl", ".ndjson"), _captions),
    _Kind("image", _is_image, _image),
    _Kind("folder of images", lambda path: path.is_dir() and next(list_images(path), None) is not None, _images),
)
