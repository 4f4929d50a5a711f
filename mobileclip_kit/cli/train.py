"""``mckit train``."""

from __future__ import annotations

import click

from mobileclip_kit.cli.distill import print_report
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import json_option, resumable
from mobileclip_kit.distillation.request import TrainRequest


@click.command()
@options_from(TrainRequest)
@json_option
def command(request: TrainRequest, as_json: bool) -> None:
    """Train a small model from image-caption pairs, without a teacher.

    LightCLIP's three losses: softened instance alignment, token-level alignment, and masked language modelling helped
    by the image. MODEL has no parts that only training uses.

    \b
    Examples:
      mckit train --data scenes --student resnet-w16 --text text-2 --steps 2000 -o model
      mckit train --data captions.csv --recipe lightclip --losses align,tokens -o model
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    request.check()  # before torch is imported
    from mobileclip_kit.distillation.from_pairs import train

    with resumable(request.out):
        report = train(request)
    print_report(report, as_json)
