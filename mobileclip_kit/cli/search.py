"""``mckit search``."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, json_option, note
from mobileclip_kit.cli.sheets import SheetRequest, show_hits
from mobileclip_kit.files import counted, one_line
from mobileclip_kit.project import find_project
from mobileclip_kit.search.hits import Hit, certain_hits
from mobileclip_kit.search.index import Index
from mobileclip_kit.search.queries import load_query_vectors
from mobileclip_kit.search.request import SearchRequest

_LABEL_CHARACTERS = 70
_FEW_QUERIES = 8


class QueryCommand(click.Command):
    """A command whose words may begin with a minus sign: "-people"."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put every word behind ``--``. A single minus begins an option only in -k, -k5, -m and -h."""
        values = {name for each in self.params if isinstance(each, click.Option) and not each.is_flag
                  for name in each.opts}  # fmt: skip
        short = re.compile(r"-[kmh]|-k\d+")
        options: list[str] = []
        words: list[str] = []
        rest = iter(args)
        for argument in rest:
            if argument == "--":
                words += rest
            elif argument.startswith("--") or short.fullmatch(argument):
                value = list(islice(rest, 1)) if argument in values else []
                options += [argument, *value]
                if argument in values and not value:  # click says that it is missing
                    return super().parse_args(ctx, options)
            else:
                words.append(argument)
        return super().parse_args(ctx, [*options, "--", *words])


@click.command(name="search", cls=QueryCommand)
@click.argument("arguments", metavar="INDEX [WORDS]...", nargs=-1)
@options_from(SearchRequest)
@options_from(SheetRequest, name="sheets")
@click.option("--index", "project_index", type=click.Path(path_type=Path), hidden=True)  # from mckit.toml
@json_option
def command(
    request: SearchRequest, sheets: SheetRequest, arguments: tuple[str, ...], project_index: Path | None, as_json: bool
) -> None:
    """Find images by words, by an image, by an item of the index or by vectors.

    Each of WORDS is a query of its own; put sentences into quotes. A sign before a word adds or takes away the text
    up to the next sign, optionally with a weight: "beach -people +sunset:2". An image or an item beside words is added
    to each query. In a folder with a mckit.toml, INDEX may be left out.

    \b
    Examples:
      mckit search photos.index "a red bicycle"
      mckit search photos.index "beach -people" --textness -0.4 --textness-vector textness.json
      mckit search photos.index --image bicycle.jpg -k 20 --json
      mckit search photos.index "at night" --like holidays/harbour.jpg
      mckit search photos.index "a green cat" --min-confidence 0.3
      mckit search photos.index -k 5 "-people"
      mckit search photos.index "a red bicycle" --sheet hits.png
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    folder, words = _index_and_words(arguments, project_index)
    images, items, query_vectors = request.images, request.items, request.query_vectors
    min_confidence = request.min_confidence
    if query_vectors is not None and (words or images or items):
        raise click.UsageError("--query-vectors stands alone: no words, --image or --like beside it.")
    if query_vectors is None and not (words or images or items):
        raise click.UsageError("Nothing to look for: pass words, --image FILE, --like ITEM or --query-vectors FILE.")
    sheets.check(as_json=as_json)
    if len(words) > 1 and not any(" " in word for word in words):
        note(f"{len(words)} queries; put a sentence into quotes: {' '.join(words)!r}")

    started = time.perf_counter()
    is_brief = len(words) + len(images) <= _FEW_QUERIES
    with Index(folder, request.model, threads=request.threads, brief=is_brief, device=request.device) as index:
        if words or images:
            index.encoder  # noqa: B018 (opening a model is not part of a query's latency)
        searching = time.perf_counter()
        if (words or images) and index.encoder.runtime == "torch":
            note(_suggest_export(index.encoder.model_path or index.spec.name, searching - started))
        if query_vectors is not None:
            labels, vectors = load_query_vectors(query_vectors, request.query_names, index.spec.embedding_dim)
            judged = None
        else:
            vectors, judged = index.encode_judged(words, images=images, like=items, templates=request.templates)
            labels = list(words) or [*map(str, images), *items]
        found = index.search_vectors(
            vectors, k=request.k, without=items, judged=judged, textness=request.textness or 0.0,
            textness_vector=request.textness_vector, fold=not request.copies, **request.filters(),
        )  # fmt: skip
        latency_ms = 1000 * (time.perf_counter() - searching)
        images_at = index.images_at
        device = index.encoder.device if words or images else None
        problem = index.confidence_problem if judged is not None else "Only hits of words alone have a confidence."
    results = [certain_hits(hits, min_confidence) for hits in found]
    rows = [
        {"query": label, "hits": [hit.to_json() for hit in hits], "cutoff": _cutoff(min_confidence, hits, every)}
        for label, hits, every in zip(labels, results, found, strict=True)
    ]
    total_ms = 1000 * (time.perf_counter() - started)
    document = {
        "results": rows,
        "confidence_unavailable": problem,
        "device": device,
        "latency_ms": round(latency_ms, 3),
        "total_ms": round(total_ms, 3),
    }
    notes = [f"Nothing was left out: {problem}"] if problem and min_confidence is not None else []
    if problem is None and min_confidence is not None:
        uncut = [one_line(label) for label, every in zip(labels, found, strict=True)
                 if any(hit.confidence is None for hit in every)]  # fmt: skip
        notes += [f"Nothing was left out for {label!r}: it is far from every background text." for label in uncut]
    emit(document, "\n".join([_listing(labels, results, found), *notes, f"{latency_ms:.1f} ms"]), as_json=as_json)
    if sheets.wanted and not any(results):
        files = ", ".join(str(file) for file in (sheets.sheet, sheets.html) if file is not None)
        note(f"No hits; not written: {files}." if files else "No hits to show.")
    elif sheets.wanted:
        show_hits(sheets, images_at, labels, results)


def _suggest_export(model: str, seconds: float) -> str:
    folder = shlex.quote(os.path.relpath(model) if Path(model).is_dir() else model)
    exported = shlex.quote(f"{Path(model).name.replace(':', '-')}-onnx-fp32")
    return (
        f"Loading the model with torch took {seconds:.0f} s. An ONNX export opens in less than one: "
        f"`mckit export {folder} --format onnx -o {exported}` once, and `--model {exported}` here."
    )


def _cutoff(min_confidence: float | None, hits: Sequence[Hit], every: Sequence[Hit]) -> dict[str, Any] | None:
    """What ``cutoff`` says in the JSON document; None where nothing could be left out."""
    if min_confidence is None or any(hit.confidence is None for hit in every):
        return None
    return {"min_confidence": min_confidence, "hidden": len(every) - len(hits)}


def _index_and_words(arguments: Sequence[str], project_index: Path | None) -> tuple[Path, list[str]]:
    """The first argument is the index, unless it is none and mckit.toml names one."""
    if project_index is not None and not (arguments and (Path(arguments[0]) / "index.json").is_file()):
        _check_no_index_meant(arguments, project_index)
        return project_index, list(arguments)
    context = click.get_current_context()
    if find_project() is not None and not (arguments and (Path(arguments[0]) / "index.json").is_file()):
        param = next(each for each in context.command.params if each.name == "project_index")
        raise click.MissingParameter(None, context, param, "'INDEX'", "argument")
    if not arguments:
        raise click.UsageError("Name an index and words: mckit search INDEX WORDS.")
    if len(arguments) == 1 and not (Path(arguments[0]) / "index.json").is_file():
        raise click.UsageError(
            f"{arguments[0]!r} is no index, and no mckit.toml names one: mckit search INDEX {arguments[0]!r}."
        )
    return Path(arguments[0]), list(arguments[1:])


def _check_no_index_meant(arguments: Sequence[str], project_index: Path) -> None:
    """Refuse a misspelt index, which would otherwise be the first query."""
    from mobileclip_kit.errors import IndexFormatError
    from mobileclip_kit.files import near_paths

    first = arguments[0] if arguments else ""
    near = [each for each in near_paths(Path(first)) if (Path(each) / "index.json").is_file()]
    is_path = bool(near) or ("/" in first and " " not in first)
    if first.endswith(".index") or (is_path and len(arguments) > 1):
        problem = "is not an index" if Path(first).exists() else "does not exist"
        raise IndexFormatError(f"{first} {problem}.", hint=f"Did you mean {' or '.join(near) or project_index}?")


def _listing(labels: Sequence[str], results: Sequence[Sequence[Hit]], found: Sequence[Sequence[Hit]]) -> str:
    sure = any(hit.confidence is not None for hits in results for hit in hits)
    lines = [f"rank   score  {'sure  ' if sure else ''}image"] if any(results) else []
    for label, hits, every in zip(labels, results, found, strict=True):
        lines.append(one_line(label if len(label) <= _LABEL_CHARACTERS else label[: _LABEL_CHARACTERS - 1] + "…"))
        lines += [f"{hit.rank:4d}  {hit.score:6.4f}  {_percent(hit)}{one_line(hit.item)}{_copies(hit)}" for hit in hits]
        if len(hits) < len(every):
            lines.append(
                f"      {len(every) - len(hits)} less certain left out" if hits else "      no image like that"
            )
        elif not hits:
            lines.append("      no images")
    return "\n".join(lines)


def _copies(hit: Hit) -> str:
    return f"  (and {counted(len(hit.copies), 'copy')})" if hit.copies else ""


def _percent(hit: Hit) -> str:
    return "" if hit.confidence is None else f"{hit.confidence:4.0%}  "
