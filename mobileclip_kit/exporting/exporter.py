"""A model to an export folder, verified before anybody can see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mobileclip_kit.errors import ParityError, UsageError
from mobileclip_kit.exporting.aids import Aids
from mobileclip_kit.exporting.folder import PRECISIONS, SUFFIXES, Export, ExportedTower, Format, Precision
from mobileclip_kit.exporting.int8 import require_calibration
from mobileclip_kit.exporting.ranges import Method
from mobileclip_kit.exporting.recall import RecallBudget, RecallJudge
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs
from mobileclip_kit.exporting.sensitivity import table_path
from mobileclip_kit.exporting.towers import ImageTower, TextTower
from mobileclip_kit.exporting.verify import THRESHOLDS, require_parity, verify_export
from mobileclip_kit.exporting.write_coreml import write_coreml_tower
from mobileclip_kit.exporting.write_onnx import write_onnx_tower
from mobileclip_kit.files import atomic_folder, sha256_of_file
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.spec import MERGES_FILE, Tower
from mobileclip_kit.tokenizer import Tokenizer, write_merges


def export_model(
    model: Model,
    destination: Path,
    *,
    format: Format,
    precision: Precision,
    images: ImageInputs | None = None,
    texts: TextInputs | None = None,
    calibration: ImageInputs | None = None,
    calibration_texts: TextInputs | None = None,
    method: Method = "minmax",
    threshold: float | None = None,
    recall: RecallBudget | None = None,
    measured: Export | None = None,
    base: Export | None = None,
    ane: bool = False,
    force: bool = False,
    keep_failed: bool = False,
) -> Export:
    """Convert every tower that a model has, compare each with the model, and put the folder in its place.

    Args:
        model: From :func:`~mobileclip_kit.networks.model.load_model`.
        destination: The export folder to make.
        format: ``onnx`` or ``coreml``.
        precision: One of the format's :data:`~mobileclip_kit.exporting.folder.PRECISIONS`.
        images: To verify the image tower with; None draws some.
        texts: To verify the text tower with; None takes built-in prompts.
        calibration: ImageInputs whose activations set the image tower's int8 ranges.
        calibration_texts: The same for the text tower; None takes built-in prompts.
        method: How int8 ranges are chosen from what was observed.
        threshold: Least cosine; None takes the precision's own. For int8 it is also the budget by which operators are
            kept in float.
        recall: How much mean recall ONNX int8 may cost, and on what; None for no such budget.
        measured: An int8 export of the same model whose sensitivities are chosen from, in place of measuring again.
        base: The same model's export in the same format, ONNX ``fp32`` or Core ML ``fp16``: reduced without converting
            the network again. ONNX takes all other precisions from it, Core ML the compressed ones.
        ane: Core ML only: the layout of the Neural Engine, see :mod:`mobileclip_kit.networks.channels_first`.
        force: Replace what stands at ``destination``.
        keep_failed: Leave an export below the threshold in its place all the same; the error is raised afterwards.

    Returns:
        The export, with its verification.

    Raises:
        UsageError: The format has no such precision or layout, int8 without calibration images, or a budget of recall
            for a model without a text tower.
        ExportError: A tower cannot be converted.
        ModelError: The Neural Engine's layout is not known for a tower.
        ModelMismatchError: ``base`` or ``measured`` is of another model.
        ParityError: A tower does not compute what the model computes; without ``keep_failed`` nothing is left.
        OutputError: ``destination`` exists or cannot be written.
    """
    check_request(format, precision, calibrated=calibration is not None or model.spec.image is None, ane=ane)
    if format == "onnx" and precision == "int8" and calibration is not None:
        require_calibration(len(calibration.pixels), "image(s)")
    if base is not None:
        model.spec.check_same_model(base.spec.model_hash, f"The export {base.path}")
    if measured is not None:
        _require_measured(model, measured)
    judge = None if recall is None else _judge(model, recall)
    aids = Aids(
        least_cosine=THRESHOLDS[precision] if threshold is None else threshold,
        images=images,
        texts=texts,
        calibration=calibration,
        calibration_texts=calibration_texts,
        method=method,
        judge=judge,
        measured=None if measured is None else measured.path,
        base=base,
        ane=ane,
    )
    with atomic_folder(destination, force=force) as staging:
        towers: dict[Tower, ExportedTower] = {}
        for tower in model.spec.towers:
            towers[tower] = _write_tower(model, tower, staging / f"{tower}{SUFFIXES[format]}", format, precision, aids)
        export = Export(
            path=staging,
            spec=model.spec,
            format=format,
            precision=precision,
            towers=towers,
            merges_sha256=_write_tokenizer(model, staging),
        )
        results = verify_export(export, model, images=images, texts=texts, threshold=threshold)
        export = export.with_verification(results)
        if judge is not None:
            export = _with_recall(export, judge)
        export.write()
        if not keep_failed:
            require_parity(results, export)
    export = replace(export, path=destination)
    require_parity(results, export)
    return export


def check_request(format: str, precision: str, *, calibrated: bool, ane: bool = False) -> None:
    """Refuse what cannot work before minutes are spent on it.

    Raises:
        UsageError: The format has no such precision or layout, or int8 without calibration images.
    """
    if ane and format != "coreml":
        raise UsageError(f"--ane is a layout for Core ML, not for {format}.", hint="Add --format coreml.")
    if precision not in PRECISIONS[format]:
        raise UsageError(
            f"{format} exports are written in {', '.join(PRECISIONS[format])}, not in {precision}.",
            hint="Leave the precision out for the format's own.",
        )
    if format == "onnx" and precision == "int8" and not calibrated:
        raise UsageError(
            "int8 needs images of the kind that the model will meet, to observe the ranges of its activations.",
            hint="Pass a folder of them with --calibration.",
        )


def _write_tower(
    model: Model, tower: Tower, path: Path, format: Format, precision: Precision, aids: Aids
) -> ExportedTower:
    module = None
    if aids.base is None:
        module = ImageTower(model, ane=aids.ane) if tower == "image" else TextTower(model, ane=aids.ane)
    write = write_onnx_tower if format == "onnx" else write_coreml_tower
    return write(model, tower, module, path, precision, aids)


def _require_measured(model: Model, measured: Export) -> None:
    model.spec.check_same_model(measured.spec.model_hash, f"The export {measured.path}")
    if not any(table_path(measured.path, tower).is_file() for tower in measured.towers):
        raise UsageError(
            f"{measured.path} holds no sensitivities: it kept its budget in int8 alone, so nothing was measured.",
            hint="Leave --sensitivity out.",
        )


def _judge(model: Model, recall: RecallBudget) -> RecallJudge:
    if model.spec.towers != ("image", "text"):
        raise UsageError(
            f"{model.spec.name} has no {'text' if model.spec.text is None else 'image'} tower, so its recall from text "
            "to image cannot be measured.",
            hint="Leave --max-recall-drop out.",
        )
    encoder = TorchEncoder(model)
    captioned = recall.captioned
    return RecallJudge(recall, encoder.encode_images(captioned.pixels), encoder.encode_ids(captioned.ids))


def _with_recall(export: Export, judge: RecallJudge) -> Export:
    """Note in every tower what retrieval lost with all towers reduced.

    Raises:
        ParityError: More than the budget; each tower alone kept it, so this is a defect.
    """
    budget = judge.budget
    after = judge.measure()
    if judge.before - after > budget.max_drop:
        raise ParityError(f"Mean recall falls from {judge.before:.4f} to {after:.4f} on {budget.captioned.source}.")
    noted = {"on": budget.captioned.source, "before": judge.before, "after": after, "max_drop": budget.max_drop}
    towers = {
        name: replace(tower, notes={**tower.notes, "mean_recall": noted}) for name, tower in export.towers.items()
    }
    return replace(export, towers=towers)


def _write_tokenizer(model: Model, folder: Path) -> str | None:
    """Write ``merges.txt`` and return its digest; None for a tokenizer that has no merges."""
    spec = model.spec.text
    if spec is None or spec.tokenizer != "clip-bpe":
        return None
    write_merges(folder / MERGES_FILE, Tokenizer.for_spec(spec, model.merges).merges)
    return sha256_of_file(folder / MERGES_FILE)
