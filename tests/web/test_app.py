"""The server's responses: hits, filters, images, and errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from mobileclip_kit.confidence.background import BACKGROUND_FILE
from mobileclip_kit.confidence.scorer import default_line
from mobileclip_kit.errors import ImageError
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, open_writer
from mobileclip_kit.indexing.importing import import_vectors
from mobileclip_kit.search.hits import certain_hits, search
from mobileclip_kit.search.index import Index
from mobileclip_kit.search.queries import encode_queries
from mobileclip_kit.web import app as app_module
from mobileclip_kit.web import service
from mobileclip_kit.web.app import MAX_IMAGE_BYTES, build_app
from mobileclip_kit.web.library import Library
from tests.confidence.words import WordEncoder, make_word_index
from tests.indexing.fakes import ColourEncoder, draw
from tests.web.serving import ODD_NAMES, make_dated, make_index, open_service, save_turned


def ask(client: TestClient, **request):
    answer = client.post("/api/search", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(client: TestClient, **request) -> list[str]:
    return [hit["name"] for hit in ask(client, **request)["hits"]]


def id_of(client: TestClient, name: str) -> str:
    return next(hit["id"] for hit in ask(client)["hits"] if hit["name"] == name)


def refusal(client: TestClient, **request) -> tuple[int, str]:
    answer = client.post("/api/search", json=request)
    return answer.status_code, answer.json()["error"]["message"]


def png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 30), colour).save(stream, "PNG")
    return stream.getvalue()


def test_words_find_what_the_command_line_finds(client: TestClient, index: Path) -> None:
    for query in ("red", "red -green", "blue +green:0.5"):
        with IndexReader(index) as opened:
            expected = search(opened, encode_queries(ColourEncoder(), [query]), 10)[0]
        hits = ask(client, words=query)["hits"]
        assert [hit["name"] for hit in hits] == [hit.item for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-4)


def test_without_a_query_the_newest_come_first(client: TestClient) -> None:
    answer = ask(client)
    assert [hit["name"] for hit in answer["hits"]] == [
        "blue.png", "trips/moss.png", "green.png", "trips/brick.png", "trips/north/ruby.png", "red.png",
    ]  # fmt: skip
    assert (answer["total"], answer["ranked"], answer["hits"][0]["score"]) == (6, False, None)


def test_pages_join_to_the_whole_answer(client: TestClient) -> None:
    whole = names(client, words="green")
    parts = [name for start in (0, 2, 4, 6) for name in names(client, words="green", start=start, count=2)]
    assert parts == whole


def test_a_huge_library_is_ranked_further_down_when_somebody_goes_there(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = names(client, words="green")
    monkeypatch.setattr("mobileclip_kit.web.ranking._RANK_ALL_UP_TO", 2)
    monkeypatch.setattr("mobileclip_kit.web.ranking._FIRST_HITS", 2)
    first = ask(client, words="green ", textness=1e-9, count=2)
    assert (first["total"], [hit["name"] for hit in first["hits"]]) == (6, whole[:2])
    assert names(client, words="green ", textness=1e-9, start=2, count=9) == whole[2:]


def test_filters_by_folder_and_day(client: TestClient) -> None:
    assert set(names(client, folder="trips")) == {"trips/north/ruby.png", "trips/brick.png", "trips/moss.png"}
    assert names(client, folder="trips/north", words="blue") == ["trips/north/ruby.png"]
    days = client.get("/api/library").json()["days"]
    assert names(client, taken=f"{days[1]}..") == ["blue.png"]
    assert names(client, taken=f"..{days[0]}") == names(client, taken=days[0]) == ["red.png"]
    answer = ask(client, folder="trips/north", taken=f"..{days[0]}")
    assert (answer["hits"], answer["total"]) == ([], 0)


def test_days_beyond_what_a_store_can_hold_are_days(client: TestClient) -> None:
    """Nanoseconds in 64 bits reach from 1677 to 2262."""
    assert len(names(client, taken="1500..9000")) == 6
    assert names(client, taken="9000..") == names(client, taken="..1500") == []


def test_the_library_counts_its_folders(client: TestClient) -> None:
    library = client.get("/api/library").json()
    assert library["folders"] == [{"path": "trips", "images": 3}, {"path": "trips/north", "images": 1}]
    assert (library["images"], library["failures"], library["name"]) == (6, 0, "colours.index")


def test_textness_turns_the_order_both_ways(client: TestClient) -> None:
    assert "red" in names(client, words="green", textness=2)[0] + names(client, words="green", textness=2)[1]
    towards, away = names(client, textness=1), names(client, textness=-1)
    assert towards == away[::-1], "without words, the textness vector alone is looked for"
    assert names(client, words="green", textness=0) == names(client, words="green")


def test_textness_without_a_vector_is_refused_with_a_reason(tmp_path: Path, index: Path) -> None:
    with TestClient(build_app(open_service(index, tmp_path / "cache")), base_url="http://localhost") as client:
        assert "mckit textness fit" in client.get("/api/library").json()["textness"]["unavailable"]
        assert refusal(client, words="red", textness=1)[0] == 400


def test_more_like_this_leaves_the_image_itself_out(client: TestClient) -> None:
    red = id_of(client, "red.png")
    answer = ask(client, like=[red])
    assert answer["total"] == 5
    assert [hit["name"] for hit in answer["hits"]][:2] == ["trips/north/ruby.png", "trips/brick.png"]
    assert names(client, like=[red], words="blue +blue +blue")[0] == "blue.png"


def test_an_uploaded_image_finds_similar_ones(client: TestClient) -> None:
    answer = client.post("/api/images", content=png((25, 45, 225)), headers={"Content-Type": "image/png"})
    token = answer.json()["token"]
    assert names(client, images=[token])[0] == "blue.png"
    assert refusal(client, images=["0" * 32]) == (404, "The uploaded image is no longer kept.")


def test_an_upload_must_be_an_image_of_limited_size(client: TestClient) -> None:
    def upload(data: bytes, kind: str = "image/png", **headers: str):
        return client.post("/api/images", content=data, headers={"Content-Type": kind, **headers})

    refused = upload(b"no image")
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("The uploaded file is not an image")
    assert upload(b"").status_code == 422
    assert upload(png((1, 2, 3))[:-30]).status_code == 422
    assert upload(png((1, 2, 3)), "text/plain").status_code == 415
    assert upload(b"x" * 10, **{"Content-Length": str(MAX_IMAGE_BYTES + 1)}).status_code == 413


def test_an_uploaded_eps_file_starts_no_program(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would hand it to Ghostscript."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "Popen", lambda command, *_, **__: started.append(command))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "EPS")
    answer = client.post("/api/images", content=stream.getvalue(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("The uploaded file is not an image")
    assert started == []


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_from_its_header(client: TestClient) -> None:
    answer = client.post("/api/images", content=png_header(20_000, 20_000), headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    assert "20000×20000" in answer.json()["error"]["message"]


def test_an_upload_of_one_endless_column_is_refused_from_its_header(client: TestClient) -> None:
    """Pillow allocates memory for every row: 68 bytes took 3.3 GB."""
    for width, height in ((1, 199_999_999), (20_001, 1), (7_100, 7_100)):
        answer = client.post("/api/images", content=png_header(width, height), headers={"Content-Type": "image/png"})
        assert answer.status_code == 422
        assert f"{width}×{height} pixels; the limit is" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("states_its_size", "at_once"), [(False, 2), (True, 8)])
def test_so_many_uploads_are_read_at_once_as_their_stated_sizes_allow(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, states_its_size: bool, at_once: int
) -> None:
    reading, most, count = 0, 0, 0
    read = app_module._read

    async def counted(request, limit):
        nonlocal reading, most, count
        reading, count = reading + 1, count + 1
        most = max(most, reading)
        await asyncio.sleep(0.02 if at_once == 2 else 0.5)
        try:
            return await read(request, limit)
        finally:
            reading -= 1

    monkeypatch.setattr(app_module, "_read", counted)
    headers, data = {"Content-Type": "image/png"}, png((9, 9, 9))

    def post(_: int) -> int:
        return client.post(
            "/api/images", content=data if states_its_size else iter([data]), headers=headers
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(post, range(8))) == {200}
    assert count == 8
    assert most == 2 if at_once == 2 else most > 2


def test_a_body_that_is_not_sent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive():
        await asyncio.sleep(10)

    monkeypatch.setattr(app_module, "_PART_S", 0.01)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(HTTPException) as refused:
        asyncio.run(app_module._read(Request(scope, receive), 100))
    assert refused.value.status_code == 408


@pytest.mark.parametrize(
    "request_body",
    [
        {"words": 7},
        {"like": "12"},
        {"like": [f"{number}-00000000" for number in range(9)]},
        {"textness": "much"},
        {"textness": 2.5},
        {"textness": 10**400},
        {"words": f"red -blue:{'9' * 400}"},
        {"taken": "0000-01-01"},
        {"taken": "yesterday"},
        {"taken": "2025..2024"},
        {"near": "91,0,1"},
        {"near": "48,2,inf"},
        {"start": -1},
        {"count": "all"},
        {"quantity": 3},
        {"folder": None},
        {"words": "x" * 10_001},
        {"words": " ".join(f"-word{number}" for number in range(33))},
        {"words": "red -red"},
        {"words": "+a:0"},
    ],
)
def test_impossible_requests_are_refused_in_words(client: TestClient, request_body) -> None:
    status, message = refusal(client, **request_body)
    assert status == 400
    assert message.endswith(".")


def test_a_query_of_ten_thousand_characters_is_answered(client: TestClient) -> None:
    assert len(names(client, words="red " * 2500)) == 6
    half_a_character = b'{"words": "\\ud800 \\u0000 cat"}'
    answer = client.post("/api/search", content=half_a_character, headers={"Content-Type": "application/json"})
    assert answer.json()["total"] == 6


def test_bodies_that_are_not_search_requests_are_refused(client: TestClient) -> None:
    json_type = {"Content-Type": "application/json"}
    assert client.post("/api/search", content=b"{", headers=json_type).status_code == 400
    assert client.post("/api/search", content=b"[1]", headers=json_type).status_code == 400
    assert client.post("/api/search", content=b"[" * 100_000, headers=json_type).status_code == 400
    assert client.post("/api/search", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post("/api/search", content=b" " * 300_000, headers=json_type).status_code == 413


def test_thumbnails_are_upright_small_and_asked_for_once(tmp_path: Path, photos: Path) -> None:
    save_turned(photos / "turned.jpg")
    service = open_service(make_index(tmp_path / "index", photos), tmp_path / "cache")
    with TestClient(build_app(service), base_url="http://localhost") as client:
        address = f"/thumbnails/{id_of(client, 'turned.jpg')}"
        answer = client.get(address)
        assert answer.headers["content-type"] == "image/webp"
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (240, 480)
        top, bottom = np.asarray(image.convert("RGB"))[[40, 440], 120].astype(int)
        assert top[0] > 200 > 60 > top[2] and bottom[2] > 200 > 60 > bottom[0]
        again = client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_images_come_as_they_are_or_in_a_format_that_browsers_know(tmp_path: Path, photos: Path) -> None:
    Image.new("RGB", (50, 40), (9, 9, 200)).save(photos / "scan.tif")
    service = open_service(make_index(tmp_path / "index", photos), tmp_path / "cache")
    with TestClient(build_app(service), base_url="http://localhost") as client:
        answer = client.get(f"/images/{id_of(client, 'red.png')}")
        assert (answer.content, answer.headers["content-type"]) == ((photos / "red.png").read_bytes(), "image/png")
        assert client.get(answer.url.path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        answer = client.get(f"/images/{id_of(client, 'scan.tif')}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == (50, 40)


@pytest.mark.parametrize("way", ["thumbnails", "images"])
def test_a_vanished_image_is_gone_in_words(client: TestClient, photos: Path, way: str) -> None:
    address = f"/{way}/{id_of(client, 'red.png')}"
    (photos / "red.png").unlink()
    answer = client.get(address)
    assert answer.status_code == 410
    assert "red.png is no longer where it was" in answer.json()["error"]["message"]
    assert names(client, words="red")[0] == "red.png", "the index is as it was"


def test_an_image_that_vanishes_while_it_is_asked_for_is_gone(
    client: TestClient, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the answer began, and could not be read when its turn came."""

    def late(path: Path) -> bytes:
        path.unlink()
        raise ImageError("red.png cannot be read")

    monkeypatch.setattr(service, "make_thumbnail", late)
    answer = client.get(f"/thumbnails/{id_of(client, 'red.png')}")
    assert (answer.status_code, "is no longer where" in answer.json()["error"]["message"]) == (410, True)


@pytest.mark.parametrize("way", ["thumbnails", "images"])
def test_an_image_that_is_none_any_more_is_refused(client: TestClient, photos: Path, way: str) -> None:
    address = f"/{way}/{id_of(client, 'red.png')}"
    (photos / "red.png").write_text("<script>alert(1)</script>")
    answer = client.get(address)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("red.png is not an image")
    (photos / "red.png").unlink()
    os.mkfifo(photos / "red.png")
    assert client.get(address).status_code == 410, "a pipe is not waited for"


def test_dates_of_every_year_are_counted_found_and_described(tmp_path: Path) -> None:
    app = build_app(open_service(make_dated(tmp_path), tmp_path / "cache"))
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        months = client.get("/api/library").json()["months"]
        assert months == {"0001-01": 1, "1677-09": 1, "1969-12": 1, "2262-04": 1}
        found = [names(client, taken=month) for month in months]
        assert found == [["camera.png"], ["oldest.png"], ["before.png"], ["newest.png"]]
        for hit in ask(client)["hits"]:
            facts = client.get(f"/api/images/{hit['id']}").json()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["modified"])


@pytest.mark.parametrize("address", ["9999-00000000", "0-00000000", "0", "..%2Fred.png", "red.png", "-1-00000000"])
@pytest.mark.parametrize("way", ["thumbnails", "images", "api/images"])
def test_only_ids_of_the_index_lead_to_images(client: TestClient, way: str, address: str) -> None:
    assert client.get(f"/{way}/{address}").status_code == 404


def test_names_that_lead_out_of_the_folder_are_not_shown(tmp_path: Path, photos: Path) -> None:
    draw(tmp_path / "secret.png", (1, 2, 3))
    np.save(tmp_path / "vectors.npy", np.eye(2, 6, dtype=np.float32))
    (tmp_path / "names.txt").write_text("../secret.png\nred.png\n")
    import_vectors(tmp_path / "vectors.npy", tmp_path / "names.txt", tmp_path / "index", images=photos)
    with TestClient(
        build_app(open_service(tmp_path / "index", tmp_path / "cache")), base_url="http://localhost"
    ) as client:
        answer = client.get(f"/images/{id_of(client, '../secret.png')}")
        assert answer.status_code == 404
        assert "outside the indexed folder" in answer.json()["error"]["message"]
        assert client.get(f"/images/{id_of(client, 'red.png')}").status_code == 200


def test_links_that_lead_out_of_the_folder_are_not_followed(client: TestClient, tmp_path: Path, photos: Path) -> None:
    """Also links that were made after the folder was indexed."""
    red, green = (id_of(client, name) for name in ("red.png", "green.png"))
    draw(tmp_path / "secret.png", (1, 2, 3))
    (photos / "red.png").unlink()
    (photos / "red.png").symlink_to(tmp_path / "secret.png")
    (photos / "green.png").unlink()
    (photos / "green.png").symlink_to("blue.png")
    for way in ("images", "thumbnails"):
        answer = client.get(f"/{way}/{red}")
        assert (answer.status_code, "outside the indexed folder" in answer.json()["error"]["message"]) == (404, True)
        assert client.get(f"/{way}/{green}").status_code == 200


def test_a_file_that_only_begins_like_an_image_is_not_sent(client: TestClient, photos: Path) -> None:
    address = f"/images/{id_of(client, 'red.png')}"
    for start in (b"GIF8", b"\xff\xd8\xff"):
        (photos / "red.png").write_bytes(start + b"<script>alert(1)</script>")
        assert client.get(address).status_code == 422


def test_an_image_that_is_a_script_as_well_is_sent_as_an_image(client: TestClient, photos: Path) -> None:
    """A GIF with a script in its comment and a page behind its end."""
    stream = io.BytesIO()
    Image.new("P", (8, 8)).save(stream, "GIF", comment=b"*/=1;alert(1);//")
    (photos / "red.png").write_bytes(stream.getvalue() + b"<script>alert(1)</script>")
    answer = client.get(f"/images/{id_of(client, 'red.png')}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/gif")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_odd_names_are_shown_safely_and_lead_to_their_images(tmp_path: Path, photos: Path) -> None:
    for name in ODD_NAMES:
        draw(photos / name, (5, 5, 5))
    service = open_service(make_index(tmp_path / "index", photos), tmp_path / "cache")
    with TestClient(build_app(service), base_url="http://localhost") as client:
        shown = {hit["name"]: hit["id"] for hit in ask(client)["hits"]}
        assert {"line\\nbreak.png", "quo\"te's.png", "🐈‍⬛ 猫.png", "turned\\u202egnp.exe.png"} <= shown.keys()
        assert "\\udcff\\udcfe.png" in shown
        for address in shown.values():
            assert client.get(f"/thumbnails/{address}").status_code == 200
            assert client.get(f"/images/{address}").status_code == 200
            assert client.get(f"/api/images/{address}").status_code == 200


def test_an_empty_library_answers(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    create_index(tmp_path / "index", IndexHeader(spec=ColourEncoder().spec))
    service = open_service(make_index(tmp_path / "index", tmp_path / "none"), tmp_path / "cache")
    with TestClient(build_app(service), base_url="http://localhost") as client:
        assert ask(client)["total"] == ask(client, words="red")["total"] == 0
        assert client.get("/api/library").json()["days"] is None


def test_an_index_that_grows_while_it_is_served_is_opened_again(
    tmp_path: Path, photos: Path, index: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.web.library._CHECK_EVERY_S", 0.0)
    monkeypatch.setattr("mobileclip_kit.web.library._CHECK_FACTOR", 0)
    library_before = client.get("/api/library").json()
    draw(photos / "new.png", (10, 10, 250))
    make_index(index, photos)
    # What the client opened at the start may be kept for a second.
    client.app.state.service.library._next_check = 0.0
    assert "new.png" in names(client, words="blue")
    library = client.get("/api/library").json()
    assert library["images"] == library_before["images"] + 1
    assert library["generation"] == library_before["generation"] + 1


def test_an_index_that_breaks_while_it_is_served_goes_on_as_it_was(
    client: TestClient, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.web.library._CHECK_EVERY_S", 0.0)
    (index / "index.json").write_text("{")
    client.app.state.service.library._next_check = 0.0
    assert names(client, words="red")[0] == "red.png"
    assert "cannot be opened again" in client.get("/api/library").json()["notices"][0]


def test_a_damaged_item_of_a_large_index_is_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not compared when the index is opened, and filters would pass over it."""
    monkeypatch.setattr("mobileclip_kit.index.folder._CHECKED_AT_ONCE_BYTES", 0)
    with contextlib.closing(sqlite3.connect(index / "items.sqlite")) as connection, connection:
        connection.execute("UPDATE items SET mtime_ns = mtime_ns + 4 WHERE row = 1")
    library = Library(index)
    for thread in threading.enumerate():
        if thread.name == "check":
            thread.join()
    assert library.damage is not None and "items.sqlite is damaged: the entry of" in library.damage
    library.close()


def test_an_id_of_an_index_that_was_built_anew_leads_nowhere(tmp_path: Path, photos: Path, index: Path) -> None:
    with TestClient(build_app(open_service(index, tmp_path / "cache")), base_url="http://localhost") as client:
        kept = id_of(client, "blue.png")
    shutil.rmtree(index)
    draw(photos / "a first one.png", (1, 1, 1))
    library = Library(make_index(index, photos))
    assert library.find(kept) is None
    library.close()


def test_vectors_without_images_and_model_can_be_looked_through(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(3, 6, dtype=np.float32))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    import_vectors(tmp_path / "vectors.npy", tmp_path / "names.txt", tmp_path / "index")
    from mobileclip_kit.web.request import ServeRequest
    from mobileclip_kit.web.server import open_service as open_real

    service = open_real(ServeRequest(index_folder=tmp_path / "index", thumbnails=tmp_path / "cache"))
    with TestClient(build_app(service), base_url="http://localhost") as client:
        status, message = refusal(client, words="red")
        assert (status, "which model" in message) == (409, True)
        library = client.get("/api/library").json()
        assert "--model" in library["word_search"]["unavailable"] and "--images" in library["files"]["unavailable"]
        assert sorted(names(client, like=[id_of(client, "a")])) == ["b", "c"]
        assert client.get(f"/thumbnails/{id_of(client, 'a')}").status_code == 404


def test_hits_have_a_confidence_and_say_where_they_become_uncertain(tmp_path: Path) -> None:
    service = open_service(make_word_index(tmp_path / "index"), tmp_path / "cache", encoder=WordEncoder())
    with TestClient(build_app(service), base_url="http://127.0.0.1:8765") as client:
        dogs = client.post("/api/search", json={"words": "a dog", "count": 120}).json()
        assert dogs["certain"] == 40
        assert [hit["confidence"] is None for hit in dogs["hits"]] == [False] * 100 + [True] * 20
        assert client.post("/api/search", json={"words": "a banana"}).json()["certain"] == 0
        like = client.post("/api/search", json={"like": [dogs["hits"][0]["id"]]}).json()
        assert (like["certain"], like["hits"][0]["confidence"]) == (None, None)
        told = client.get("/api/library").json()["confidence"]
        assert told["unavailable"] is None and 0 < told["line"] < 1


def test_the_page_finds_as_many_likely_images_as_a_search(tmp_path: Path) -> None:
    index = make_word_index(tmp_path / "index")
    service = open_service(index, tmp_path / "cache", encoder=WordEncoder())
    with TestClient(build_app(service), base_url="http://localhost") as client, Index(index, WordEncoder()) as opened:
        for query in ("a dog", "dog -cat", "horse -white:2", "a banana -dog", "-dog"):
            page, hits = ask(client, words=query, count=100), opened.search(query, k=100)
            assert [hit["name"] for hit in page["hits"]] == [hit.item for hit in hits]
            assert [hit["confidence"] for hit in page["hits"]] == [
                None if hit.confidence is None else pytest.approx(hit.confidence, abs=1e-3) for hit in hits
            ]
            assert page["likely"] in (None, len(certain_hits(hits, default_line())))


def test_equal_scores_are_in_the_order_of_their_names(tmp_path: Path, photos: Path) -> None:
    twins = [draw(photos / f"{name}.png", (40, 220, 40)) for name in "cab"]
    index = make_index(tmp_path / "twins.index", photos)
    draw(photos / "aa.png", (40, 220, 40))  # in the last row
    make_index(index, photos)
    with TestClient(build_app(open_service(index, tmp_path / "cache")), base_url="http://localhost") as client:
        found = names(client, words="green")
    first = found.index("a.png")
    assert found[first : first + 4] == ["a.png", "aa.png", *sorted(path.name for path in twins)[1:]]


def test_a_background_that_comes_after_the_images_is_noticed(tmp_path: Path) -> None:
    index = make_word_index(tmp_path / "animals.index")
    (index / BACKGROUND_FILE).rename(tmp_path / "later")  # `mckit index` makes it when all images are committed
    service = open_service(index, tmp_path / "thumbnails", encoder=WordEncoder())
    with TestClient(build_app(service), base_url="http://localhost") as client:
        assert "no background" in client.get("/api/library").json()["confidence"]["unavailable"]
        (tmp_path / "later").rename(index / BACKGROUND_FILE)
        service.library._next_check = 0
        assert client.get("/api/library").json()["confidence"]["unavailable"] is None
        assert ask(client, words="a dog")["certain"] is not None


def test_tags_are_counted_filter_hits_and_stand_with_an_image(tmp_path: Path) -> None:
    index = make_word_index(tmp_path / "index")
    service = open_service(index, tmp_path / "cache", encoder=WordEncoder())
    with TestClient(build_app(service), base_url="http://127.0.0.1:8765") as client:
        assert client.get("/api/library").json()["tags"] == []
        assert refusal(client, tag="dog") == (404, f"The index {index} has no tags.")
        with Index(index, WordEncoder()) as opened:
            counts = opened.tag(["dog", "cat", "castle"]).labels
        service.library._next_check = 0.0  # the server looks once a second
        assert client.get("/api/library").json()["tags"] == [
            {"label": label, "images": counts[label]} for label in ("dog", "cat")
        ]
        found = ask(client, words="a horse", tag="cat", count=500)
        assert found["candidates"] == counts["cat"]
        assert {hit["name"].split("/")[0] for hit in found["hits"]} == {"cat"}
        assert client.get(f"/api/images/{found['hits'][0]['id']}").json()["tags"] == ["cat"]
        assert refusal(client, tag="wolf")[0] == 404
        with open_writer(index) as writer:
            writer.store.remove([found["hits"][0]["name"]])
            writer.commit()
        service.library._next_check = 0.0
        assert client.get("/api/library").json()["tags"][1] == {"label": "cat", "images": counts["cat"] - 1}


def test_hundreds_of_likely_images_are_all_likely(tmp_path: Path) -> None:
    index = make_word_index(tmp_path / "animals.index", 900)
    service = open_service(index, tmp_path / "thumbnails", encoder=WordEncoder())
    with TestClient(build_app(service), base_url="http://localhost") as client:
        found = ask(client, words="a dog", count=500)
    assert found["certain"] == sum(hit["name"].startswith("dog/") for hit in found["hits"]) == 150
    assert found["hits"][149]["confidence"] > 0.5 > found["hits"][150]["confidence"]


def test_copies_of_an_image_that_is_gone_are_not_those_of_another(client: TestClient) -> None:
    row = ask(client)["hits"][0]["id"].split("-")[0]
    for gone in (f"{row}-00000000", "nothing"):  # from before a rebuild
        assert refusal(client, copies_of=gone) == (404, "The image to search by is no longer in the index.")


def test_a_small_library_says_why_its_hits_have_no_confidence(client: TestClient) -> None:
    assert "too few" in client.get("/api/library").json()["confidence"]["unavailable"]
    assert client.post("/api/search", json={"words": "red"}).json()["certain"] is None
