"""``mckit serve``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import WholeNumber, emit, json_option, note

_PATH = click.Path(path_type=Path)


@click.command(name="serve")
@click.argument("index_folder", metavar="INDEX", type=_PATH)
@click.option("-m", "--model", help="The model of the index, if it has moved since the index was built.")
@click.option("--images", type=_PATH, help="Folder of the images, if they have moved.")
@click.option("--textness-vector", type=_PATH, help="Textness vector made by `mckit textness fit`.")
@click.option("--template", "templates", multiple=True, help='Prompt such as "a photo of {}"; several are averaged.')
@click.option("--threads", type=WholeNumber(1), help="Threads of the model's runtime.")
@click.option("--thumbnails", type=_PATH, help="Folder for thumbnails [default: your cache folder].")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=WholeNumber(0, 65535), help="0 for any free port.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Accept requests for this host name too.")
@click.option(
    "--token",
    envvar="MCKIT_TOKEN",
    help="Required from every request. Generated and printed with --host or --allow-host if none is given.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in your browser.")
@json_option
def command(
    index_folder: Path,
    model: str | None,
    images: Path | None,
    textness_vector: Path | None,
    templates: tuple[str, ...],
    threads: int | None,
    thumbnails: Path | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    token: str | None,
    open_browser: bool,
    as_json: bool,
) -> None:
    """Search an index on a page in your browser.

    The page searches by words, by an image that you drop on it and by "more like this", and has a slider for written
    words in images. It serves the images of the index and no other files, and only to this machine unless you pass
    --host, which requires the token in the printed address. Stop it with Ctrl-C.

    \b
    Examples:
      mckit serve photos.index --open
      mckit serve photos.index --textness-vector textness.json --port 9000
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.web.access import check_token, new_token
    from mobileclip_kit.web.server import listen, open_service, run_server

    if token is not None:
        check_token(token)
    service = open_service(
        index_folder,
        images=images,
        model=model,
        textness=textness_vector,
        templates=templates,
        threads=threads,
        thumbnails=thumbnails,
    )
    try:
        listening = listen(host, port)
    except BaseException:
        service.close()
        raise
    if token is None and (names or not listening.local):
        token = new_token()
    url = listening.url if token is None else f"{listening.url}?token={token}"
    if not listening.local:
        note(f"Anyone who has the address {url} can see these images. The connection is not encrypted.")
    count = service.library.summary.images
    emit(
        {"url": url, "index": str(index_folder), "items": count},
        f"{index_folder}: {count} images at {url} (Ctrl-C stops the server).",
        as_json=as_json,
    )
    if open_browser:
        click.launch(url)
    run_server(service, listening, names, token)
