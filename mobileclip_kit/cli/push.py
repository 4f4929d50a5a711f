"""``mckit push``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.bundle import FILE_NAMES
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, format_table, json_option, note
from mobileclip_kit.errors import UsageError
from mobileclip_kit.project import find_project
from mobileclip_kit.publishing.push import PushRequest, push


class PushCommand(click.Command):
    """A command whose PATH may come from mckit.toml, which click gives to the last argument only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the project's PATH before OWNER/NAME where that stands alone."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        alone = given.get("path")
        is_repository = isinstance(alone, str) and not isinstance(given.get("repository"), str) and "/" in alone
        if is_repository and find_project() is not None and not Path(str(alone)).exists():
            made = (ctx.default_map or {}).get("path")
            if made is None:
                raise UsageError("The project has nothing to upload yet.", hint="`mckit distill` makes a model.")
            note(f"PATH is {made}, by mckit.toml.")
            args = [made, *args]
        return super().parse_args(ctx, args)


@click.command(name="push", cls=PushCommand)
@options_from(PushRequest)
@json_option
def command(request: PushRequest, as_json: bool) -> None:
    """Upload a model, an export or a bundle to the Hugging Face Hub, with a model card.

    PATH is checked first. Commands that take a model, an export or a bundle then read hf-hub:OWNER/NAME. A token that
    may write comes from `hf auth login` or from HF_TOKEN. In a folder with a mckit.toml, PATH may be left out: the ONNX
    export, or else the model, is uploaded.

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
