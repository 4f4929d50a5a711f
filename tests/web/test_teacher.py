"""The whole way with a real model: drawn pictures, the bundled teacher's vectors, words from the page."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from mobileclip_kit.data.scenes.folder import PICTURES_FOLDER, World, write_world
from mobileclip_kit.data.scenes.queries import reading_queries
from mobileclip_kit.data.scenes.truth import TRUTH_FILE, read_truth
from mobileclip_kit.indexing import update_index
from mobileclip_kit.resources import models_folder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.server import open_service


def test_words_find_drawn_words(tmp_path: Path) -> None:
    """The teacher reads; it was trained on that, and on nothing that this picture set shows."""
    world, teacher = tmp_path / "world", str(models_folder() / "scenes-teacher")
    world.mkdir()
    write_world(world, World(items=40, seed=3, size=64, split="gallery"), workers=1)
    update_index(world / PICTURES_FOLDER, open_encoder(teacher, threads=1), tmp_path / "index", model=teacher)
    queries = reading_queries(read_truth(world / TRUTH_FILE))
    service = open_service(tmp_path / "index", threads=1, thumbnails=tmp_path / "cache")
    with TestClient(build_app(service), base_url="http://localhost") as client:
        right = 0
        for query in queries:
            first = client.post("/api/search", json={"words": query.text, "count": 1}).json()["hits"][0]
            right += Path(first["name"]).name in {Path(image).name for image in query.right}
        library = client.get("/api/library").json()
    assert right >= 0.8 * len(queries) > 4
    assert library["words"]["reason"] is library["handed_in"]["reason"] is None
    assert "mckit textness fit" in library["textness"]["reason"]
