"""``mckit push``."""

from __future__ import annotations

import click

from mobileclip_kit.bundle import FILE_NAMES
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, format_table, json_option, note
from mobileclip_kit.publishing.push import PushRequest, push


@click.command(name="push")
@options_from(PushRequest)
@json_option
def command(request: PushRequest, as_json: bool) -> None:
    """Upload a model, an export or a bundle to the Hugging Face Hub, with a model card.

    PATH is checked first. Commands that take a model, an export or a bundle then read hf-hub:OWNER/NAME. A token that
    may write comes from `hf auth login` or from HF_TOKEN.

    \b
    Examples:
      mckit push student-onnx-fp32 me/my-clip --dry-run card
      mckit push student-onnx-fp32 me/my-clip --report report --data "10,000 photos of my own"
    """  # noqa: D301 (click's mark for lines to keep as they are)
    index = FILE_NAMES["index"]
    if (request.path / index).is_file():
        note(
            f"{index} tells every reader of the repository the names and vectors of your images. "
            "A bundle that was made without --index does not have it."
        )
    pushed = push(request)
    table = format_table(["file", "bytes"], [[file["file"], f"{file['size_bytes']:,}"] for file in pushed.files])
    where = pushed.url or f"{request.dry_run}: the card and the list of files; nothing was uploaded"
    document = {"repository": pushed.repository, "kind": pushed.kind, "url": pushed.url, "files": pushed.files,
                "card": pushed.card}  # fmt: skip
    emit(document, f"{table}\n{where}", as_json=as_json)
