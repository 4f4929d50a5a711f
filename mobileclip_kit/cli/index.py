"""``mckit index``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import emit, json_option, note

_FAILURES_SHOWN = 20


@click.command(name="index")
@click.argument("pictures", type=click.Path(path_type=Path), required=False)
@click.option("-m", "--model", help="Model folder, export or open_clip name whose vectors the index holds.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The index: made, or brought up to date."
)
@click.option("--prune", is_flag=True, help="Forget vanished pictures even if they are more than a fifth of the index.")
@click.option("--retry-failed", is_flag=True, help="Try unchanged pictures again that failed before.")
@click.option("--exact-pixels", is_flag=True, help="Decode large JPEGs in full instead of at reduced resolution.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Pictures encoded at once.")
@click.option("--workers", type=click.IntRange(1), help="Decoding threads; one a core unless given.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the model's runtime.")
@click.option("--from-vectors", type=click.Path(path_type=Path), help="A .npy matrix that somebody else computed.")
@click.option(
    "--names", type=click.Path(path_type=Path), help="Its names, a line each (or a JSON list in a .json file)."
)
@click.option("--images", type=click.Path(path_type=Path), help="The folder that the names are relative to.")
@click.option("--force", is_flag=True, help="Replace an index that exists already: begin with nothing.")
@json_option
def command(
    pictures: Path | None,
    model: str | None,
    out: Path,
    prune: bool,
    retry_failed: bool,
    exact_pixels: bool,
    batch: int,
    workers: int | None,
    threads: int | None,
    from_vectors: Path | None,
    names: Path | None,
    images: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build an index of a folder of pictures, or bring it up to date.

    New, changed, moved and deleted pictures are recognised; what cannot be decoded is listed with its reason. The run
    may be interrupted at any moment: run the same command again to go on. With --from-vectors the index is made of
    vectors that were computed elsewhere.

    \b
    Examples:
      mckit index ~/Pictures --model student-onnx -o photos.index
      mckit index --from-vectors vectors.npy --names names.txt --images ~/Pictures -o photos.index
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.indexing import import_vectors, update_index
    from mobileclip_kit.runtime.open import open_encoder

    place = _place(model)
    if from_vectors is not None:
        if pictures is not None or names is None:
            raise click.UsageError("--from-vectors takes --names FILE, and --images DIR in place of PICTURES.")
        spec = None if model is None else open_encoder(model, threads=threads).spec
        report = import_vectors(from_vectors, names, out, images=images, spec=spec, model=place, force=force)
    else:
        if pictures is None or model is None or names is not None or images is not None:
            raise click.UsageError("Say which pictures and which model: mckit index PICTURES --model M -o INDEX.")
        report = update_index(
            pictures,
            open_encoder(model, threads=threads),
            out,
            model=place,
            rebuild=force,
            prune=prune,
            retry_failed=retry_failed,
            batch_size=batch,
            workers=workers,
            draft=not exact_pixels,
        )
    failed = len(report.failed)
    for item in report.failed[:_FAILURES_SHOWN]:
        note(f"no vector: {item.name!r}: {item.reason}")
    if failed > _FAILURES_SHOWN:
        note(f"… and {failed - _FAILURES_SHOWN} more; --json lists them all.")
    emit({"index": str(out), **report.to_json()}, _sentence(out, report.to_json(), failed), as_json=as_json)


def _place(model: str | None) -> str | None:
    """Where a model can be found from any working directory; names of open_clip models stay names."""
    return str(Path(model).absolute()) if model is not None and Path(model).exists() else model


def _sentence(out: Path, report: dict[str, object], failed: int) -> str:
    changes = ", ".join(f"{report[key]} {key}" for key in ("added", "updated", "moved", "removed") if report[key])
    speed = f", {report['pictures_per_s']} pictures/s" if report["pictures_per_s"] else ""
    trouble = f"; {failed} without a vector" if failed else ""
    return f"{out}: {report['items']} pictures ({changes or 'nothing changed'}{speed}){trouble}."
