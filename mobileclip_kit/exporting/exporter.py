"""A model to an export folder, verified before it can be seen."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mobileclip_kit.errors import ExportError, MissingExtraError, ModelError, ParityError, UsageError
from mobileclip_kit.exporting.budget import RecallBudget, RecallJudge
from mobileclip_kit.exporting.folder import (
    EXPORT_FILE,
    SAMPLES_FILE,
    Export,
    ExportedTower,
    Verification,
    open_export,
)
from mobileclip_kit.exporting.precisions import FORMATS, load
from mobileclip_kit.exporting.request import VERIFIED_IMAGES, ExportOptions, ExportRequest, Report
from mobileclip_kit.exporting.samples import ImageInputs, read_captioned, read_source
from mobileclip_kit.exporting.self_test import write_samples
from mobileclip_kit.exporting.sensitivity import table_path
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.exporting.verify import require_parity, verify_export
from mobileclip_kit.extras import require_tested
from mobileclip_kit.files import atomic_folder, sha256_of_file, told, write_json
from mobileclip_kit.networks.model import Model, load_model, tower_parameters
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.spec import MERGES_FILE, TOKENIZER_FILE, Tower
from mobileclip_kit.tokenizer import HuggingFaceTokenizer, Tokenizer, tokenizer_document, write_merges

_CALIBRATION = 200
_CAPTIONED = 400
# Shares of the loss that the threshold allows: what a choice may cost on the inputs it is measured on, where the one
# before missed the threshold on others.
_STRICTER = (0.75, 0.5, 0.25)
# A file of more than this share of float16's bytes saves nothing that is worth a precision of its own.
_SAVES = 0.9


@dataclass(frozen=True)
class LoadedRequest:
    """A request with everything that it names in memory.

    Attributes:
        model: The model to export.
        destination: The folder to write.
        options: With the images and texts that were read.
        skipped: ``(item, reason)`` of images that could not be read.
    """

    model: Model
    destination: Path
    options: ExportOptions
    skipped: tuple[tuple[str, str], ...] = ()


def load_request(request: ExportRequest, *, report: Report = lambda line: None) -> LoadedRequest:
    """Load what a request names.

    Args:
        request: Is checked first.
        report: Called with a line about each step, each warning and each image that could not be read.

    Raises:
        UsageError: Options contradict each other, or the model has no text tower to measure recall with.
        MckitError: The destination exists, or the model or the images cannot be read.
    """
    request.check()
    if request.format is not None:
        require_tested(f"--format {request.format}", FORMATS[request.format].converter)
    request.check_places()
    measured = None if request.sensitivity is None else open_export(request.sensitivity)
    report(f"loading {request.model}")
    model = load_model(request.model)
    for warning in model.warnings:
        report(f"warning: {warning}")
    if request.max_recall_drop is not None:
        _require_both_towers(model)
    images, texts = calibration, calibration_texts = None, None
    if request.images is not None:
        images, texts = read_source(request.images, model, count=request.num_images or VERIFIED_IMAGES)
    if request.calibration is not None:
        calibration, calibration_texts = read_source(request.calibration, model, count=_CALIBRATION)
    skipped = tuple(dict.fromkeys((*skipped_images(images), *skipped_images(calibration))))
    for item, reason in skipped:
        report(f"skipped {told(item, reason)}")
    recall = None
    if request.max_recall_drop is not None and request.images is not None:
        recall = RecallBudget(read_captioned(request.images, model, count=_CAPTIONED), request.max_recall_drop)
    options = ExportOptions(
        format=request.format or next(iter(FORMATS)), precision=request.precision, images=images, texts=texts,
        calibration=calibration, calibration_texts=calibration_texts,
        calibration_method=request.calibration_method or "minmax", threshold=request.threshold, recall=recall,
        measured=measured, ane=request.ane or request.gpu_layout, dynamic_batch=request.dynamic_batch,
        layout=request.layout, force=request.force, keep_failed=request.keep_failed, report=report,
    )  # fmt: skip
    return LoadedRequest(model, request.destination(), options, skipped)


def skipped_images(images: ImageInputs | None) -> tuple[tuple[str, str], ...]:
    """``(item, reason)`` of the images of a source that could not be read."""
    return () if images is None else images.skipped


def export_model(model: Model, destination: Path, options: ExportOptions) -> Export:
    """Convert every tower of a model, compare each with the model, and put the folder in its place.

    Args:
        model: From :func:`~mobileclip_kit.networks.model.load_model`.
        destination: The export folder to make.
        options: Format, precision, and what to verify and calibrate with.

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
    options.check(has_images=model.spec.image is not None)
    require_tested(f"--format {options.format}", FORMATS[options.format].converter)
    for other in (options.base, options.measured):
        if other is not None:
            model.spec.check_same_model(other.spec, f"The export {other.path}")
    if options.measured is not None:
        _require_sensitivities(options.measured, options)
    judge = None if options.recall is None else _judge(model, options.recall)
    if options.layout is not None:
        from mobileclip_kit.exporting.layouts import write_layout

        inner = replace(options, layout=None, force=False)
        make = partial(export_model, model, options=inner)
        return write_layout(options.layout, destination, make, force=options.force)
    what = f"{options.format} {options.row.name}"
    with atomic_folder(destination, force=options.force, kinds=(EXPORT_FILE,)) as staging:
        towers: dict[Tower, ExportedTower] = {}
        for tower in model.spec.towers:
            options.report(f"{what}: writing the {tower} tower")
            path = staging / f"{tower}{FORMATS[options.format].suffix}"
            towers[tower] = load(options.row.write)(TowerJob(model, tower, path, options, judge))
        write_samples(model, staging / SAMPLES_FILE, least_cosine=options.least_cosine)
        export = Export(
            path=staging, spec=model.spec, format=options.format, precision=options.row.name, towers=towers,
            samples_sha256=sha256_of_file(staging / SAMPLES_FILE), **_write_tokenizer(model, staging, options.report),
        )  # fmt: skip
        options.report(f"{what}: verifying")
        results = _verify(export, model, options)
        if options.row.budgeted:
            export, results = _choose_again(export, results, model, options, judge)
            _warn_where_nothing_is_saved(export, model, options.report)
        export = export.with_verification(results)
        if judge is not None:
            export = _with_recall(export, judge)
        export.write()
        if not options.keep_failed:
            require_parity(results, export, kept=False)
    export = replace(export, path=destination)
    require_parity(results, export, kept=True)
    return export


def _verify(export: Export, model: Model, options: ExportOptions) -> list[Verification]:
    return verify_export(export, model, images=options.images, texts=options.texts, threshold=options.threshold)


def _choose_again(
    export: Export, results: list[Verification], model: Model, options: ExportOptions, judge: RecallJudge | None
) -> tuple[Export, list[Verification]]:
    """Reduce less in towers that miss the threshold on the inputs of verification, which no choice has seen.

    The sensitivities that were measured are used again, and the loss that a choice may cost shrinks. Where no choice
    costs so little, the first one and its verification stay as they are.
    """
    for share in _STRICTER:
        missed = [tower for tower in export.towers if any(not each.passed for each in results if each.tower == tower)]
        if not missed:
            break
        cosine = 1 - share * (1 - options.least_cosine)
        options.report(f"{options.format} {options.row.name}: the {' and the '.join(missed)} tower misses the least "
                       f"cosine of {options.least_cosine:g} on other inputs; choosing for {cosine:g}")  # fmt: skip
        stricter = replace(options, choice_cosine=cosine, measured=export, keep_failed=False)
        with tempfile.TemporaryDirectory(dir=export.path) as folder:
            write: Callable[[TowerJob], ExportedTower] = load(options.row.write)
            try:
                made = {
                    tower: write(TowerJob(model, tower, Path(folder) / export.tower_path(tower).name, stricter, judge))
                    for tower in missed
                }
            except ExportError:
                break
            for path in Path(folder).iterdir():
                before = export.path / path.name
                if before.is_dir():
                    shutil.rmtree(before)
                path.replace(before)
        export = replace(export, towers={**export.towers, **made})
        again = _verify(replace(export, towers=made), model, options)
        results = [*(result for result in results if result.tower not in made), *again]
    return export, results


def _warn_where_nothing_is_saved(export: Export, model: Model, report: Report) -> None:
    parameters = tower_parameters(model.network)
    for name, tower in export.towers.items():
        if tower.size_bytes > _SAVES * parameters[name] * 2:
            what = f"{export.format} {export.precision} has {tower.size_bytes / 1e6:.1f} MB"
            report(f"warning: the {name} tower as {what}, hardly less than in float16: nearly all of its weights are "
                   "too sensitive and stay in float.")  # fmt: skip


def _require_sensitivities(measured: Export, options: ExportOptions) -> None:
    if (measured.format, measured.precision) != (options.format, options.row.name):
        raise UsageError(
            f"{measured.path} is an export in {measured.format} {measured.precision}: what it measured says nothing of "
            f"{options.format} {options.row.name}.",
            hint="Pass an export in the same precision, or omit --sensitivity.",
        )
    if not any(table_path(measured.path, tower).is_file() for tower in measured.towers):
        raise UsageError(
            f"{measured.path} holds no sensitivities: it kept its budget without more bits, so nothing was measured.",
            hint="Omit --sensitivity.",
        )


def _require_both_towers(model: Model) -> None:
    if model.spec.towers != ("image", "text"):
        raise UsageError(
            f"{model.spec.name} has no {'text' if model.spec.text is None else 'image'} tower, so its recall from text "
            "to image cannot be measured.",
            hint="Omit --max-recall-drop.",
        )


def _judge(model: Model, recall: RecallBudget) -> RecallJudge:
    _require_both_towers(model)
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


def _write_tokenizer(model: Model, folder: Path, report: Report) -> dict[str, str]:
    """Write ``merges.txt`` and ``tokenizer.json``, as far as the tokenizer has them, and return their digests."""
    spec = model.spec.text
    if spec is None:
        return {}
    merges, document = folder / MERGES_FILE, folder / TOKENIZER_FILE
    if spec.tokenizer == "clip-bpe":
        tokenizer = Tokenizer.for_spec(spec, model.tokenizer_file)
        write_merges(merges, tokenizer.merges)
        write_json(document, tokenizer_document(tokenizer))
        return {"merges_sha256": sha256_of_file(merges), "tokenizer_sha256": sha256_of_file(document)}
    try:
        HuggingFaceTokenizer(spec, model.tokenizer_file).write(document)
    except (ModelError, MissingExtraError) as error:
        report(f"warning: the export has no {TOKENIZER_FILE}: {error.words}")
        return {}
    return {"tokenizer_sha256": sha256_of_file(document)}
