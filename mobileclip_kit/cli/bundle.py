"""``mckit bundle``."""

from __future__ import annotations

import click

from mobileclip_kit.bundle import BundleRequest, make_bundle, open_bundle
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, force_option, format_table, json_option
from mobileclip_kit.errors import UsageError

# A bundle that is made here need not be copied by add_bundle.sh.
_IN_THE_APP = ("MobileCLIPDemo", "Bundles")


@click.command(name="bundle")
@options_from(BundleRequest)
@force_option
@json_option
def command(request: BundleRequest, force: bool, as_json: bool) -> None:
    """Put everything the app needs into one folder, with a manifest.

    EXPORT is a Core ML export. The bundle has its packages, the tokenizer and the optional parts; manifest.json lists
    them with sizes and SHA-256. A student without a text tower needs its teacher's Core ML export as --text.

    \b
    Examples:
      mckit bundle student-coreml-fp16 --textness textness.json -o Bundle
      mckit bundle --check Bundle
    """  # noqa: D301 (click's mark for lines to keep as they are)
    out, export, check = request.out, request.export, request.check
    if check is not None:
        if export is not None:
            raise UsageError("Pass either an export, or --check with a bundle.", hint="See mckit bundle --help.")
        if out or request.text or request.textness or request.index or request.core_ai:
            raise UsageError("--check allows no other option.")
        bundle = open_bundle(check, check=True)
        sentence = f"{check} is intact: every file matches the manifest."
    elif export is None:
        context = click.get_current_context()
        param = next(each for each in context.command.params if each.name == "export")
        raise click.MissingParameter(None, context, param, "'EXPORT' or --check")
    elif out is None:
        raise UsageError("The output folder is missing.", hint="Add -o DIR.")
    else:
        bundle = make_bundle(
            out, export, text=request.text, textness=request.textness, index=request.index, core_ai=request.core_ai,
            numbers=request.numbers, force=force,
        )  # fmt: skip
        is_there = out.absolute().parent.parts[-2:] == _IN_THE_APP
        next_step = "Build the app again." if is_there else f"Put it into the app: sh ios_demo/add_bundle.sh {out}"
        sentence = f"{out} contains {bundle.spec.name}. {next_step}"
    rows = [[file.file, f"{file.size_bytes:,}"] for file in bundle.files.values()]
    table = format_table(["file", "bytes"], [*rows, ["total", f"{bundle.size_bytes:,}"]])
    document = {"bundle": str(bundle.path), "size_bytes": bundle.size_bytes, **bundle.to_json()}
    emit(document, f"{table}\n{sentence}", as_json=as_json)
