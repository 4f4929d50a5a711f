"""Write the measured figures of README.md and docs from benchmarks/results.

    python benchmarks/readme_figures.py [--check]

A block of a page is replaced by the template of its name in :data:`BLOCKS`, filled with figures::

    <!-- figures: peers -->
    | runtime | ratio |
    <!-- end -->

A figure, ``{real_photos:bench[name=student].size_bytes .1f M}``, names a file of ``benchmarks/results``, a
place in it and Python's format for numbers. A place is a path of keys; ``[key=value]`` picks the entry of a list by a
value of it, ``[3]`` by its number. ``A / B`` is a quotient of two places. After the format may stand ``M`` (millionths:
bytes as MB) or ``pp`` (hundredths: shares as percent). With --check nothing is written, and the exit code is 1 when a
page differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
from harness import HERE, RESULTS, parse

ROOT = HERE.parent
DOCS = ("results", "performance", "search", "index-format")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in DOCS))
_BLOCK = re.compile(r"(<!-- figures: (?P<name>[\w-]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
_FIGURE = re.compile(r"\{(?P<asked>[^{}]+?) (?P<format>[^ {}]+?)(?P<unit>| M| pp)\}")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([^=\]]+)=([^\]]*)\]")
_UNITS = {"": 1, " M": 1e-6, " pp": 100}


class FigureError(Exception):
    """A block or a figure that cannot be found; the message names it."""


def table(*rows: Sequence[str]) -> str:
    """A Markdown table; the first row is its head."""
    return "\n".join(harness.table(rows[0], rows[1:]))


def conditions(name: str, what: str) -> str:
    """A sentence on where the figures of a file were measured."""
    machine = f"{name}:machine"
    return (
        f"{what} {{{machine}.cpu s}}, {{{machine}.cores d}} cores, load {{{machine}.load .1f}}; "
        f"torch {{{machine}.versions.torch s}}, onnxruntime {{{machine}.versions.onnxruntime s}}.\n\n"
    )


def spread(place: str, form: str = ".2f", low: str = "low", high: str = "high") -> str:
    """The two ends of an interval."""
    return f"{{{place}.{low} {form}}} … {{{place}.{high} {form}}}"


def verified(name: str) -> tuple[str, str, str]:
    """Size, least cosine and top-10 overlap of an export of the real photos' student."""
    place = f"real_photos:verify[path={name}]"
    return (
        f"{{{place}.size_bytes .1f M}} MB",
        f"{{{place}.cosine_min .5f}}",
        f"{{{place}.overlap_at_10 .3f}}",
    )


def percent(place: str, digits: int = 0) -> str:
    """A share as percent."""
    return f"{{{place} .{digits}f pp}}%"


_PEERS = {
    "mckit onnx fp32": "mckit, ONNX float32",
    "mckit onnx int8": "mckit, ONNX int8",
    "open_clip": "open_clip, torch",
    "openvino": "OpenVINO, mckit's float32 export",
    "nncf": "OpenVINO, int8 by NNCF",
    "transformers": "transformers, torch, random weights",
    "sentence-transformers": "sentence-transformers, torch, random weights",
}
_BENCHED = {
    "student": "torch float32",
    "student-onnx-fp32": "ONNX float32",
    "student-onnx-int8": "ONNX int8",
}
_SCENE_FIGURES = {
    "precision_at_1": "precision@1, “a red star”",
    "precision_at_1_unseen": "precision@1 of combinations not seen in training",
    "count_precision_at_1": "precision@1 of counts, “two red stars”",
    "relation_precision_at_1": "precision@1 of relations, “a red star left of a blue house”",
    "reading_precision_at_1": "precision@1 of written words, “the word car”",
    "typographic_error_rate": "typographic error rate, without textness",
}
_INDEXERS = {
    "fp32 only": "ONNX float32 on decoded images (bound)",
    "int8 only": "ONNX int8 on decoded images (bound)",
    "decode only": "decoding alone (bound)",
    "mckit fp32": "mckit index, ONNX float32",
    "mckit int8": "mckit index, ONNX int8",
    "open_clip": "open_clip, one process",
    "open_clip workers": "open_clip, loader workers",
    "clip_retrieval": "clip-retrieval",
}
_TEXTNESS_ROWS = (
    ("typographic error rate, scale 0", "plain.typographic_error_rate .0f pp", "%"),
    ("**scale that avoids words**", "suppress.scale .2f", ""),
    ("typographic errors removed", "suppress.errors_removed .0f pp", "%"),
    ("precision@1 without words, loss in points", "suppress.clean_drop .1f pp", ""),
    ("precision@10 without words, loss in points", "suppress.clean_in_ten_drop .1f pp", ""),
    ("precision@10 among words, scale 0", "plain.typographic_right_in_ten .0f pp", "%"),
    ("precision@10 among words, with the scale", "suppress.things_among_words_in_ten .0f pp", "%"),
    ("**scale that prefers words**", "promote.scale +.2f", ""),
    ("precision@1 of written words, scale 0", "plain.reading_precision_at_1 .0f pp", "%"),
    ("precision@1 of written words, with the scale", "promote.reading_precision_at_1 .0f pp", "%"),
    ("precision@1 without words, loss in points", "promote.clean_drop .1f pp", ""),
    ("precision@10 without words, loss in points", "promote.clean_in_ten_drop .1f pp", ""),
)
_KINDS = ("mckit flat", "flat-float16", "flat-int8", "hnsw", "ivf-pq")
_INT8 = {
    "ort-float32": "ONNX Runtime, float32",
    "ort-int8": "ONNX Runtime, mckit's int8",
    "openvino-float32": "OpenVINO, float32",
    "openvino-int8": "OpenVINO, int8 by NNCF",
}
_REPEATED = {
    "latency_ms.p50": "latency, p50",
    "latency_ms_to_first.ratio": "latency, ratio to the first model",
    "images_per_s": "images per second",
    "load_ms": "loading time",
    "peak_memory_bytes": "peak memory",
    "search_latency_ms.p50": "search latency, p50",
}

# The share of the first model's latency, and its interval.
_RATIO = "real_photos:bench[name={name}].latency_ms_to_first"

BLOCKS: dict[str, str] = {
    "readme-exports": table(
        ("image tower `vit-s6-h12`", "size", "least cosine to torch", "top-10 overlap", "latency, share of torch's"),
        ("torch float32", "{real_photos:bench[name=student].size_bytes .1f M} MB", "1", "1", "1"),
        *(
            (label, *verified(name), f"{{{_RATIO.format(name=name)}.ratio .2f}}")
            for name, label in _BENCHED.items()
            if name != "student"
        ),
        ("Core ML float16, executed by mckit's interpreter", *verified("student-coreml-fp16"), "–"),
    ),
    "readme-quickstart": table(
        ("`mckit quickstart`, on synthetic scenes", "measured"),
        ("duration on two CPU cores", "{quickstart:seconds.total .0f} s"),
        (
            "student's image parameters, share of the teacher's",
            percent("quickstart:student.parameters.image / teacher.parameters.image"),
        ),
        (
            "student's precision@1, share of the teacher's",
            percent("quickstart:student.precision_at_1 / teacher.precision_at_1"),
        ),
        (
            "typographic error rate of the student",
            percent("quickstart:textness.suppress.typographic_error_rate_before"),
        ),
        (
            "… at the textness scale {quickstart:textness.suppress.scale .2f}",
            percent("quickstart:textness.suppress.typographic_error_rate"),
        ),
    ),
    "readme-data": (
        "The first table: {real_photos:data.photos d} real photos, teacher OpenAI CLIP ViT-B/32, student trained for\n"
        "{real_photos:distill.steps d} steps on {real_photos:distill.images d} of them; exports compared on "
        "{real_photos:verify[path=student-onnx-int8].images d} of the other {real_photos:data.unseen d}; "
        "two threads, batch 1.\n"
        "So short a training shows that every step works; its MAP@10…20 with the teacher is "
        "{real_photos:bench[name=student].metrics.map_at_10_to_20 .2f}."
    ),
    "real-photos": conditions("real_photos", "Two threads, batch 1, models in turns:")
    + table(
        ("image tower `vit-s6-h12`", "latency, share of torch's", "95% interval", "images/s", "MAP@10…20"),
        *(
            (
                label,
                "1" if name == "student" else f"{{{_RATIO.format(name=name)}.ratio .2f}}",
                "–" if name == "student" else spread(_RATIO.format(name=name)),
                f"{{real_photos:bench[name={name}].images_per_s .1f}}",
                f"{{real_photos:bench[name={name}].metrics.map_at_10_to_20 .3f}}",
            )
            for name, label in _BENCHED.items()
        ),
    ),
    "peers": conditions("peers", "One thread, batch 1, processor time, runtimes in turns:")
    + table(
        ("runtime", "time, share of the first row's", "95% interval", "least cosine"),
        *(
            (
                label,
                f"{{peers:rows[name={name}].to_first.ratio .2f}}",
                spread(f"peers:rows[name={name}].to_first"),
                f"{{peers:rows[name={name}].cosine_min .4f}}",
            )
            for name, label in _PEERS.items()
        ),
    ),
    "quickstart": conditions("quickstart", "{quickstart:seconds.total .0f} s in all:")
    + table(
        ("", "teacher", "student"),
        (
            "image parameters",
            "{quickstart:teacher.parameters.image ,d}",
            "{quickstart:student.parameters.image ,d}",
        ),
        *(
            (label, percent(f"quickstart:teacher.{name}"), percent(f"quickstart:student.{name}"))
            for name, label in _SCENE_FIGURES.items()
        ),
        ("MAP@10 with the teacher", "–", "{quickstart:student.map_at_10 .2f}"),
    )
    + "\n\n"
    + table(
        ("export", "tower", "size", "least cosine", "top-10 overlap"),
        *(
            (
                f"{{quickstart:exports[{number}].path s}}",
                f"{{quickstart:exports[{number}].tower s}}",
                f"{{quickstart:exports[{number}].size_bytes .2f M}} MB",
                f"{{quickstart:exports[{number}].cosine_min .5f}}",
                f"{{quickstart:exports[{number}].overlap_at_10 .3f}}",
            )
            for number in range(6)
        ),
    ),
    "index-speed": conditions("index_speed", "ViT-B/32 with random weights, batch {index_speed:batch d}:")
    + table(
        (
            "images per second",
            "{index_speed:images.small.count d} small",
            "{index_speed:images.camera.count d} camera-sized",
        ),
        *(
            (label, *(f"{{index_speed:results.{size}.{name}.images_per_s .1f}}" for size in ("small", "camera")))
            for name, label in _INDEXERS.items()
        ),
    ),
    "index-kinds": table(
        ("{index_kinds:rows ,d} vectors of {index_kinds:dim d} numbers", "recall@10", "query, p50", "file"),
        *(
            (
                f"`{name.removeprefix('mckit ')}`",
                percent(f"index_kinds:kinds[kind={name}].recall_at_10"),
                f"{{index_kinds:kinds[kind={name}].processor_ms.p50 .1f}} ms",
                f"{{index_kinds:kinds[kind={name}].size_bytes .0f M}} MB" if name != "mckit flat" else "–",
            )
            for name in _KINDS
        ),
    ),
    "index-library": (
        "An update of {index_library:images ,d} unchanged images takes {index_library:update.seconds .1f} s. "
        "A search in a new process\ntakes {index_library:search.seconds .2f} s, with the text tower of a ViT-B/32 "
        "(medians of five)."
    ),
    "int8-speed": conditions("int8_speed", "One thread, batch 1, processor time, runtimes in turns:")
    + table(
        ("`vit-s6-h12`", "p50", "95% interval", "least cosine"),
        *(
            (
                label,
                f"{{int8_speed:rows.{name}.cpu_ms.median .1f}} ms",
                spread(f"int8_speed:rows.{name}.cpu_ms", ".1f"),
                f"{{int8_speed:rows.{name}.cosine_min .4f}}",
            )
            for name, label in _INT8.items()
        ),
    )
    + "\n\nmckit's int8 is {int8_speed:verdict.cpu_ms.times_faster_than_float32 .2f} times as fast as its float32; "
    "{int8_speed:verdict.bound_if_only_int8_products_took_time .2f} times would be\nthe limit, if nothing but int8 "
    "products took time.",
    "distill-speed": conditions("distill_speed", "Two threads, batch {distill_speed:settings.batch_size d}:")
    + table(
        ("training steps", "images/s"),
        ("from a teacher cache", "{distill_speed:images_per_s.cached.median .1f}"),
        ("from a cache, images already decoded", "{distill_speed:images_per_s.ready.median .1f}"),
        ("teacher in the loop", "{distill_speed:images_per_s.live.median .1f}"),
        ("open_clip's own distillation", "{distill_speed:images_per_s.open_clip.median .1f}"),
    ),
    "textness": table(
        ("", "bundled teacher", "its student"),
        *(
            (label, *(f"{{textness_scenes:models[{number}].{place}}}{unit}" for number in (0, 1)))
            for label, place, unit in _TEXTNESS_ROWS
        ),
    ),
    "repeat": table(
        ("three runs, nothing changed", "largest ratio", "stated ratio", "false alarms"),
        *(
            (
                label,
                f"{{repeat:figures[figure={name}].largest_ratio .2f}}",
                f"{{repeat:figures[figure={name}].stated_ratio .2f}}",
                f"{{repeat:figures[figure={name}].alarms d}} of {{repeat:figures[figure={name}].pairs d}}",
            )
            for name, label in _REPEATED.items()
        ),
    ),
    "growth-vectors": table(
        ("vectors in the index", "search", "load and first search", "build", "add 1,000", "peak memory"),
        *(
            (
                f"{count:,}",
                f"{{growth:curves.vectors[n={count}].search_ms .2f}} ms",
                f"{{growth:curves.vectors[n={count}].load_s .3f}} s",
                f"{{growth:curves.vectors[n={count}].build_s .2f}} s",
                f"{{growth:curves.vectors[n={count}].add_1000_s .3f}} s",
                f"{{growth:curves.vectors[n={count}].peak_memory_bytes .0f M}} MB",
            )
            for count in (1_000, 10_000, 100_000, 1_000_000)
        ),
    ),
    "growth-images": table(
        ("images in the folder", "index", "update, nothing changed", "peak memory"),
        *(
            (
                f"{count:,}",
                f"{{growth:curves.images[n={count}].index_s .1f}} s",
                f"{{growth:curves.images[n={count}].again_s .2f}} s",
                f"{{growth:curves.images[n={count}].peak_memory_bytes .0f M}} MB",
            )
            for count in (1_000, 10_000, 100_000)
        ),
    ),
    "growth-batch": table(
        ("batch", "time of one image", "peak memory"),
        *(
            (
                str(count),
                f"{{growth:curves.batch[n={count}].image_ms .1f}} ms",
                f"{{growth:curves.batch[n={count}].peak_memory_bytes .0f M}} MB",
            )
            for count in (1, 8, 64, 256)
        ),
    ),
    "swift": table(
        ("100,000 vectors of 512 numbers", "int8", "float16"),
        ("top-10 search", "{swift_core:int8.search_ms .1f} ms", "{swift_core:float16.search_ms .1f} ms"),
        (
            "share of the time of reading the vectors once",
            "{swift_core:int8.ratio_to_reading .2f}",
            "{swift_core:float16.ratio_to_reading .2f}",
        ),
        ("opening the index", "{swift_core:int8.open_ms .1f} ms", "{swift_core:float16.open_ms .1f} ms"),
    ),
}


def main() -> int:
    """Write, or compare."""
    chosen = parse(check=False, pages=PAGES, results_folder=RESULTS)
    differ = False
    for page in chosen.pages:
        text = page.read_text(encoding="utf-8")
        try:
            written = fill(text, chosen.results_folder)
        except FigureError as error:
            print(f"error: {page.name}: {error}", file=sys.stderr)
            return 1
        if written != text:
            differ = True
            print(f"{page.name}: {'differs' if chosen.check else 'written'}")
            if not chosen.check:
                page.write_text(written, encoding="utf-8")
    return 1 if chosen.check and differ else 0


def fill(text: str, results: Path, blocks: dict[str, str] = BLOCKS) -> str:
    """The text of a page with every block as the results have it.

    Raises:
        FigureError: A block, file, place or format does not exist.
    """

    def replace(found: re.Match[str]) -> str:
        if found["name"] not in blocks:
            raise FigureError(f"There is no block {found['name']!r} in BLOCKS.")
        return f"{found[1]}{render(blocks[found['name']], results)}\n{found[4]}"

    return _BLOCK.sub(replace, text)


def render(template: str, results: Path) -> str:
    """A template with its figures."""
    return _FIGURE.sub(lambda found: figure(found["asked"], found["format"], found["unit"], results), template)


def figure(asked: str, form: str, unit: str, results: Path) -> str:
    """One figure as text: ``real_photos:distill.steps``, ``.1f``. None is a dash."""
    file, _, expression = asked.partition(":")
    path = results / f"{file}.json"
    if not path.is_file():
        raise FigureError(f"{asked}: {path} does not exist; run benchmarks/{file}.py.")
    document = json.loads(path.read_text(encoding="utf-8"))
    values = [find(place.strip(), document, asked) for place in expression.split(" / ")]
    value = values[0] if len(values) == 1 else values[0] / values[1]
    if value is None:
        return "–"
    try:
        return format(value * _UNITS[unit], form).replace("-", "−" if form != "s" else "-")
    except (TypeError, ValueError) as error:
        raise FigureError(f"{asked}: {value!r} cannot be written as {form!r}: {error}.") from error


def find(place: str, document: Any, asked: str) -> Any:
    """The value at a place of a document."""
    value, at = document, 0
    while at < len(place):
        step = _STEP.match(place, at)
        if step is None:
            raise FigureError(f"{asked}: {place[at:]!r} is no step of a path.")
        key, number, name, wanted = step.groups()
        try:
            if key is not None:
                value = value[key]
            elif number is not None:
                value = value[int(number)]
            else:
                value = next(entry for entry in value if str(entry.get(name)) == wanted)
        except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
            raise FigureError(f"{asked}: there is no {step.group(0)!r}.") from None
        at = step.end()
    return value


if __name__ == "__main__":
    sys.exit(main())
