"""Does an export compute what its model computes? Both are executed on the same inputs and compared.

The model is executed by torch in float32; the export by the runtimes that its users have: ONNX Runtime, Core ML on
macOS, and everywhere mckit's own interpreter with float16 emulated. Cosines say how far vectors moved; the overlap of
the ten nearest says whether a search would notice.

Where a Core ML tower loses precision, :func:`trace_export` says: it executes every operator in float16 beside the same
one in float32. Weights are the export's own in both, so it shows what rounding activations costs, not what palettes or
int8 weights cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError, ParityError, UsageError
from mobileclip_kit.exporting.folder import SAMPLES_FILE, Export, Verification, show_cosine
from mobileclip_kit.exporting.precisions import FORMATS, find_precision, load
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs, draw_images, probe_inputs, tokenize_texts
from mobileclip_kit.exporting.self_test import check_samples
from mobileclip_kit.metrics import nearest_overlap, row_cosines
from mobileclip_kit.mil.interpreter import Divergence, Interpreter, NumericProblem, divergences
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.networks.model import Model
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import available_runtimes
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.spec import Tower
from mobileclip_kit.tokenizer import Tokenizer, read_merges

# Vectors shorter or longer than this were not normalised; float16 keeps three digits.
_LENGTH_TOLERANCE = 5e-3
# The first batches of a program that takes several inputs at once where the format's others take one.
_SEVERAL = (1, 3)
# So many operators with a numeric problem are named.
_NAMED = 3
# Unit vectors whose cosine is c are √(2 − 2c) apart: the error that the float16 threshold allows, 4.5 %.
TOLERANCE = math.sqrt(2 - 2 * find_precision("coreml", "fp16").threshold)


def verify_export(
    export: Export,
    model: Model,
    *,
    images: ImageInputs | None = None,
    texts: TextInputs | None = None,
    threshold: float | None = None,
    threads: int | None = None,
) -> list[Verification]:
    """Execute an export and its model on the same inputs.

    Args:
        export: From :func:`~mobileclip_kit.exporting.folder.open_export`.
        model: The model that it was made from.
        images: For the image tower; None draws some.
        texts: For the text tower; None takes built-in prompts.
        threshold: Least cosine; None takes the precision's own.
        threads: Of ONNX Runtime.

    Returns:
        One for each tower and runtime.

    Raises:
        ModelMismatchError: The export was made from another model.
        ExportError: A tower cannot be executed, or gives vectors of another shape or length; or the tokenizer is not
            the model's.
    """
    model.spec.check_same_model(export.spec, f"The export {export.path}")
    _check_tokenizer(export, model)
    least = export.row.threshold if threshold is None else threshold
    reference = TorchEncoder(model)
    results = []
    for tower in export.towers:
        given: ImageInputs | TextInputs
        if tower == "image":
            given = images or draw_images(model.spec.require_image())
        else:
            given = texts or tokenize_texts(model, None)
        wanted = _encode(reference, tower, given, (reference.batch_size,))
        for name, actual, problems in _executed(export, model, tower, given, threads=threads):
            what = f"The {tower} tower of {export.spec.name} as {export.format} {export.precision} in {name}"
            compared = wanted[: len(actual)]
            _check_vectors(actual, compared, what, problems)
            cosines = row_cosines(compared, actual)
            some = "" if len(actual) == len(wanted) else f"{len(actual)} of "
            results.append(Verification(
                tower=tower, runtime=name, images=len(actual), inputs=f"{some}{given.source}", threshold=least,
                cosine_min=float(cosines.min()), cosine_mean=float(cosines.mean()),
                overlap_at_10=nearest_overlap(compared, actual),
            ))  # fmt: skip
    # Older exports have no samples; where the vectors are others, that is said first.
    if export.samples_sha256 is not None and all(result.passed for result in results):
        check_samples(export.path / SAMPLES_FILE, model)
    return results


def _executed(
    export: Export, model: Model, tower: Tower, given: ImageInputs | TextInputs, *, threads: int | None
) -> Iterator[tuple[str, Vectors, Sequence[NumericProblem]]]:
    """What executes a tower, its vectors of the first inputs, and what it noticed.

    A runtime that would need longer than the format's time for one input is left out where a twin stands in for it.
    """
    format = FORMATS[export.format]
    for runtime in available_runtimes(export.format):
        encoder = runtime(export, threads=threads)
        if encoder.expected_seconds(tower) <= format.seconds or format.twins is None:
            batches = _SEVERAL if "largest_batch" in export.towers[tower].notes else format.batches
            actual = _encode(encoder, tower, given, batches, seconds=format.seconds)
            yield encoder.runtime, actual, encoder.problems(tower)
    if format.twins is not None:
        for name, actual in load(format.twins)(export, model, tower, _inputs(given)):
            yield name, actual, ()


def require_parity(results: Sequence[Verification], export: Export, *, kept: bool) -> None:
    """Refuse an export that does not compute what its model computes.

    Args:
        results: From :func:`verify_export`.
        export: What was verified.
        kept: Whether its folder stays, so that it can be examined.

    Raises:
        ParityError: Names the worst tower and its cosine.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return
    worst = min(failed, key=lambda result: result.cosine_min)
    raise ParityError(
        f"The {worst.tower} tower of {export.spec.name} as {export.format} {export.precision} differs from its "
        f"model: least cosine {show_cosine(worst.cosine_min)} over {worst.inputs} in {worst.runtime}, where "
        f"{worst.threshold:g} is required.",
        hint=_advice(export, kept=kept),
    )


def _advice(export: Export, *, kept: bool) -> str:
    choices = ["a higher precision", *(["better calibration images"] if export.row.calibrated else [])]
    advice = f"Choose {', '.join(choices)}, or a lower --threshold."
    if not kept:
        return f"{advice} Add --keep-failed to keep the export for inspection."
    if export.format == "coreml" and export.row.weight_bits >= 16:  # smaller weights cost more than rounded activations
        advice += (
            f" `mckit verify {export.path} --against MODEL --intermediates` names the operators that lose precision."
        )
    return advice


def _check_tokenizer(export: Export, model: Model) -> None:
    """The towers are compared on the same identifiers, so a tokenizer that gives others has to be found here."""
    text = model.spec.text
    if export.tokenizer_file is None or text is None or text.tokenizer != "clip-bpe":
        return
    if read_merges(export.tokenizer_file) != Tokenizer.for_spec(text, model.tokenizer_file).merges:
        raise ExportError(
            f"{export.tokenizer_file} lists other merges than {model.spec.name} has, so texts are split otherwise.",
            hint="Copy the export again, or make it again with `mckit export`.",
        )


def _encode(
    encoder: Encoder,
    tower: Tower,
    given: ImageInputs | TextInputs,
    batches: Sequence[int],
    *,
    seconds: float = math.inf,
) -> Vectors:
    """Vectors of the inputs, or of the first ones when time is up."""
    inputs = _inputs(given)
    end = time.monotonic() + seconds
    encode: Any = encoder.encode_images if tower == "image" else encoder.encode_ids
    chunks: list[Vectors] = []
    start = step = 0
    encoder.batch_size = max(batches)
    label = f"verify {tower} with {encoder.runtime}"
    with Progress(label, total=len(inputs), unit="inputs", after=2.0) as progress:
        while start < len(inputs) and (not chunks or time.monotonic() < end):
            size = batches[min(step, len(batches) - 1)]
            chunks.append(encode(inputs[start : start + size]))
            progress.advance(min(size, len(inputs) - start))
            start, step = start + size, step + 1
    return np.concatenate(chunks)


def _inputs(given: ImageInputs | TextInputs) -> Pixels | Ids:
    return given.pixels if isinstance(given, ImageInputs) else given.ids


def _check_vectors(actual: Vectors, wanted: Vectors, what: str, problems: Sequence[NumericProblem]) -> None:
    if actual.shape != wanted.shape:
        raise ExportError(f"{what} gives vectors of shape {actual.shape}, its model {wanted.shape}.")
    if not np.isfinite(actual).all():
        # The first operators in the order of execution are the cause, the others follow from them.
        named = "; ".join(problem.describe() for problem in problems[:_NAMED])
        raise ParityError(
            f"{what} gives numbers that are not finite for {np.count_nonzero(~np.isfinite(actual).all(1))} of "
            f"{len(actual)} inputs{': ' + named if named else ''}.",
            hint="The precision overflows; choose a higher one.",
        )
    worst = float(np.abs(np.linalg.norm(actual, axis=1) - 1).max())
    if worst > _LENGTH_TOLERANCE:
        raise ParityError(f"{what} gives vectors whose length differs from 1 by {worst:.4f}.")


@dataclass(frozen=True)
class TowerTrace:
    """What float16 does to one tower.

    Attributes:
        tower: ``image`` or ``text``.
        operators: How many were compared.
        first: The first operator whose relative error exceeds :data:`TOLERANCE`, or None.
        worst: The operator of the greatest relative error.
        problems: Operators that overflow float16 or give NaN, over all inputs that were tried.
    """

    tower: Tower
    operators: int
    first: Divergence | None
    worst: Divergence
    problems: tuple[NumericProblem, ...]

    def to_json(self) -> dict[str, Any]:
        """As one of the ``intermediates`` of ``mckit verify --json``; an infinite error is null."""
        found = asdict(self)
        for place in ("first", "worst"):
            if found[place] and math.isinf(found[place]["relative_error"]):
                found[place]["relative_error"] = None
        return {**found, "tolerance": TOLERANCE}


def trace_export(
    export: Export, model: Model, *, images: ImageInputs | None = None, texts: TextInputs | None = None
) -> list[TowerTrace]:
    """Compare every operator of every tower; a few of the inputs are looked at.

    Args:
        export: In Core ML.
        model: Whose preprocessing and tokenizer count.
        images: For the image tower; None draws some.
        texts: For the text tower; None takes built-in prompts.

    Raises:
        UsageError: The export is not in Core ML.
        ExportError: A program cannot be read or executed.
    """
    if export.format != "coreml":
        raise UsageError(
            f"--intermediates follows Core ML programs; {export.path} is {export.format}.", hint="Omit it."
        )
    options = ExportOptions(format=export.format, images=images, texts=texts)
    return [_trace(export, tower, probe_inputs(model, tower, options)) for tower in export.towers]


def _trace(export: Export, tower: Tower, rows: Sequence[Any]) -> TowerTrace:
    program = read_program(export.tower_path(tower))
    interpreter = Interpreter(program, arithmetic="float16")
    for row in rows:
        interpreter.run(row)
    found = list(divergences(program, rows[0]))
    first = next((each for each in found if each.relative_error > TOLERANCE), None)
    worst = max(found, key=lambda each: each.relative_error)
    return TowerTrace(tower, len(found), first, worst, interpreter.problems)


def describe_trace(trace: TowerTrace) -> str:
    """Sentences for a person."""
    lines = [f"{trace.tower}: {trace.operators} operators in float16 beside float32"]
    if trace.first is None:
        lines.append(f"  none differs by more than {TOLERANCE:.1%}; most does {_named(trace.worst)}")
    else:
        lines.append(f"  first beyond {TOLERANCE:.1%}: {_named(trace.first)}; most: {_named(trace.worst)}")
    lines += [f"  {problem.describe()}" for problem in trace.problems]
    return "\n".join(lines)


def _named(found: Divergence) -> str:
    return f"{found.operation} ({found.type}), {found.relative_error:.2%}"
