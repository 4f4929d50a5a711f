"""ONNX exports as other programs read them: Transformers.js and Immich.

The towers are an export's, verified as always; what changes are the names of inputs and outputs, the types of token
identifiers, and the files beside them. Mean and standard deviation stay in the graphs, so the files tell the programs
to subtract 0 and divide by 1.

Read from the programs: Transformers.js's classes for CLIP (``CLIPVisionModelWithProjection``, suffixes of ``dtype``),
and the encoders of Immich's machine-learning service (``models/clip/visual.py`` and ``textual.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit import formats
from mobileclip_kit.errors import ExportError, ParityError
from mobileclip_kit.exporting.folder import SAMPLES_FILE, Export, ExportedTower
from mobileclip_kit.exporting.layout_file import LAYOUT_FILE, LayoutFile
from mobileclip_kit.exporting.onnx import INPUTS, save_graph
from mobileclip_kit.exporting.request import Layout
from mobileclip_kit.exporting.self_test import Samples
from mobileclip_kit.files import atomic_folder, read_json, write_json
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.runtime.onnx import open_session
from mobileclip_kit.spec import TOKENIZER_FILE, ModelSpec, Tower

_IDENTITY = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
_RESAMPLING = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers
# Transformers.js: precision → the end of a file's name, chosen by its option dtype.
_SUFFIXES = {"fp32": "", "fp16": "_fp16", "int8": "_quantized", "int8-weights": "_quantized"}


@dataclass(frozen=True)
class TowerFile:
    """Where a tower goes, and what its graph's ends are called.

    Attributes:
        file: Relative to the folder.
        takes: Name of the input.
        gives: Name of the output.
        ids: Type of token identifiers; None for images.
    """

    file: str
    takes: str
    gives: str
    ids: int | None = None


def write_layout(layout: Layout, destination: Path, make: Callable[[Path], Export], *, force: bool) -> Export:
    """Make an export and lay it out for another program.

    Args:
        layout: A key of :data:`_LAYOUTS`.
        destination: The folder to make.
        make: Writes the export into a folder that it is given.
        force: Replace an existing folder.

    Returns:
        The export with the files as they are now.

    Raises:
        ExportError: The program cannot use the model.
        ParityError: A graph gives other vectors than before.
        OutputError: ``destination`` exists or cannot be written.
    """
    with atomic_folder(destination, force=force, kinds=(LAYOUT_FILE,)) as staging:
        export = make(staging / "export")
        places, describe = _LAYOUTS[layout](export)
        towers = {name: _write_tower(export, name, places[name], staging) for name in export.towers}
        describe(export, staging)
        shutil.rmtree(staging / "export")
        files = {name: tower.file for name, tower in towers.items()}
        described = LayoutFile(layout=layout, precision=export.precision, model=export.spec.to_json(), towers=files)
        described.write(staging)
    return replace(export, path=destination, towers=towers)


def _transformersjs(export: Export) -> tuple[Mapping[Tower, TowerFile], Callable[[Export, Path], None]]:
    suffix = _SUFFIXES[export.precision]
    return {
        "image": TowerFile(f"onnx/vision_model{suffix}.onnx", "pixel_values", "image_embeds"),
        "text": TowerFile(f"onnx/text_model{suffix}.onnx", "input_ids", "text_embeds", TensorProto.INT64),
    }, _describe_for_transformersjs


def _immich(export: Export) -> tuple[Mapping[Tower, TowerFile], Callable[[Export, Path], None]]:
    image = export.spec.image
    if image is not None and (image.height != image.width or image.resize_mode != "shortest"):
        raise ExportError(
            f"Immich crops images to squares; {export.spec.name} takes {image.height}×{image.width} "
            f"({image.resize_mode}).",
            hint="Export another model for it.",
        )
    return {
        "image": TowerFile("visual/model.onnx", "image", "embedding"),
        "text": TowerFile("textual/model.onnx", "text", "embedding", TensorProto.INT32),
    }, _describe_for_immich


_LAYOUTS: dict[Layout, Callable[[Export], tuple[Mapping[Tower, TowerFile], Callable[[Export, Path], None]]]] = {
    "immich": _immich,
    "transformersjs": _transformersjs,
}


def _write_tower(export: Export, tower: Tower, place: TowerFile, staging: Path) -> ExportedTower:
    model = onnx.load(export.tower_path(tower))
    rename_ends(model, export.spec, tower, place)
    path = staging / place.file
    path.parent.mkdir(exist_ok=True)
    save_graph(model, tower, export.spec, path)
    _compare(export, tower, place, path)
    made = ExportedTower.from_file(tower, path)
    return replace(export.towers[tower], file=place.file, size_bytes=made.size_bytes, sha256=made.sha256)


def rename_ends(model: onnx.ModelProto, spec: ModelSpec, tower: Tower, place: TowerFile) -> None:
    """Give a tower's graph other ends, in place.

    Token identifiers become int64 inside, and rows that are shorter than the context are padded as the tokenizer pads
    them, since programs pad to the longest text only.
    """
    graph = model.graph
    (given,), (made,) = graph.input, graph.output
    if given.name != INPUTS[tower]:
        raise ExportError(f"The graph takes {given.name!r}, not {INPUTS[tower]!r}.", hint="Export the model again.")
    made.name, old_output = place.gives, made.name
    first, last = [], [helper.make_node("Identity", [old_output], [place.gives])] if old_output != place.gives else []
    if place.ids is not None and spec.text is not None:
        first = _padding(place, given.name, spec.text.context_length, spec.text.pad_id, graph)
        graph.input[0].CopyFrom(helper.make_tensor_value_info(place.takes, place.ids, ["batch", "sequence"]))
    elif place.takes != given.name:
        first = [helper.make_node("Identity", [place.takes], [given.name])]
        given.name = place.takes
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)


def _padding(place: TowerFile, ids: str, context: int, pad_id: int, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    names = ("context", "zeros", "one", "pad_id", "ids", "shape", "length", "missing", "pads")
    width, zeros, one, value, wide, shape, length, missing, pads = (f"mckit_{name}" for name in names)
    constants = {width: [context], zeros: [0, 0, 0], one: [1]}
    for name, numbers in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
    graph.initializer.append(numpy_helper.from_array(np.array(pad_id, np.int64), value))
    return [
        helper.make_node("Cast", [place.takes], [wide], to=TensorProto.INT64),
        helper.make_node("Shape", [wide], [shape]),
        helper.make_node("Gather", [shape, one], [length], axis=0),
        helper.make_node("Sub", [width, length], [missing]),
        helper.make_node("Concat", [zeros, missing], [pads], axis=0),
        helper.make_node("Pad", [wide, pads, value], [ids]),
    ]


def _compare(export: Export, tower: Tower, place: TowerFile, path: Path) -> None:
    """The samples of the export give the vectors that they gave before."""
    samples = formats.read(export.path / SAMPLES_FILE, Samples)
    feeds, wanted = samples.feeds(tower)
    if place.ids is not None:
        feeds = feeds.astype("int32" if place.ids == TensorProto.INT32 else "int64")
    found = open_session(path).run([place.gives], {place.takes: feeds})[0]
    least = float(row_cosines(found, wanted).min())
    if least < samples.least_cosine:
        raise ParityError(f"{place.file} differs from the model: least cosine {least:.5f}.")


def _describe_for_transformersjs(export: Export, folder: Path) -> None:
    spec = export.spec
    config: dict[str, Any] = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": spec.embedding_dim,
    }
    if spec.image is not None:
        config["vision_config"] = {"image_size": spec.image.height, "projection_dim": spec.embedding_dim}
        write_json(folder / "preprocessor_config.json", _processor(spec))
    if spec.text is not None:
        text = spec.text
        config["text_config"] = {"max_position_embeddings": text.context_length, "vocab_size": text.vocab_size,
                                 "projection_dim": spec.embedding_dim}  # fmt: skip
        _write_tokenizer(export, folder)
    write_json(folder / "config.json", config)


def _processor(spec: ModelSpec) -> dict[str, Any]:
    image = spec.require_image()
    if image.resize_mode == "longest":
        raise ExportError("Transformers.js does not pad images to a square.", hint="Export another model for it.")
    is_cropped = image.resize_mode == "shortest"
    size = {"height": image.height, "width": image.width}
    return {
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": False, "image_mean": _IDENTITY["mean"],
        "image_std": _IDENTITY["std"], "resample": _RESAMPLING[image.interpolation], "do_center_crop": is_cropped,
        "crop_size": size, "size": {"shortest_edge": max(size.values())} if is_cropped else size,
    }  # fmt: skip


def _describe_for_immich(export: Export, folder: Path) -> None:
    spec = export.spec
    config: dict[str, Any] = {"embed_dim": spec.embedding_dim}
    if spec.image is not None:
        config["vision_cfg"] = {"image_size": spec.image.height}
        write_json(folder / "visual" / "preprocess_cfg.json", {**spec.image.to_open_clip(), **_IDENTITY})
    if spec.text is not None:
        config["text_cfg"] = {"context_length": spec.text.context_length, "vocab_size": spec.text.vocab_size}
        if spec.text.cleaning == "canonicalize":
            config["text_cfg"]["tokenizer_kwargs"] = {"clean": "canonicalize"}
        _write_tokenizer(export, folder / "textual")
    write_json(folder / "config.json", config)


def _write_tokenizer(export: Export, folder: Path) -> None:
    source = export.path / TOKENIZER_FILE
    if not source.is_file():
        raise ExportError(
            f"The export has no {TOKENIZER_FILE}, which the program needs.", hint="Install the extra [hf]."
        )
    padding = read_json(source).get("padding") or {}
    if "pad_token" not in padding:
        raise ExportError(f"{TOKENIZER_FILE} of {export.spec.name} names no padding token, which the program needs.")
    shutil.copyfile(source, folder / TOKENIZER_FILE)
    context = export.spec.require_text().context_length
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    write_json(folder / "tokenizer_config.json", {**settings, "pad_token": padding["pad_token"]})
