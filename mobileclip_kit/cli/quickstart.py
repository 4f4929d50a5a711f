"""``mckit quickstart``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import emit, force_option, json_option, note


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("mckit-quickstart"), show_default=True,
              help="The folder to make; an interrupted run in it is continued.")  # fmt: skip
@force_option
@json_option
def command(out: Path, force: bool, as_json: bool) -> None:
    """Run the whole pipeline once on synthetic scenes, offline, in a few minutes.

    Draws images, distils the bundled teacher into a smaller student, exports it to ONNX and Core ML, verifies the
    exports, indexes and searches images, learns the textness vector, measures everything and writes a report.

    \b
    Example:
      mckit quickstart -o quickstart
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.quickstart.run import describe, run_quickstart

    document = run_quickstart(out, force=force, say=note)
    emit(document, describe(document), as_json=as_json)
