"""``mckit bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import emit, force_option, format_table, json_option
from mobileclip_kit.errors import UsageError


@click.command(name="bundle")
@click.argument("export", required=False, type=click.Path(path_type=Path))
@click.option("-o", "out", metavar="DIR", type=click.Path(path_type=Path), help="The folder to make.")
@click.option(
    "--text",
    metavar="EXPORT",
    type=click.Path(path_type=Path),
    help="Take the text tower from here: the teacher of an image-only student.",
)
@click.option("--textness", metavar="FILE", type=click.Path(path_type=Path), help="A textness.json of the same model.")
@click.option("--index", metavar="INDEX", type=click.Path(path_type=Path), help="Put this index on the phone, ready.")
@click.option(
    "--numbers",
    type=click.Choice(["int8", "float16"]),
    default="int8",
    show_default=True,
    help="How the ready index stores its vectors.",
)
@click.option("--check", metavar="DIR", type=click.Path(path_type=Path), help="Check a bundle, and make none.")
@force_option
@json_option
def command(
    export: Path | None,
    out: Path | None,
    text: Path | None,
    textness: Path | None,
    index: Path | None,
    numbers: str,
    check: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put everything the app needs into one folder, with a manifest.

    EXPORT is a Core ML export. The bundle holds its packages, the tokenizer, and whatever else is given; manifest.json
    says what that is, with sizes and SHA-256.

    \b
    Examples:
      mckit bundle student-coreml --textness textness.json -o Bundle
      mckit bundle --check Bundle
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.bundle import Bundle, make_bundle, open_bundle

    if (check is None) == (export is None):
        raise UsageError("Give either an export to bundle, or --check with a bundle.", hint="See mckit bundle --help.")
    bundle: Bundle
    if check is not None:
        if out is not None or text is not None or textness is not None or index is not None:
            raise UsageError("--check takes a bundle and nothing else.")
        bundle = open_bundle(check, check=True)
        sentence = f"{check} is whole: every file is what its manifest says."
    else:
        assert export is not None
        if out is None:
            raise UsageError("A bundle needs a place.", hint="Add -o DIR.")
        bundle = make_bundle(
            out,
            export,
            text=text,
            textness=textness,
            index=index,
            numbers="int8" if numbers == "int8" else "float16",
            force=force,
        )
        sentence = f"{out} holds {bundle.spec.name}. Drop it into ios_demo/MobileCLIPDemo/Bundles and build the app."
    rows = [[file.file, f"{file.size_bytes:,}"] for file in bundle.files.values()]
    table = format_table(["file", "bytes"], [*rows, ["together", f"{bundle.size_bytes:,}"]])
    document = {"bundle": str(bundle.path), "size_bytes": bundle.size_bytes, **bundle.to_json()}
    emit(document, f"{table}\n{sentence}", as_json=as_json)
