"""The model card: ``README.md`` of a repository on the Hugging Face Hub.

Every figure comes from the verification in ``export.json`` or from a report of ``mckit bench``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mobileclip_kit import __version__
from mobileclip_kit.exporting.folder import show_cosine
from mobileclip_kit.exporting.precisions import FORMATS
from mobileclip_kit.formats import to_document
from mobileclip_kit.publishing.contents import Contents
from mobileclip_kit.publishing.licences import SCENES, find_weights, hub_identifier

if TYPE_CHECKING:
    from mobileclip_kit.bench.results import BenchReport

CARD_FILE = "README.md"
_KINDS = {"model": "a model folder", "export": "an export", "bundle": "a bundle for the iOS app"}
_SWIFT_BUNDLE = """```swift
import MobileCLIPCore

let bundle = try ModelBundle(contentsOf: folder, check: .hashes)
let tokenizer = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: bundle.model.text!)
```"""
_SWIFT_EXPORT = """```swift
import CoreML

let compiled = try await MLModel.compileModel(at: folder.appendingPathComponent("image.mlpackage"))
let tower = try MLModel(contentsOf: compiled)  // image: an RGB image; embedding: of length 1
```"""
_LOOK = "not stated: look at the page that they come from"


def render_card(
    contents: Contents, repository: str, *, licence: str | None, data: str | None, report: BenchReport | None
) -> str:
    """The text of a card.

    Args:
        contents: What is published.
        repository: ``owner/name``.
        licence: Of the weights; None for the one that the model carries.
        data: A sentence on the training images and their licence.
        report: Of ``mckit bench``; its rows are listed.
    """
    provenance = contents.spec.provenance
    own = find_weights(contents.spec.model_hash, provenance.get("source"))
    licence = licence or provenance.get("licence") or (own.licence if own else None)
    drawn = SCENES if provenance.get("data") == "synthetic scenes" else None
    data = data or (own.data if own else drawn)
    sections = [
        _metadata(contents, licence),
        f"# {contents.spec.name}",
        _introduction(contents),
        "## Figures\n\n" + "\n\n".join(_figures(contents, report)),
        "## Use\n\n" + "\n\n".join(_use(contents, repository)),
        "## Origin\n\n" + _origin(contents, licence, data),
        "## Intended use and limits\n\n" + _limits(contents),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(contents: Contents, licence: str | None) -> str:
    tags = ["clip", "mckit", "mobile", contents.kind]
    if contents.export is not None:
        tags += [contents.export.format, contents.export.precision]
    lines = [
        "library_name: mckit",
        "pipeline_tag: zero-shot-image-classification",
        f"license: {hub_identifier(licence)}",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in tags),
    ]
    return "\n".join(["---", *lines, "---"])


def _introduction(contents: Contents) -> str:
    spec = contents.spec
    towers = " and ".join(f"{tower} tower" for tower in spec.towers)
    image = f" Images are {spec.image.height}×{spec.image.width} pixels." if spec.image is not None else ""
    text = f" Texts have up to {spec.text.context_length} tokens." if spec.text is not None else ""
    form = "" if contents.export is None else f", {contents.export.format} in {contents.export.precision}"
    return (
        f"A CLIP model with {towers}, as {_KINDS[contents.kind]} of mckit {__version__}{form}. Embeddings have "
        f"{spec.embedding_dim} numbers.{image}{text}\n\nModel hash: `{spec.model_hash}`"
    )


def _figures(contents: Contents, report: BenchReport | None) -> Iterator[str]:
    rows = [] if contents.export is None else contents.export.rows()
    if rows:
        yield "The export compared with the model in float32, by `mckit export` and `mckit verify`:"
        header = ["tower", "executed by", "inputs", "least cosine", "mean cosine", "top-10 overlap", "MB"]
        yield _table(header, list(map(_compared, rows)))
    if report is not None:
        yield f"Measured by `mckit bench` on {report.machine.get('cpu', 'a processor that is not named')}:"
        yield from map(_measured, map(to_document, report.rows))
    if not rows and report is None:
        yield "None were given: `mckit push --report report` adds those of `mckit bench`."


def _compared(row: dict[str, Any]) -> list[str]:
    cosines = [show_cosine(row["cosine_min"]), show_cosine(row["cosine_mean"])]
    size = f"{row['size_bytes'] / 1e6:.1f}"
    return [row["tower"], row["runtime"], row["inputs"], *cosines, _number(row["overlap_at_10"]), size]


def _measured(row: dict[str, Any]) -> str:
    latency = row.get("latency_ms") or {}
    figures = {"latency, p50 in ms": latency.get("p50"), "images per second": row.get("images_per_s"),
               "size in MB": (row.get("size_bytes") or 0) / 1e6 or None, **(row.get("metrics") or {})}  # fmt: skip
    told = [[name, _number(value)] for name, value in figures.items() if isinstance(value, int | float)]
    return f"**{row['name']}**\n\n{_table(['figure', 'value'], told)}"


def _use(contents: Contents, repository: str) -> Iterator[str]:
    needed = "train" if contents.export is None else FORMATS[contents.export.format].extra
    extras = ",".join(filter(None, ("hub", needed)))
    yield f'In Python, with mckit installed from its repository (`pip install -e ".[{extras}]"`):'
    yield (
        "```python\nimport mobileclip_kit as mckit\n\n"
        f'encoder = mckit.load("hf-hub:{repository}")\n'
        'vectors = encoder.encode_images(["photo.jpg"])  # rows of length 1\n```'
    )
    yield f"On the command line:\n\n```sh\nmckit index ~/Photos --model hf-hub:{repository} -o photos.index\n```"
    if contents.kind == "bundle":
        yield "In Swift, with mckit's package and the folder copied into the app (not executed on a device):"
        yield _SWIFT_BUNDLE
    elif contents.export is not None and contents.export.format == "coreml":
        yield "In Swift (not executed on a device; `mckit bundle` packs both towers with the tokenizer):"
        yield _SWIFT_EXPORT


def _origin(contents: Contents, licence: str | None, data: str | None) -> str:
    provenance = contents.spec.provenance
    names = {"teacher": "Teacher", "student": "Student", "recipe": "Recipe", "source": "Source", "init": "Started from"}
    lines = [f"- {title}: {provenance[key]}" for key, title in names.items() if provenance.get(key)]
    if provenance.get("teacher"):
        known = find_weights(provenance.get("teacher_hash"), provenance["teacher"])
        lines.append(f"- Licence of the teacher's weights: {f'{known.licence} ({known.source})' if known else _LOOK}")
        lines += [f"- Training images of the teacher: {known.data}"] if known else []
    return "\n".join(
        [
            *lines,
            f"- Training images: {data or 'not stated'}",
            f"- Licence of the weights: {licence or 'not stated'}. {_also(provenance)}",
        ]
    )


def _also(provenance: Mapping[str, Any]) -> str:
    if provenance.get("teacher"):
        return "The licences of the teacher and of the training images apply as well."
    return "The licence of the training images applies as well."


def _limits(contents: Contents) -> str:
    text = (
        "Search of images by words or by images, on a device. Scores are cosines of this model and cannot be compared "
        "with those of another one. CLIP models repeat the biases of the captions that they or their teachers were "
        "trained on, and confuse written words with objects; do not use them to decide about people."
    )
    if contents.spec.text is None:
        text += " This model has no text tower: search by words needs that of its teacher."
    if contents.export is not None and contents.export.format in ("coreml", "coreai"):
        text += " The export was executed on a computer; test it on the device by its `samples.json`."
    return text


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
