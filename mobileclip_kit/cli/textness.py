"""``mckit textness``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, force_option, format_table, json_option, note
from mobileclip_kit.files import counted, told
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.textness.evaluate import (
    EvalRequest,
    evaluate_photos,
    evaluate_projection,
    evaluate_scales,
    summarise,
)
from mobileclip_kit.textness.gallery import encode_photos, encode_scenes, query_scenes
from mobileclip_kit.textness.grid import GridRequest, GridRow, draw_grid
from mobileclip_kit.textness.learn import TextnessRequest, learn_textness
from mobileclip_kit.textness.vector import Textness

_FAILURES_SHOWN = 10
_FILE = click.Path(path_type=Path)
# Of the grid: its scales as shares of the widest one, and how many images' scores decide that.
_SHARES, _SAMPLE = (-1.0, -0.5, 0.0, 0.5, 1.0), 20_000


@click.group(name="textness")
def command() -> None:
    """Learn, measure and show the direction that promotes or demotes written words."""


@command.command()
@options_from(TextnessRequest)
@click.option("-o", "--out", type=_FILE, required=True, help="The JSON file to write.")
@force_option
@json_option
def fit(request: TextnessRequest, out: Path, force: bool, as_json: bool) -> None:
    """Learn the textness vector of a model.

    Words are drawn on copies of IMAGES in many typefaces, sizes, places, colours and angles; a linear probe and the
    mean difference of the pairs give two directions. A fifth of the images is held out to measure them. A folder that
    `mckit scenes --split pairs` drew brings its own copies with words: use it for models of the synthetic scenes,
    which read no other words.

    \b
    Examples:
      mckit textness fit ~/Photos --model student-onnx-fp32 --limit 1000 -o textness.json
      mckit textness fit --clean-vectors c.npy --text-vectors t.npy --for-index photos.index -o textness.json
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.files import check_can_write

    check_can_write(out, force=force)
    learned, failed = learn_textness(request)
    for skip in failed[:_FAILURES_SHOWN]:
        note(f"left out: {told(skip.item, skip.reason)}")
    for warning in learned.warnings():
        note(f"warning: {warning}")
    learned.save(out)
    document = {"textness": str(out), "model": learned.model, "method": learned.method, "norm": 1.0}
    failures = [{"item": skip.item, "reason": skip.reason} for skip in failed]
    emit({**document, **learned.report, "failed": failures}, _fitted(out, learned), as_json=as_json)


@command.command(name="eval", short_help="Measure what each scale corrects and costs.")
@options_from(EvalRequest)
@force_option
@json_option
def evaluate(request: EvalRequest, force: bool, as_json: bool) -> None:
    """Measure what each scale from −3 to 3 corrects and costs on synthetic scenes.

    Two other methods are measured for comparison: the same step on the image vectors, and projection. --photos
    adds the effect of the scales on your own photos.

    \b
    Examples:
      mckit scenes 1000 --split gallery --seed 7 -o gallery
      mckit textness eval gallery --model models/scenes-teacher --textness-vector textness.json --plot scales.png
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    import numpy as np

    from mobileclip_kit.explain.plots import plot_scales
    from mobileclip_kit.files import atomic_file, check_can_write
    from mobileclip_kit.runtime.open import open_encoder

    plot = request.plot
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise click.UsageError(f"{plot} must end in .png.")
        check_can_write(plot, force=force)
    textness = Textness.load(request.textness_vector)
    encoder = open_encoder(request.model, threads=request.threads)
    encoder.spec.check_same_model(textness.model_hash, f"The textness vector {request.textness_vector}")
    asked = query_scenes(encode_scenes(request.scenes, encoder), encoder)
    direction = textness.direction(request.method)
    rows = evaluate_scales(asked.typographic, asked.clean, direction, reading=asked.reading)
    every = np.stack(list(textness.directions.values()))
    projected = evaluate_projection(asked.typographic, asked.clean, every, reading=asked.reading)
    best = summarise(rows)
    on_images = evaluate_scales(asked.typographic, asked.clean, direction, reading=asked.reading, on="images")
    best_on_images = summarise(on_images)
    own = None if request.photos is None else _own_photos(request, encoder, direction)
    chosen = [price["scale"] for price in best.values() if price is not None]
    if plot is not None:
        with atomic_file(plot) as staging:
            plot_scales(rows, staging, chosen=chosen, projection=projected)
    document = {
        "scales": rows,
        "projection": projected,
        "best": best,
        "scales_on_images": on_images,
        "best_on_images": best_on_images,
        "photos": own,
        "plot": None if plot is None else str(plot),
        "accuracy": textness.report.get("accuracy"),
        "norm": 1.0,
        "method": request.method or textness.method,
    }
    told = [
        _scale_table(rows, projected, chosen),
        _prices(best),
        f"On the image vectors instead: {_prices(best_on_images)}",
    ]
    told += [] if own is None else [_photo_prices(own, best)]
    emit(document, "\n".join(told), as_json=as_json)


def _own_photos(request: EvalRequest, encoder: Encoder, direction: Vectors) -> dict[str, Any]:
    """What the scales change for the user's photos: for their captions, or for everyday texts."""
    from mobileclip_kit.confidence.bank import bank_texts

    assert request.photos is not None
    photos = encode_photos(request.photos, encoder)
    for skip in photos.failed[:_FAILURES_SHOWN]:
        note(f"left out: {told(skip.item, skip.reason)}")
    texts = photos.captions or bank_texts()
    rows = evaluate_photos(encoder.encode_texts(list(texts)), photos.vectors, direction,
                           right=photos.right if photos.captions else None)  # fmt: skip
    return {"photos": len(photos.vectors), "queries": len(texts), "captions": bool(photos.captions), "scales": rows}


def _photo_prices(own: dict[str, Any], best: dict[str, Any]) -> str:
    """What the best scales change for the user's own photos, in sentences."""
    asked = f"{own['queries']} {'captions' if own['captions'] else 'everyday texts'}"
    lines = [f"Your {own['photos']} photos, {asked}:"]
    by_scale = {row["scale"]: row for row in own["scales"]}
    for price in best.values():
        if price is not None:
            row, plain = by_scale[price["scale"]], by_scale[0]
            cost = (f"; precision@1 changes by {100 * (row['precision_at_1'] - plain['precision_at_1']):+.1f} points"
                    if own["captions"] else "")  # fmt: skip
            lines.append(f"scale {row['scale']:+g} keeps {row['first_kept']:.1%} of the first hits and "
                         f"{row['ten_kept']:.1%} of the first ten{cost}.")  # fmt: skip
    return "\n".join(lines)


@command.command(short_help="Draw the hits of a query at five scales.")
@options_from(GridRequest)
@force_option
@json_option
def grid(request: GridRequest, force: bool, as_json: bool) -> None:
    """Draw the hits of one query at five scales around 0, a row each.

    They reach from −2 to 2, or less far where textness alone would decide the order there.

    \b
    Example:
      mckit textness grid photos.index "cat" --textness-vector textness.json -o cat.png
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.errors import DataError
    from mobileclip_kit.files import atomic_file, check_can_write
    from mobileclip_kit.index.folder import IndexReader
    from mobileclip_kit.indexing.listing import find_image
    from mobileclip_kit.search.hits import search
    from mobileclip_kit.search.models import find_textness, open_query_encoder
    from mobileclip_kit.search.queries import encode_queries, load_query_vectors

    out, query = request.out, request.query
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.UsageError(f"{out} must end in .png or .jpg.")
    check_can_write(out, force=force)
    with IndexReader(request.index_folder) as index:
        folder = index.header.place
        if folder is None:
            raise DataError(
                f"The index {request.index_folder} was made without its images.", hint="Give --images to `index`."
            )
        textness = find_textness(index, request.textness_vector)
        if request.query_vectors is not None:
            vectors = load_query_vectors(request.query_vectors, None, index.spec.embedding_dim)[1][:1]
        else:
            encoder = open_query_encoder(index, request.model, threads=request.threads, brief=True)
            vectors = encode_queries(encoder, [query])
        widest = textness.widest_scale(index.matrix[:_SAMPLE] @ vectors[0])
        asked = [(widest * share, False) for share in _SHARES]
        asked += [(2.0 * share, True) for share in _SHARES if request.raw]
        found = [search(index, textness.apply(vectors, scale, raw=raw), request.k)[0] for scale, raw in asked]
    labels = [f"{'raw ' if raw else ''}{scale:+.2g}" if scale else "0" for scale, raw in asked]
    rows = [
        GridRow(label, [find_image(folder, hit.item) for hit in hits])
        for label, hits in zip(labels, found, strict=True)
    ]
    with atomic_file(out) as staging:
        draw_grid(query, rows).save(staging, format="PNG" if out.suffix.lower() == ".png" else "JPEG", quality=90)
    document = {
        "grid": str(out),
        "query": query,
        "rows": [
            {"scale": scale, **({"raw": raw} if request.raw else {}), "hits": [hit.to_json() for hit in hits]}
            for (scale, raw), hits in zip(asked, found, strict=True)
        ],
    }
    hits = counted(max(map(len, found)), "hit")
    emit(document, f"{out}: {len(rows)} rows of {hits} for {query!r}.", as_json=as_json)


def _fitted(out: Path, learned: Textness) -> str:
    report, figures = learned.report, ("accuracies", "balanced_accuracies", "aucs")
    lines = [
        [method.replace("_", " "), *(f"{report[figure][method]:.3f}" for figure in figures)]
        for method in report["accuracies"]
    ]
    table = format_table(
        ["held out", "accuracy", "balanced", "AUC"], [*lines, ["chance", f"{report['chance']:.3f}", "0.500", "0.500"]]
    )
    return (
        f"{out}: textness of {learned.model} from {report['images']} images.\n{table}\nThe two directions are "
        f"{report['angle_degrees']:.1f}° apart. Length 1; searches use the {learned.method.replace('_', ' ')}."
    )


def _scale_table(rows: list[dict[str, Any]], projected: dict[str, Any], chosen: list[float]) -> str:
    keys = {
        "typographic_precision_at_1": "thing first",
        "typographic_error_rate": "typographic errors",
        "clean_precision_at_1": "clean first",
        "clean_right_in_ten": "clean in ten",
        "reading_precision_at_1": "word first",
    }
    lines = [
        [str(row.get("scale", "projection")), *("–" if row[key] is None else f"{row[key]:.3f}" for key in keys)]
        for row in [*rows, projected]
        if row.get("scale", 0) in chosen or _is_coarse(row.get("scale", 0))
    ]
    return f"{format_table(['scale', *keys.values()], lines)}\n--json prints all {len(rows)} scales."


def _is_coarse(scale: float) -> bool:
    """Quarters from −1 to 1, and whole numbers."""
    return float(4 * scale).is_integer() and (abs(scale) <= 1 or float(scale).is_integer())


def _prices(best: dict[str, Any]) -> str:
    """What the best scale in each direction does and costs, in sentences."""
    lines = []
    suppress, promote = best["suppress"], best["promote"]
    if suppress is None:
        lines.append("No negative scale keeps clean precision@1 within one point.")
    else:
        removed = suppress["errors_removed"]
        corrected = (
            "there were no typographic errors" if removed is None
            else f"{removed:.1%} of the typographic errors go" if removed > 0
            else "no typographic error goes"
        )  # fmt: skip
        lines.append(f"Scale {suppress['scale']:g}: {corrected}. {_cost(suppress)}")
    if promote is not None:
        share = promote["reading_precision_at_1"]
        lines.append(f"Scale {promote['scale']:+g}: the written word first for {share:.1%}. {_cost(promote)}")
    return "\n".join(lines)


def _cost(price: dict[str, Any]) -> str:
    return (
        f"On images without words, precision@1 changes by {-100 * price['clean_drop']:+z.1f} points and "
        f"right-in-ten by {-100 * price['clean_in_ten_drop']:+z.1f} points."
    )
