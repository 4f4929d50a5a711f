"""The options of ``mckit serve``. This module imports neither the server nor a model library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mobileclip_kit.model_names import DeviceOption
from mobileclip_kit.options import Option

LOCAL = "127.0.0.1"
PORT = 8765


@dataclass(frozen=True, kw_only=True)
class ServeRequest:
    """What the search page shows, and where.

    Attributes:
        model: None for the one recorded in the index. If a model or a device is given, the model is opened immediately,
            so that an error is reported immediately; otherwise it is opened while the page already shows images, and
            the page shows the error.
        images: None for the folder recorded in the index.
        textness_vector: None for the one beside the index or its model.
        templates: See :func:`mobileclip_kit.search.queries.encode_queries`.
    """

    index_folder: Annotated[Path, Option("The index.", names=("index_folder",), metavar="INDEX")]
    model: Annotated[
        str | None,
        Option("The model of the index, if it has moved since the index was built.", names=("-m", "--model")),
    ] = None
    images: Annotated[Path | None, Option("Folder of the images, if they have moved.")] = None
    textness_vector: Annotated[Path | None, Option("Textness vector made by `mckit textness fit`.")] = None
    templates: Annotated[
        tuple[str, ...], Option('Prompt such as "a photo of {}"; several are averaged.', names=("--template",))
    ] = ()
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None
    device: DeviceOption = None
    thumbnails: Annotated[Path | None, Option("Folder for thumbnails [default: your cache folder].")] = None
    host: Annotated[str, Option("Address to listen on.")] = LOCAL
    port: Annotated[int, Option("0 for any free port.", at_least=0, at_most=65535)] = PORT
    names: Annotated[
        tuple[str, ...],
        Option("Accept requests for this host name too.", names=("--allow-host",), metavar="NAME"),
    ] = ()
    token: Annotated[
        str | None,
        Option(
            "Required from every request. Generated and printed with --host or --allow-host if none is given.",
            variable="MCKIT_TOKEN",
        ),
    ] = None
    open_browser: Annotated[bool, Option("Open the page in your browser.", names=("--open",))] = False
