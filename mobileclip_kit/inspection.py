"""Identification of a file or folder by its marker files, with its main facts.

Only markers and headers are read, never weights or vectors, so a damaged file can still be identified.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.cache.folder import CACHE_FILE, cache_folders
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.shards import are_shards, is_retrieval
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ImageError
from mobileclip_kit.exporting.folder import SAMPLES_FILE
from mobileclip_kit.files import parse_json, read_json, read_text, size_bytes
from mobileclip_kit.formats import read_toml
from mobileclip_kit.hub import local_place
from mobileclip_kit.images import image_suffixes, list_images, load_image
from mobileclip_kit.index.npy import NPY_ERRORS
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.spec import tower_of

Facts = dict[str, Any]

# Longer metadata entries are not shown.
_MAX_ENTRY_CHARACTERS = 200


@dataclass(frozen=True)
class Inspection:
    """What a path is.

    Attributes:
        path: The path.
        kind: Such as "model folder".
        facts: Small JSON values by name.
    """

    path: Path
    kind: str
    facts: Facts = field(default_factory=dict)


def inspect_path(path: Path) -> Inspection:
    """Identify a file or folder.

    Raises:
        DataError: It does not exist, its kind is unknown, or its marker cannot be read.
        ImageError: It is named like an image and cannot be decoded.
    """
    path = Path(local_place(path))
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    for kind, fits, facts_of in _KINDS:
        if fits(path):
            try:
                facts = facts_of(path)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise DataError(f"{path} has the marker of the kind {kind}, but is damaged: {error}.") from error
            return Inspection(path, kind, {**facts, "size_bytes": size_bytes(path)})
    if path.is_file() and path.suffix.lower() in image_suffixes():
        load_image(path)  # raises an error with the reason
    if path.is_dir():
        raise DataError(f"{path} is a folder without images and without a marker file of mckit.")
    raise DataError(f"{path} is a file of a kind that mckit does not know.")


# What mckit writes, from the document in the marker file.


def _model(path: Path, document: Facts) -> Facts:
    weights = _tensors(path / "open_clip_model.safetensors")
    image = sum(count for name, (_, count) in weights.items() if tower_of(name) == "image")
    has_text = "text" in document.get("towers", [])
    return {
        **_spec_facts(document),
        "towers": document.get("towers", []),
        "image_parameters": image,
        "text_parameters": sum(count for _, count in weights.values()) - image if has_text else 0,
        "types": sorted({kind for kind, _ in weights.values()}),
        **_origin(document),
    }


def _open_clip_folder(path: Path, document: Facts) -> Facts:
    model = document.get("model_cfg", {})
    return {"embedding_dim": model.get("embed_dim"), "vision": model.get("vision_cfg"), "text": model.get("text_cfg")}


def _export(path: Path, document: Facts) -> Facts:
    spec = document.get("model") or {}
    facts = {**_chosen(document, "format", "precision"), "mckit_version": document.get("mckit"),
             **_spec_facts(spec), **_origin(spec)}  # fmt: skip
    for name, tower in (document.get("towers") or {}).items():
        facts[f"{name}_file"] = tower.get("file")
        for result in tower.get("verification") or ():
            runtime = str(result.get("runtime")).replace(" ", "_")  # "coreai in float32"
            facts[f"{name}_cosine_min_{runtime}"] = result.get("cosine_min")
    return facts


def _layout(path: Path, document: Facts) -> Facts:
    spec = document.get("model") or {}
    towers = {f"{name}_file": file for name, file in (document.get("towers") or {}).items()}
    return {**_chosen(document, "layout", "precision"), "mckit_version": document.get("mckit"), **_spec_facts(spec),
            **_origin(spec), **towers, "files_with_checksum": len(document.get("files") or {})}  # fmt: skip


def _comparison(path: Path, document: Facts) -> Facts:
    passed: dict[str, bool] = {}
    for row in document["rows"]:
        passed[row["name"]] = passed.get(row["name"], True) and bool(row.get("passed"))
    return {"name": document["model"], "model_hash": document["model_hash"],
            "passed": [name for name, all_of in passed.items() if all_of],
            "failed": [name for name, all_of in passed.items() if not all_of]}  # fmt: skip


def _cache(path: Path, document: Facts) -> Facts:
    facts = _chosen(document, "teacher", "teacher_hash", "items", "views", "embedding_dim", "normalized")
    return {**facts, "shards": len(document.get("shards", ()))}


def _caches(path: Path) -> Facts:
    documents = {folder.name: read_json(folder / CACHE_FILE) for folder in cache_folders(path)}
    held = {name: _chosen(document, "teacher", "items", "embedding_dim") for name, document in documents.items()}
    return {"caches": len(held), "held": held}


def _index(path: Path, document: Facts) -> Facts:
    images = document.get("images", document.get("pictures"))  # the key in the first version
    facts = {**_spec_facts(document.get("model") or {}), "images": images, "search": document.get("kind"),
             **_chosen(document, "device")}  # fmt: skip
    matrices = sorted(path.glob("vectors*.f32"), key=lambda each: each.stat().st_mtime_ns)
    if facts.get("embedding_dim") and matrices:
        facts["rows"] = matrices[-1].stat().st_size // (4 * facts["embedding_dim"])
    return facts


def _dump(path: Path, document: Facts) -> Facts:
    return {**_chosen(document, "layout", "items", "images"), **_spec_facts(document.get("model") or {})}


def _bundle(path: Path, document: Facts) -> Facts:
    model = document.get("model") or {}
    files = {part: entry["size_bytes"] for part, entry in (document.get("files") or {}).items()}
    return {**_chosen(document, "precision"), "mckit_version": document.get("mckit"), **_spec_facts(model),
            **_origin(model), "file_bytes": files}  # fmt: skip


def _quickstart(path: Path, document: Facts) -> Facts:
    figures = document["figures"]
    facts = {f"{name}_precision_at_1": figures.get(name, {}).get("precision_at_1") for name in ("teacher", "student")}
    return {"finished": document["finished"], "stages": list(figures), "seconds": document["seconds"], **facts}


def _bench(path: Path, document: Facts) -> Facts:
    gates = [
        f"{gate.get('model')}: {gate.get('figure')}" for gate in document.get("gates") or () if not gate.get("passed")
    ]
    return {**_chosen(document, "device", "interrupted"), **_chosen(document["machine"], "cpu", "cores", "os"),
            "rows": [row["name"] for row in document["rows"]], "gates": len(document.get("gates") or ()),
            "failed_gates": gates}  # fmt: skip


def _phone_bench(path: Path, document: Facts) -> Facts:
    model = _chosen(document["model"], "name", "model_hash", "precision")
    ran, failed = ([row["compute_units"] for row in document[key]] for key in ("rows", "failed"))
    return {**_chosen(document["machine"], "device", "system"), **model, "compute_units": ran, "failed": failed}


def _sensitivity(path: Path, document: Facts) -> Facts:
    return {"measured_on": document["measured_on"], "products": len(document["products"])}


def _scalars(path: Path, document: Facts) -> Facts:
    return {name: value for name, value in document.items() if isinstance(value, str | int | float)}


def _whole(path: Path, document: Facts) -> Facts:
    return document


def _gates(path: Path, document: Facts) -> Facts:
    return {"gates": [f"{gate.get('model')}: {gate.get('figure')}" for gate in document["gate"]]}


def _run(path: Path) -> Facts:
    state = parse_json((_header(path / "checkpoint.safetensors").get("__metadata__") or {}).get("mckit_state", "{}"))
    fingerprint = {name: value for name, value in (state.get("fingerprint") or {}).items() if name != "recipe"}
    return {"steps": state.get("step"), "seconds": state.get("seconds"), **fingerprint}


# Files of other formats.


def _phone_index(path: Path) -> Facts:
    index = PhoneIndex(path)
    ignored = path.stat().st_size - index.end  # of a last batch that is damaged or was cut off
    return {"items": len(index), "embedding_dim": index.header.dim, "numbers": index.header.numbers,
            "model_hash": index.header.model_hash, **({"damaged_bytes": ignored} if ignored else {})}  # fmt: skip


def _samples(path: Path, document: Facts) -> Facts:
    return {
        "least_cosine": document["least_cosine"],
        "images": len(document["images"]),
        "texts": len(document["texts"]),
    }


def _merges(path: Path) -> Facts:
    return {"merges": read_text(path).count("\n") - 1}


def _package(path: Path) -> Facts:
    from mobileclip_kit.mil.graph import leaving_operators
    from mobileclip_kit.mil.program import read_program

    program = read_program(path)
    main = program.functions[program.default_function]
    return {
        "inputs": {feature.name: _feature(feature.image) for feature in program.inputs},
        "outputs": {feature.name: _feature(feature.image) for feature in program.outputs},
        "specification_version": program.specification_version,
        "operators": dict(Counter(operation.type for operation in main.operations).most_common()),
        "leaves_neural_engine": leaving_operators(program),
        **_metadata(program.metadata),
    }


def _asset(path: Path) -> Facts:
    from mobileclip_kit.runtime.coreai import describe_asset

    return _described(path, describe_asset(path))


def _litert(path: Path) -> Facts:
    from mobileclip_kit.runtime.litert import describe_file

    return _described(path, describe_file(path))


def _described(path: Path, found: tuple[Facts, dict[str, str]]) -> Facts:
    facts, entries = found
    return {**facts, **_metadata(entries)}


def _metadata(entries: Mapping[str, str]) -> Facts:
    """The short entries of a file's metadata, and the model, preprocessing, tokenizer and origin that mckit wrote."""
    facts: Facts = {"metadata": {key: value for key, value in entries.items() if len(value) <= _MAX_ENTRY_CHARACTERS}}
    try:
        spec = parse_json(entries.get("model_spec", "null"))
    except ValueError:
        return facts
    if not isinstance(spec, dict):
        return facts
    return {**facts, **_spec_facts(spec), **_origin(spec)}


def _feature(image: Any) -> str:
    return "array" if image is None else f"{image.color} image {image.height}×{image.width}"


def _onnx(path: Path) -> Facts:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable ONNX file: {error}.") from error

    if not model.graph.output:  # almost any bytes can be parsed as a message with unknown fields
        raise DataError(f"{path} is not an ONNX model: it has no graph.")

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
    except NPY_ERRORS as error:
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
    """Teacher, recipe, licence and versions, if the model records them."""
    return {f"made_{key}": value for key, value in (spec.get("provenance") or {}).items() if value is not None}


def _digits(values: Any) -> str:
    return " ".join(f"{value:.4g}" for value in values or ())


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: its length in eight bytes, then JSON."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = parse_json(stream.read(min(length, 1 << 27)))
    except (OSError, ValueError, struct.error) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}.") from error
    if not isinstance(header, dict):
        raise DataError(f"{path} is not a readable safetensors file.")
    return header


def _tensors(path: Path) -> dict[str, tuple[str, int]]:
    return {name: (entry["dtype"], math.prod(entry["shape"]))
            for name, entry in _header(path).items() if name != "__metadata__"}  # fmt: skip


def _chosen(document: Facts, *names: str) -> Facts:
    return {name: document.get(name) for name in names}


def _document(path: Path) -> Facts:
    """The content of a JSON or TOML file; empty for other files."""
    if path.suffix not in (".json", ".toml") or not path.is_file():
        return {}
    try:
        return read_toml(path) if path.suffix == ".toml" else read_json(path)
    except DataError:
        return {}


_Fits = Callable[[Path], bool]
_FactsOf = Callable[[Path], Facts]
_DocumentFacts = Callable[[Path, Facts], Facts]
_Kind = tuple[str, _Fits, _FactsOf]


def _folder(kind: str, marker: str, facts: _DocumentFacts) -> _Kind:
    """A folder with a JSON file of this name."""
    return kind, lambda path: (path / marker).is_file(), lambda path: facts(path, read_json(path / marker))


def _content(kind: str, fits: Callable[[Path, Facts], bool], facts: _DocumentFacts) -> _Kind:
    """A JSON or TOML file with a certain content."""
    return kind, lambda path: fits(path, _document(path)), lambda path: facts(path, _document(path))


def _named(kind: str, suffixes: str, facts: _FactsOf) -> _Kind:
    """A file with one of these suffixes."""
    return kind, lambda path: path.is_file() and path.suffix.lower() in suffixes.split(), facts


def _is_image(path: Path) -> bool:
    if not path.is_file() or (path.suffix.lower() not in image_suffixes() and zipfile.is_zipfile(path)):
        return False
    try:
        load_image(path)
    except ImageError:
        return False
    return True


# Kind, test, facts. The first kind that fits is chosen.
_KINDS: tuple[_Kind, ...] = (
    _folder("model folder", "model.json", _model),
    _folder("export", "export.json", _export),
    _folder("export for another program", "layout.json", _layout),
    _folder("comparison of exports", "comparison.json", _comparison),
    _folder("teacher cache", "cache.json", _cache),
    _folder("index", "index.json", _index),
    _folder("dumped vectors", "vectors.json", _dump),
    _folder("bundle", "manifest.json", _bundle),
    _folder("quickstart folder", "quickstart.json", _quickstart),
    _folder("bench report", "report.json", _bench),
    ("interrupted run", lambda path: (path / "checkpoint.safetensors").is_file(), _run),
    ("Core ML package", lambda path: (path / "Manifest.json").is_file(), _package),
    _folder("open_clip model folder", "open_clip_config.json", _open_clip_folder),
    ("synthetic scenes", lambda path: (path / "truth.jsonl").is_file(), _captions),
    ("images with captions", lambda path: (path / "captions.csv").is_file(), _captions),
    _content("textness vector", lambda _, document: document.get("kind") == "textness", _scalars),
    _content("bench report of a phone", lambda _, document: document.get("kind") == "phone-bench", _phone_bench),
    _content("bench report", lambda _, document: {"machine", "device", "rows"} <= document.keys(), _bench),
    _content("int8 sensitivity", lambda _, document: {"measured_on", "products"} <= document.keys(), _sensitivity),
    _content("project defaults", lambda path, document: path.name == "mckit.toml" and "project" in document, _whole),
    _content("gates of a bench", lambda _, document: "gate" in document, _gates),
    _content("training recipe", lambda path, document: path.suffix == ".toml" and "objective" in document, _whole),
    _named("index file of a phone", ".mckitidx", _phone_index),
    ("tokenizer merges", lambda path: path.name == "merges.txt" and path.is_file(), _merges),
    _named("ONNX model", ".onnx", _onnx),
    ("Core AI asset", lambda path: path.is_dir() and path.suffix == ".aimodel", _asset),
    _named("LiteRT model", ".tflite", _litert),
    _content("sample inputs of an export", lambda path, document: path.name == SAMPLES_FILE, _samples),
    _named("vectors", ".npy", _vectors),
    _named("weights", ".safetensors", _weights),
    _named("captions file", ".csv .tsv .jsonl .ndjson", _captions),
    ("image", _is_image, _image),
    ("retrieval data of CLIP_benchmark", is_retrieval, _captions),
    ("webdataset shards", lambda path: are_shards(str(path)), _captions),
    ("folder of images", lambda path: path.is_dir() and next(list_images(path), None) is not None, _images),
    ("folder of teacher caches", lambda path: cache_folders(path) != [path], _caches),
)
