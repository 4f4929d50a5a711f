"""The upload of a model, an export or a bundle to the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mobileclip_kit.errors import DataError, ModelError
from mobileclip_kit.files import atomic_folder, check_can_write, sha256_of_file, write_json
from mobileclip_kit.hub import check_repository, hub_api, hub_reason, quiet_hub
from mobileclip_kit.options import Option
from mobileclip_kit.publishing.card import CARD_FILE, render_card
from mobileclip_kit.publishing.contents import Contents, read_contents

if TYPE_CHECKING:
    from mobileclip_kit.bench.results import BenchReport

LIST_FILE = "push.json"


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What ``mckit push`` uploads, and where."""

    path: Annotated[Path, Option("A model folder, an export or a bundle.", names=("path",))]
    repository: Annotated[str, Option("Its place on the hub.", names=("repository",), metavar="OWNER/NAME")]
    report: Annotated[Path | None, Option("A report of mckit bench: its figures go into the card.")] = None
    licence: Annotated[
        str | None, Option("Licence of the weights [default: what the model carries, or what is known of it].")
    ] = None
    data: Annotated[str | None, Option("A sentence on the training images and their licence.", metavar="TEXT")] = None
    private: Annotated[bool, Option("Make a new repository private.")] = False
    message: Annotated[str, Option("The commit's message.")] = "Upload by mckit"
    dry_run: Annotated[
        Path | None, Option("Upload nothing; write the card and the list of files into this folder.", metavar="DIR")
    ] = None
    force: Annotated[bool, Option("Replace the folder of --dry-run.")] = False


@dataclass(frozen=True)
class Pushed:
    """What was uploaded, or would be.

    Attributes:
        repository: ``owner/name``.
        kind: ``model``, ``export`` or ``bundle``.
        files: Name, size and SHA-256 of each file but the card.
        card: The text of the card.
        url: Of the repository; None for a dry run.
    """

    repository: str
    kind: str
    files: list[dict[str, Any]]
    card: str
    url: str | None


def push(request: PushRequest) -> Pushed:
    """Check a folder, write its card, and upload both in one commit.

    Raises:
        DataError: The folder cannot be published, or the report is none.
        ExportError: A file of the folder is missing or was changed.
        MissingExtraError: huggingface_hub is not installed.
        ModelError: The hub refused the upload, or cannot be reached; nothing was changed there.
        OutputError: The folder of a dry run exists.
        UsageError: The repository is no ``owner/name``.
    """
    check_repository(request.repository)
    if request.dry_run is not None:
        check_can_write(request.dry_run, force=request.force, kinds=(LIST_FILE,))
    contents = read_contents(request.path)
    report = None if request.report is None else _own_figures(request.report, contents)
    card = render_card(contents, request.repository, licence=request.licence, data=request.data, report=report)
    files = [
        {"file": file.as_posix(), "size_bytes": (contents.path / file).stat().st_size,
         "sha256": sha256_of_file(contents.path / file)}
        for file in contents.files
    ]  # fmt: skip
    if request.dry_run is None:
        url = _upload(request, contents, card)
        return Pushed(request.repository, contents.kind, files, card, url)
    with atomic_folder(request.dry_run, force=request.force, kinds=(LIST_FILE,)) as staging:
        (staging / CARD_FILE).write_text(card, encoding="utf-8")
        write_json(staging / LIST_FILE, {"repository": request.repository, "kind": contents.kind, "files": files})
    return Pushed(request.repository, contents.kind, files, card, None)


def _own_figures(path: Path, contents: Contents) -> BenchReport:
    """A report without published rows and those of other models. A row that names no model counts as this one's."""
    from mobileclip_kit.bench.results import read_report

    report = read_report(path)
    own = (None, contents.spec.model_hash)
    rows = tuple(row for row in report.rows if row.model_hash in own and row.source != "published")
    if report.rows and not rows:
        raise DataError(
            f"{path} has no figures of {contents.path}: they are of other models.",
            hint=f"Measure it: `mckit bench {contents.path} -o report`.",
        )
    return replace(report, rows=rows)


def _upload(request: PushRequest, contents: Contents, card: str) -> str:
    api = hub_api()
    import huggingface_hub

    added = [huggingface_hub.CommitOperationAdd(file.as_posix(), str(contents.path / file)) for file in contents.files]
    added.append(huggingface_hub.CommitOperationAdd(CARD_FILE, card.encode("utf-8")))
    try:
        with quiet_hub():
            url = str(api.create_repo(request.repository, private=request.private or None, exist_ok=True))
            api.create_commit(request.repository, added, commit_message=request.message)
    except Exception as error:  # the client passes on whatever its HTTP library raises
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise ModelError(
                f"The hub does not let you write to {request.repository}.",
                hint="Log in with `hf auth login`, or set HF_TOKEN to a token that may write.",
            ) from error
        raise ModelError(
            f"{request.path} was not uploaded to {request.repository}: {hub_reason(error)}",
            hint="Check the network, or look at the card with --dry-run DIR.",
        ) from error
    return url
