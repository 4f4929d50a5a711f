"""A model to an export folder, verified before anybody can see it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mobileclip_kit.errors import UsageError
from mobileclip_kit.export.coreml import export_coreml
from mobileclip_kit.export.folder import PRECISIONS, SUFFIXES, Export, ExportedTower, Format, Precision
from mobileclip_kit.export.int8 import quantize_int8, require_calibration
from mobileclip_kit.export.onnx import export_onnx
from mobileclip_kit.export.overflow import find_overflows
from mobileclip_kit.export.samples import Pictures, Texts, draw_pictures, spread, tokenize_texts
from mobileclip_kit.export.towers import ImageTower, TextTower
from mobileclip_kit.export.verify import THRESHOLDS, require_parity, verify_export
from mobileclip_kit.files import atomic_folder, size_bytes
from mobileclip_kit.images import Pixels
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.towers import Ids
from mobileclip_kit.spec import MERGES_FILE, Tower
from mobileclip_kit.tokenizer import Tokenizer, write_merges

# float16 is probed for overflow with so many inputs, in so many rounds: an operator that is kept in float32 hands its
# large result on to the next.
_PROBES = 4
_ROUNDS = 4


def export_model(
    model: Model,
    destination: Path,
    *,
    format: Format,
    precision: Precision,
    pictures: Pictures | None = None,
    texts: Texts | None = None,
    calibration: Pictures | None = None,
    calibration_texts: Texts | None = None,
    threshold: float | None = None,
    force: bool = False,
    keep_failed: bool = False,
) -> Export:
    """Convert every tower that a model has, compare each with the model, and put the folder in its place.

    Args:
        model: From :func:`~mobileclip_kit.networks.model.load_model`.
        destination: The export folder to make.
        format: ``onnx`` or ``coreml``.
        precision: One of the format's :data:`~mobileclip_kit.export.folder.PRECISIONS`.
        pictures: To verify the image tower with; None draws some.
        texts: To verify the text tower with; None takes built-in prompts.
        calibration: Pictures whose activations set the image tower's int8 ranges.
        calibration_texts: The same for the text tower; None takes built-in prompts.
        threshold: Least cosine; None takes the precision's own. For int8 it is also the budget by which operators are
            kept in float.
        force: Replace what stands at ``destination``.
        keep_failed: Leave an export below the threshold in its place all the same; the error is raised afterwards.

    Returns:
        The export, with its verification.

    Raises:
        UsageError: The format has no such precision, or int8 without calibration pictures.
        ExportError: A tower cannot be converted.
        ParityError: A tower does not compute what the model computes; without ``keep_failed`` nothing is left.
        OutputError: ``destination`` exists or cannot be written.
    """
    check_request(format, precision, calibrated=calibration is not None or model.spec.image is None)
    if format == "onnx" and precision == "int8" and calibration is not None:
        require_calibration(len(calibration.pixels), "picture(s)")
    budget = THRESHOLDS[precision] if threshold is None else threshold
    aids = _Aids(pictures, texts, calibration, calibration_texts, budget)
    with atomic_folder(destination, force=force) as staging:
        towers: dict[Tower, ExportedTower] = {}
        for tower in model.spec.towers:
            path = staging / f"{tower}{SUFFIXES[format]}"
            towers[tower] = _write_tower(model, tower, path, format, precision, aids)
        _write_tokenizer(model, staging)
        export = Export(path=staging, spec=model.spec, format=format, precision=precision, towers=towers)
        results = verify_export(export, model, pictures=pictures, texts=texts, threshold=threshold)
        export = export.with_verification(results)
        export.write()
        if not keep_failed:
            require_parity(results, export)
    export = replace(export, path=destination)
    require_parity(results, export)
    return export


def check_request(format: str, precision: str, *, calibrated: bool) -> None:
    """Refuse what cannot work before minutes are spent on it.

    Raises:
        UsageError: The format has no such precision, or int8 without calibration pictures.
    """
    if precision not in PRECISIONS[format]:
        raise UsageError(
            f"{format} exports are written in {', '.join(PRECISIONS[format])}, not in {precision}.",
            hint="Leave the precision out for the format's own.",
        )
    if format == "onnx" and precision == "int8" and not calibrated:
        raise UsageError(
            "int8 needs pictures of the kind that the model will meet, to observe the ranges of its activations.",
            hint="Pass a folder of them with --calibration.",
        )


@dataclass(frozen=True)
class _Aids:
    """Inputs that the reduced precisions are fitted with."""

    pictures: Pictures | None
    texts: Texts | None
    calibration: Pictures | None
    calibration_texts: Texts | None
    least_cosine: float


def _write_tower(
    model: Model, tower: Tower, path: Path, format: Format, precision: Precision, aids: _Aids
) -> ExportedTower:
    module = ImageTower(model) if tower == "image" else TextTower(model)
    if format == "coreml":
        return _write_coreml(model, tower, module, path, precision, aids)
    notes = export_onnx(tower, module, path, model.spec)
    if precision == "fp32":
        return ExportedTower.from_file(tower, path, **notes)
    return _quantize(model, tower, path, notes, aids)


def _write_coreml(
    model: Model, tower: Tower, module: nn.Module, path: Path, precision: Precision, aids: _Aids
) -> ExportedTower:
    """Convert; where float16 overflows on a few inputs, convert again with the operators concerned in float32."""
    rows: list[dict[str, Any]]
    if tower == "image":
        pictures = aids.pictures or draw_pictures(model.spec.require_image(), count=_PROBES)
        rows = [{"image": picture[None]} for picture in spread(list(pictures.pixels), _PROBES)]
    else:
        texts = aids.texts or tokenize_texts(model, None, count=_PROBES)
        rows = [{"ids": row[None].astype("int32")} for row in spread(list(texts.ids), _PROBES)]
    kept: frozenset[str] = frozenset()
    first_size = None
    for _ in range(_ROUNDS):
        notes = export_coreml(tower, module, path, model.spec, precision=precision, keep_in_float=kept)
        found = find_overflows(path, rows) if precision != "fp32" else frozenset()
        if found <= kept:
            break
        first_size = first_size or size_bytes(path)
        kept |= found
        shutil.rmtree(path)
    else:
        notes = export_coreml(tower, module, path, model.spec, precision=precision, keep_in_float=kept)
    if first_size is not None:
        notes["float_costs_bytes"] = size_bytes(path) - first_size
    return ExportedTower.from_file(tower, path, kept_in_float=sorted(kept), **notes)


def _quantize(model: Model, tower: Tower, path: Path, notes: dict[str, Any], aids: _Aids) -> ExportedTower:
    if tower == "image":
        assert aids.calibration is not None
        inputs: Pixels | Ids = aids.calibration.pixels
        source = aids.calibration.source
    else:
        prompts = aids.calibration_texts or tokenize_texts(model, None)
        inputs, source = prompts.ids, prompts.source
    float_path = path.rename(path.with_name(f"{tower}-float.onnx"))
    kept = quantize_int8(tower, float_path, path, model.spec, inputs, least_cosine=aids.least_cosine)
    float_path.unlink()
    return ExportedTower.from_file(tower, path, kept_in_float=kept, **notes, weight_bits=7, calibration=source)


def _write_tokenizer(model: Model, folder: Path) -> None:
    spec = model.spec.text
    if spec is not None and spec.tokenizer == "clip-bpe":
        write_merges(folder / MERGES_FILE, Tokenizer.for_spec(spec, model.merges).merges)
