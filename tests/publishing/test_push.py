"""``mckit push`` and ``hf-hub:owner/name``, against a stand-in for the hub."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mobileclip_kit as mckit
from mobileclip_kit import hub as client
from mobileclip_kit.bundle import open_bundle
from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import DataError, ExportError, ModelError, UsageError
from mobileclip_kit.exporting.folder import Export, open_export
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.publishing.card import CARD_FILE, render_card
from mobileclip_kit.publishing.contents import read_contents
from mobileclip_kit.publishing.push import LIST_FILE, PushRequest, push
from mobileclip_kit.resources import models_folder
from mobileclip_kit.spec import read_spec
from tests.publishing.hub import Hub, serve_hub

REPOSITORY = "me/tiny"
GOLDEN = Path(__file__).parents[1] / "golden"
FIRST = GOLDEN / "first-version"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serve_hub() as serving:
        monkeypatch.setenv("HF_ENDPOINT", serving.url)
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        monkeypatch.setattr("mobileclip_kit.hub.cache_folder", lambda: tmp_path / "cache")
        client._download.cache_clear()
        yield serving
    client._download.cache_clear()


@pytest.fixture(scope="module")
def onnx_export() -> Export:
    return open_export(FIRST / "onnx-fp32")


def sent(path: Path, **options: object) -> None:
    push(PushRequest(path=path, repository=REPOSITORY, **options))  # type: ignore[arg-type]


def test_an_export_comes_back_as_it_was(hub: Hub, onnx_export: Export) -> None:
    sent(onnx_export.path, message="First")
    assert hub.messages == ["First"]
    names = {path.name for path in onnx_export.path.iterdir()}
    assert set(hub.repositories[REPOSITORY]) == names | {CARD_FILE}
    texts = ["a photo of a dog", "a red house by the lake"]
    encoder = mckit.load(f"hf-hub:{REPOSITORY}")
    assert encoder.model_path == f"hf-hub:{REPOSITORY}"  # an index remembers the address
    assert np.array_equal(encoder.encode_texts(texts), mckit.load(onnx_export.path).encode_texts(texts))
    copy = open_export(Path(f"hf-hub:{REPOSITORY}"), check_hashes=True)
    assert replace(copy, path=onnx_export.path) == onnx_export
    assert inspect_path(Path(f"hf-hub:{REPOSITORY}")).kind == "export"


def test_a_model_and_a_bundle_come_back_as_they_were(hub: Hub, onnx_export: Export) -> None:
    sent(FIRST / "model")
    push(PushRequest(path=FIRST / "bundle", repository="me/bundle"))
    texts = ["two cats on a table"]
    wanted = mckit.load(onnx_export.path).encode_texts(texts)
    model = mckit.load(f"hf-hub:{REPOSITORY}")
    assert (model.runtime, model.spec.model_hash) == ("torch", onnx_export.spec.model_hash)
    assert np.allclose(model.encode_texts(texts), wanted, atol=1e-4)
    assert np.allclose(mckit.load("hf-hub:me/bundle").encode_texts(texts), wanted, atol=1e-2)
    assert open_bundle(Path("hf-hub:me/bundle"), check=True).spec == open_bundle(FIRST / "bundle").spec
    assert "ModelBundle(contentsOf: folder" in hub.repositories["me/bundle"][CARD_FILE].decode()


def test_a_dry_run_writes_the_card_and_the_list_of_files(
    hub: Hub, onnx_export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["push", str(onnx_export.path), REPOSITORY, "--dry-run", str(tmp_path / "card"),
              "--report", str(FIRST / "bench-images.json"),
              "--data", "Four drawn images, CC0.", "--json"])  # fmt: skip
    assert left.value.code == 0 and hub.asked == []
    card = (tmp_path / "card" / CARD_FILE).read_text()
    listed = json.loads((tmp_path / "card" / LIST_FILE).read_text())
    assert json.loads(capsys.readouterr().out)["files"] == listed["files"]
    assert {file["file"] for file in listed["files"]} == {path.name for path in onnx_export.path.iterdir()}
    _, metadata, text = card.split("---\n", 2)
    assert "library_name: mckit" in metadata and "license: mit" in metadata and '- "onnx"' in metadata
    assert onnx_export.spec.model_hash in text and "Four drawn images, CC0." in text
    (row,) = [row for row in onnx_export.rows() if row["tower"] == "image"]
    assert f"| image | onnxruntime | {row['inputs']} |" in text and "latency, p50 in ms" in text
    assert f'mckit.load("hf-hub:{REPOSITORY}")' in text


def test_what_cannot_be_uploaded_is_said_in_one_sentence(hub: Hub, onnx_export: Export, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither a model folder, nor an export, nor a bundle"):
        sent(tmp_path)
    with pytest.raises(UsageError, match="is not a repository"):
        push(PushRequest(path=onnx_export.path, repository="../up"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in onnx_export.path.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    with (damaged / "image.onnx").open("r+b") as stream:
        stream.write(b"x")
    with pytest.raises(ExportError, match="was changed"):
        sent(damaged)
    assert hub.repositories == {}
    hub.readonly = True
    with pytest.raises(ModelError, match="does not let you write to me/tiny") as refused:
        sent(onnx_export.path)
    assert "hf auth login" in str(refused.value.hint)


def refusing() -> str:
    """An address that refuses connections; the library would try it again and again for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("endpoint", ["http://nowhere.invalid", None])
def test_without_a_network_the_copy_is_used_and_else_it_is_said(
    hub: Hub, onnx_export: Export, monkeypatch: pytest.MonkeyPatch, endpoint: str | None
) -> None:
    sent(onnx_export.path)
    mckit.load(f"hf-hub:{REPOSITORY}")
    client._download.cache_clear()
    monkeypatch.setenv("HF_ENDPOINT", endpoint or refusing())
    assert mckit.load(f"hf-hub:{REPOSITORY}").runtime == "onnxruntime"
    unreachable = r"hf-hub:me/other is not on this machine, and the hub cannot be reached: no network\."
    for read in (mckit.load, lambda place: inspect_path(Path(place)), lambda place: open_export(Path(place))):
        with pytest.raises(ModelError, match=unreachable):
            read("hf-hub:me/other")
    with pytest.raises(ModelError, match=r"was not uploaded to me/tiny: no network\."):
        sent(onnx_export.path)
    # A copy that open_clip downloaded is left to it.
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: f"/cache/{file}")
    assert client.local_place("hf-hub:me/other") == "hf-hub:me/other"


def test_an_address_of_a_family_that_the_system_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = server.getsockname()
        found = [(family, socket.SOCK_STREAM, 6, "", here) for family in (9999, socket.AF_INET)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert client._answers(f"http://hub.test:{here[1]}")


@pytest.mark.parametrize("url", ["https://hub:port", "http://[hub", "http://" + 70 * "a"])
def test_a_hub_that_is_no_address_does_not_answer(url: str) -> None:
    """Whoever then asks the hub gets the reason in a sentence."""
    assert not client._answers(url)


def test_an_unknown_repository_is_said(hub: Hub) -> None:
    with pytest.raises(ModelError, match="There is no repository me/nothing on the hub"):
        mckit.load("hf-hub:me/nothing")


def test_names_of_images_are_not_uploaded_or_it_is_said(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIRST / "model", tmp_path / "model")
    (tmp_path / "model" / "training.json").write_text('{"holdout": ["passport.jpg"], "skipped": []}')
    sent(tmp_path / "model")
    assert not any(b"passport" in content for content in hub.repositories[REPOSITORY].values())
    with pytest.raises(SystemExit):
        main(["push", str(FIRST / "bundle"), REPOSITORY, "--dry-run", str(tmp_path / "card")])
    assert "names and vectors of your images" in capsys.readouterr().err


def card_of(**changes: object) -> str:
    """The card of the first version's model with another origin."""
    contents = read_contents(FIRST / "onnx-fp32")
    spec = replace(contents.spec, **changes)  # type: ignore[arg-type]
    return render_card(replace(contents, spec=spec), REPOSITORY, licence=None, data=None, report=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provenance": {"teacher": "ViT-B-32:openai"}}, ["teacher's weights: MIT (github.com/openai/CLIP)"]),
        (
            {"provenance": {"teacher": "mine"}},
            ["teacher's weights: not stated: look at", "Licence of the weights: not stated"],
        ),
        ({"provenance": {"source": "ViT-B-16:metaclip_400m"}}, ["license: cc-by-nc-4.0", "weights: CC BY-NC 4.0"]),
        (
            {"provenance": {"teacher": "t", "data": "synthetic scenes"}},
            ["Training images: images drawn by `mckit scenes`"],
        ),
        (
            {"model_hash": read_spec(models_folder() / "scenes-teacher").model_hash, "provenance": {}},
            ["license: mit", "drawn by"],
        ),
    ],
)
def test_the_card_knows_licences_of_known_weights_only(changes: dict[str, object], words: list[str]) -> None:
    card = card_of(**changes)
    assert all(word in card for word in words)


def test_a_report_of_another_model_is_refused(onnx_export: Export, tmp_path: Path) -> None:
    document = json.loads((FIRST / "bench-images.json").read_text())
    report, options = tmp_path / "report.json", {"repository": REPOSITORY, "report": tmp_path / "report.json"}
    for row, model_hash in zip(document["rows"], ("0" * 64, onnx_export.spec.model_hash), strict=True):
        row["model_hash"] = model_hash
    report.write_text(json.dumps(document))
    card = push(PushRequest(path=onnx_export.path, dry_run=tmp_path / "own", **options)).card
    assert "**onnx-fp32**" in card and "**model**" not in card
    document["rows"] = document["rows"][:1]
    report.write_text(json.dumps(document))
    with pytest.raises(DataError, match="has no figures of"):
        push(PushRequest(path=onnx_export.path, dry_run=tmp_path / "other", **options))


@pytest.mark.parametrize(
    ("name", "extras"),
    [("model", "hub,train"), ("onnx-fp32", "hub"), ("coreml-fp16", "hub,export"), ("bundle", "hub,export")],
)
def test_the_card_names_what_its_lines_need(name: str, extras: str, tmp_path: Path) -> None:
    card = push(PushRequest(path=FIRST / name, repository=REPOSITORY, dry_run=tmp_path / "card")).card
    assert f'`pip install -e ".[{extras}]"`' in card


def test_the_cards_swift_names_what_the_package_has(tmp_path: Path) -> None:
    card = push(PushRequest(path=FIRST / "bundle", repository=REPOSITORY, dry_run=tmp_path / "card")).card
    (code,) = re.findall(r"```swift\n(.*?)```", card, re.DOTALL)
    core = Path(__file__).parents[2] / "ios_demo/MobileCLIPKit/Sources/MobileCLIPCore"
    declared = "\n".join(path.read_text() for path in core.glob("*.swift"))
    for name in re.findall(r"try (\w+)\(", code):
        assert f"public struct {name}:" in declared


def test_a_folder_for_another_program_names_the_program_that_uploads_it(tmp_path: Path) -> None:
    (tmp_path / "layout.json").write_text("{}")
    with pytest.raises(DataError, match="laid out for another program") as refused:
        sent(tmp_path)
    assert "hf upload" in str(refused.value.hint)
