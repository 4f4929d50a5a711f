"""Does an export compute what its model computes? Answered by executing both on the same inputs.

The model is executed by torch in float32; the export by the runtimes that its users have: ONNX Runtime, Core ML on
macOS, and everywhere our own interpreter with float16 arithmetic emulated. Cosines say how far vectors moved; the
overlap of the ten nearest says whether a search would notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError, ParityError
from mobileclip_kit.exporting.folder import Export, Precision, Verification, show_cosine
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs, draw_images, tokenize_texts
from mobileclip_kit.metrics import nearest_overlap, row_cosines
from mobileclip_kit.mil.interpreter import Finding
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.coreml import CoreMLEncoder, has_core_ml
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.mil import MilEncoder
from mobileclip_kit.runtime.onnx import OnnxEncoder
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.spec import Tower
from mobileclip_kit.tokenizer import Tokenizer, read_merges

# Least cosine that each precision has to reach.
THRESHOLDS: dict[Precision, float] = {
    "fp32": 0.999,
    "fp16": 0.999,
    "int8": 0.99,
    "int8-weights": 0.99,
    "palette8": 0.99,
    "palette6": 0.99,
    "palette4": 0.99,
}
# A graph whose batch is not truly dynamic fails or errs at one of these; the rest follows in batches of the last.
_BATCHES = (1, 3, 17)
# Vectors shorter or longer than this were not normalised; float16 keeps three digits.
_LENGTH_TOLERANCE = 5e-3
# So many operators that left the numbers are named.
_NAMED = 3


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
        threshold: Least cosine; None takes the precision's own of :data:`THRESHOLDS`.
        threads: Of ONNX Runtime.

    Returns:
        One for each tower and runtime.

    Raises:
        ModelMismatchError: The export was made from another model.
        ExportError: A tower cannot be executed, or gives vectors of another shape or length; or the tokenizer is not
            the model's.
    """
    model.spec.check_same_model(export.spec.model_hash, f"The export {export.path}")
    _check_tokenizer(export, model)
    least = THRESHOLDS[export.precision] if threshold is None else threshold
    reference = TorchEncoder(model)
    results = []
    for tower in export.towers:
        if tower == "image":
            given = images or draw_images(model.spec.require_image())
            inputs: Pixels | Ids = given.pixels
            source = given.source
        else:
            prepared = texts or tokenize_texts(model, None)
            inputs, source = prepared.ids, prepared.source
        wanted = _encode(reference, tower, inputs, (reference.batch_size,))
        for encoder in _encoders(export, threads):
            batches = _BATCHES if export.format == "onnx" else (1,)
            actual = _encode(encoder, tower, inputs, batches)
            what = f"The {tower} tower of {export.spec.name} as {export.format} {export.precision} in {encoder.runtime}"
            _check_vectors(actual, wanted, what, encoder.findings(tower) if isinstance(encoder, MilEncoder) else ())
            cosines = row_cosines(wanted, actual)
            results.append(
                Verification(
                    tower=tower,
                    runtime=encoder.runtime,
                    images=len(wanted),
                    inputs=source,
                    cosine_min=float(cosines.min()),
                    cosine_mean=float(cosines.mean()),
                    overlap_at_10=nearest_overlap(wanted, actual),
                    threshold=least,
                )
            )
    return results


def require_parity(results: Sequence[Verification], export: Export) -> None:
    """Refuse an export that does not compute what its model computes.

    Raises:
        ParityError: Names the worst tower and its cosine.
    """
    failed = [result for result in results if not result.passed]
    if failed:
        worst = min(failed, key=lambda result: result.cosine_min)
        raise ParityError(
            f"The {worst.tower} tower of {export.spec.name} as {export.format} {export.precision} differs from its "
            f"model: least cosine {show_cosine(worst.cosine_min)} over {worst.inputs} in {worst.runtime}, where "
            f"{worst.threshold:g} is required.",
            hint="Choose a higher precision, better calibration images, or a lower --threshold."
            + (
                " `mckit verify --intermediates` names the operators that lose precision." * (export.format == "coreml")
            ),
        )


def _check_tokenizer(export: Export, model: Model) -> None:
    """The towers are compared on the same identifiers, so a tokenizer that gives others has to be found here."""
    text = model.spec.text
    if export.merges is None or text is None or text.tokenizer != "clip-bpe":
        return
    if read_merges(export.merges) != Tokenizer.for_spec(text, model.merges).merges:
        raise ExportError(
            f"{export.merges} lists other merges than {model.spec.name} has, so texts are split otherwise.",
            hint="Copy the export again, or make it again with `mckit export`.",
        )


def _encoders(export: Export, threads: int | None) -> list[Encoder]:
    if export.format == "onnx":
        return [OnnxEncoder(export, threads=threads)]
    emulated: list[Encoder] = [MilEncoder(export, precision="float16")]
    return [*emulated, CoreMLEncoder(export)] if has_core_ml() else emulated


def _encode(encoder: Encoder, tower: Tower, inputs: Pixels | Ids, batches: Sequence[int]) -> Vectors:
    encode: Any = encoder.encode_images if tower == "image" else encoder.encode_ids
    chunks, start, step = [], 0, 0
    encoder.batch_size = max(batches)
    while start < len(inputs):
        size = batches[min(step, len(batches) - 1)]
        chunks.append(encode(inputs[start : start + size]))
        start, step = start + size, step + 1
    return np.concatenate(chunks)


def _check_vectors(actual: Vectors, wanted: Vectors, what: str, findings: Sequence[Finding]) -> None:
    if actual.shape != wanted.shape:
        raise ExportError(f"{what} gives vectors of shape {actual.shape}, its model {wanted.shape}.")
    if not np.isfinite(actual).all():
        # The first operators in the order of execution are the cause, the others follow from them.
        named = "; ".join(finding.describe() for finding in findings[:_NAMED])
        raise ParityError(
            f"{what} gives numbers that are not finite for {np.count_nonzero(~np.isfinite(actual).all(1))} of "
            f"{len(actual)} inputs{': ' + named if named else ''}.",
            hint="The precision overflows; choose a higher one.",
        )
    worst = float(np.abs(np.linalg.norm(actual, axis=1) - 1).max())
    if worst > _LENGTH_TOLERANCE:
        raise ParityError(f"{what} gives vectors whose length differs from 1 by {worst:.4f}.")
