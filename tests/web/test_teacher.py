"""The search page with a real model: synthetic scenes, the bundled teacher's vectors, text queries."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.resources import models_folder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import IMAGES_FOLDER, SceneSet, write_scenes
from mobileclip_kit.scenes.queries import reading_queries
from mobileclip_kit.scenes.truth import TRUTH_FILE, read_truth
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.request import ServeRequest
from mobileclip_kit.web.server import open_service


def test_words_find_drawn_words(tmp_path: Path) -> None:
    """The teacher reads; it was trained on that, and on nothing that this image set shows."""
    scenes, teacher = tmp_path / "scenes", str(models_folder() / "scenes-teacher")
    scenes.mkdir()
    write_scenes(scenes, SceneSet(items=40, seed=3, size=64, split="gallery"), workers=1)
    update_index(scenes / IMAGES_FOLDER, open_encoder(teacher, threads=1), tmp_path / "index")
    queries = reading_queries(read_truth(scenes / TRUTH_FILE))
    service = open_service(ServeRequest(index_folder=tmp_path / "index", threads=1, thumbnails=tmp_path / "cache"))
    with TestClient(build_app(service), base_url="http://localhost") as client:
        right = 0
        for query in queries:
            first = client.post("/api/search", json={"words": query.text, "count": 1}).json()["hits"][0]
            right += Path(first["name"]).name in {Path(image).name for image in query.right}
        library = client.get("/api/library").json()
    assert right >= 0.8 * len(queries) > 4
    assert library["word_search"]["unavailable"] is library["image_search"]["unavailable"] is None
    assert "mckit textness fit" in library["textness"]["unavailable"]
