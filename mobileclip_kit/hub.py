"""The Hugging Face Hub: models, exports and bundles that mckit pushed, as folders on this machine.

``hf-hub:org/name`` may also be a model of open_clip's own form, which open_clip reads itself. A repository is ours when
it has one of the files by which mckit knows its folders. Copies lie in the user's cache folder as plain files, because
the hub's own cache consists of links, and packages of Core ML must not contain any.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mobileclip_kit.errors import ModelError, UsageError, first_line
from mobileclip_kit.extras import is_installed, require
from mobileclip_kit.model_names import HUB
from mobileclip_kit.resources import cache_folder
from mobileclip_kit.spec import check_hub_name

_ANSWER_SECONDS = 1.5
MARKERS = ("export.json", "manifest.json", "model.json")


def hub_api() -> Any:
    """The hub's client; the variables ``HF_ENDPOINT`` and ``HF_TOKEN`` apply.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    require("The Hugging Face Hub", "hub")
    import huggingface_hub

    return huggingface_hub.HfApi(endpoint=_endpoint(), library_name="mckit")


def local_place(place: str | Path) -> str | Path:
    """The folder of a hub address that mckit can read; anything else as it is.

    Args:
        place: A path, a name, or ``hf-hub:org/name``, which is downloaded or brought up to date.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ModelError: There is no such repository, or it cannot be reached and was not downloaded before.
    """
    text = str(place)
    return (_download(text.removeprefix(HUB)) or place) if text.startswith(HUB) else place


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep the hub library's log off the terminal, and let it fail at once where its host does not answer.

    It would otherwise retry for up to a minute before it says so; what lies in its cache is still used.
    """
    import logging  # every search imports this module

    from huggingface_hub import constants

    was_offline, was_disabled = constants.HF_HUB_OFFLINE, logging.root.manager.disable
    if not _answers(_endpoint() or constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        logging.disable(was_disabled)


def _answers(url: str) -> bool:
    """Whether the host of a URL, or the proxy on the way to it, accepts a connection by any of its families."""
    import socket
    import urllib.request

    try:
        asked = urlsplit(url)
        proxies = urllib.request.getproxies()
        proxy = proxies.get(asked.scheme) or proxies.get("all")
        if proxy and not urllib.request.proxy_bypass(asked.hostname or ""):
            asked = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        default = {"http": 80, "socks5": 1080, "socks5h": 1080}.get(asked.scheme, 443)
        found = socket.getaddrinfo(asked.hostname, asked.port or default, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a name that nobody knows, or no URL at all
        return False
    for family, address in {family: address for family, *_, address in found}.items():
        # The system may lack a family that the name has an address of.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_ANSWER_SECONDS)
            probe.connect(address)
            return True
    return False


def hub_reason(error: Exception) -> str:
    """Why a request failed, ending in a full stop.

    :func:`quiet_hub` sets the library's offline mode, which the library would tell the user to unset.
    """
    import huggingface_hub

    is_ours = isinstance(error, huggingface_hub.errors.OfflineModeIsEnabled) and not os.environ.get("HF_HUB_OFFLINE")
    return ("no network" if is_ours else first_line(error).rstrip(".")) + "."


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


@functools.cache
def _download(repository: str) -> Path | None:
    """The local copy, once in a process; None for a repository of another kind."""
    check_repository(repository)
    api = hub_api()
    import huggingface_hub

    folder = cache_folder() / "hub" / repository.replace("/", "--")
    try:
        with quiet_hub():
            files = set(api.list_repo_files(repository))
            if not files.intersection(MARKERS):
                return None
            api.snapshot_download(repository, local_dir=folder)
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no repository {repository} on the hub, or it is private.",
            hint="Check the name, or log in with `hf auth login`.",
        ) from error
    except Exception as error:  # the client passes on whatever its HTTP library raises
        if any((folder / marker).is_file() for marker in MARKERS):
            return folder
        if is_installed("open_clip") and isinstance(
            huggingface_hub.try_to_load_from_cache(repository, "open_clip_config.json"), str
        ):  # open_clip has a copy of its own
            return None
        raise ModelError(
            f"{HUB}{repository} is not on this machine, and the hub cannot be reached: {hub_reason(error)}",
            hint="Connect once, or copy the folder from another machine and pass its path.",
        ) from error
    return folder


def check_repository(repository: str) -> None:
    """Refuse what is not ``owner/name``.

    Raises:
        UsageError: Says so.
    """
    try:
        check_hub_name(repository, "The repository")
    except ModelError as error:
        raise UsageError(f"{repository!r} is not a repository on the hub.", hint="Write owner/name.") from error
    if repository.count("/") != 1 or ".." in repository or "--" in repository:
        raise UsageError(f"{repository!r} is not a repository on the hub.", hint="Write owner/name.")
