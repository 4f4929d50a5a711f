"""``mckit serve``."""

from __future__ import annotations

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, json_option, note
from mobileclip_kit.progress import end_waiting
from mobileclip_kit.web.request import ServeRequest


@click.command(name="serve")
@options_from(ServeRequest)
@json_option
def command(request: ServeRequest, as_json: bool) -> None:
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

    token = None if request.token is None else check_token(request.token)
    service = open_service(request)
    try:
        listening = listen(request.host, request.port)
    except BaseException:
        service.close()
        raise
    if token is None and (request.names or not listening.local):
        token = new_token()
    url = listening.url if token is None else f"{listening.url}?token={token}"
    if not listening.local:
        note(f"Anyone who has the address {url} can see these images. The connection is not encrypted.")
    count = service.library.summary.images
    emit(
        {"url": url, "index": str(request.index_folder), "items": count},
        f"{request.index_folder}: {count} images at {url} (Ctrl-C stops the server).",
        as_json=as_json,
    )
    if request.open_browser:
        click.launch(url)
    end_waiting()
    run_server(service, listening, request.names, token)
