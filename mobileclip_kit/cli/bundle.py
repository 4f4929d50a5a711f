"""``mckit bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import emit, force_option, format_table, json_option
from mobileclip_kit.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command(name="bundle")
@click.argument("export", required=False, type=_PATH)
@click.option("-o", "out", metavar="DIR", type=_PATH, help="The folder to make.")
@click.option(
    "--text",
    metavar="EXPORT",
    type=_PATH,
    help="Export whose text tower to use: the teacher of an image-only student.",
)
@click.option("--textness", metavar="FILE", type=_PATH, help="A textness.json of the same model.")
@click.option("--index", metavar="INDEX", type=_PATH, help="Include this index, ready to use on the phone.")
@click.option("--core-ai", metavar="EXPORT", type=_PATH, help="Include this Core AI export too; iOS 27 prefers it.")
@click.option(
    "--numbers",
    type=click.Choice(["int8", "float16"]),
    default="int8",
    show_default=True,
    help="Number format of the vectors in that index.",
)
@click.option("--check", metavar="DIR", type=_PATH, help="Check an existing bundle instead.")
@force_option
@json_option
def command(
    export: Path | None,
    out: Path | None,
    text: Path | None,
    textness: Path | None,
    index: Path | None,
    core_ai: Path | None,
    numbers: str,
    check: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put everything the app needs into one folder, with a manifest.

    EXPORT is a Core ML export. The bundle has its packages, the tokenizer and the optional parts; manifest.json lists
    them with sizes and SHA-256. A student without a text tower needs its teacher's Core ML export as --text.

    \b
    Examples:
      mckit bundle student-coreml-fp16 --textness textness.json -o Bundle
      mckit bundle --check Bundle
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.bundle import Bundle, make_bundle, open_bundle

    if check is None and export is None:
        raise click.MissingParameter(
            ctx=click.get_current_context(), param_hint="'EXPORT' or --check", param_type="argument"
        )
    if check is not None and export is not None:
        raise UsageError("Pass either an export, or --check with a bundle.", hint="See mckit bundle --help.")
    bundle: Bundle
    if check is not None:
        if out is not None or text is not None or textness is not None or index is not None or core_ai:
            raise UsageError("--check allows no other option.")
        bundle = open_bundle(check, check=True)
        sentence = f"{check} is intact: every file matches the manifest."
    else:
        assert export is not None
        if out is None:
            raise UsageError("The output folder is missing.", hint="Add -o DIR.")
        bundle = make_bundle(
            out,
            export,
            text=text,
            textness=textness,
            index=index,
            core_ai=core_ai,
            numbers="int8" if numbers == "int8" else "float16",
            force=force,
        )
        sentence = f"{out} contains {bundle.spec.name}. Put it into the app: sh ios_demo/add_bundle.sh {out}"
    rows = [[file.file, f"{file.size_bytes:,}"] for file in bundle.files.values()]
    table = format_table(["file", "bytes"], [*rows, ["total", f"{bundle.size_bytes:,}"]])
    document = {"bundle": str(bundle.path), "size_bytes": bundle.size_bytes, **bundle.to_json()}
    emit(document, f"{table}\n{sentence}", as_json=as_json)
