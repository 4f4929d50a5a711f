"""Fixtures of the page's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mobileclip_kit.web.app import build_app
from tests.web.serving import make_index, make_photos, open_service, write_textness


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Path:
    return make_index(tmp_path / "colours.index", photos)


@pytest.fixture
def client(tmp_path: Path, index: Path) -> Iterator[TestClient]:
    service = open_service(index, tmp_path / "cache", textness=write_textness(tmp_path / "textness.json"))
    with TestClient(build_app(service), base_url="http://127.0.0.1:8765") as client:
        yield client
