"""The quickstart's bundle: packed from a real model, opened by the Swift package."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mobileclip_kit.bundle import FILE_NAMES, open_bundle
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.networks.model import load_model
from mobileclip_kit.quickstart import stages
from mobileclip_kit.quickstart.run import TEACHER, QuickstartPlan, QuickstartRun
from mobileclip_kit.resources import models_folder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.search.queries import encode_queries
from mobileclip_kit.textness.vector import Textness, shift
from mobileclip_kit.tokenizer import Tokenizer
from tests.swift import ask_swift, needs_swift

TEXTS = ("a red star", "two blue fish", "the word boat", "Ein gr\u00fcner Baum &amp; ein Haus", "")
IMAGES = 24
SCALES = (0.0, -0.4, 0.4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> QuickstartRun:
    """A run that has come as far as its bundle, with the bundled teacher in the student's place."""
    run = QuickstartRun(tmp_path_factory.mktemp("quickstart"), models_folder() / TEACHER, QuickstartPlan())
    model = load_model(run.teacher)
    export_model(model, run.export(stages.BUNDLED), ExportOptions(format="coreml", precision="fp16"))
    run.scenes("test").mkdir(parents=True)
    write_scenes(run.scenes("test"), SceneSet(items=IMAGES, seed=5, size=64, split="test"))
    update_index(run.scenes("test"), open_encoder(run.teacher), run.index, IndexOptions(workers=1))
    spec = model.spec
    direction = np.eye(spec.embedding_dim, dtype=np.float32)[7]
    Textness(model=spec.name, model_hash=spec.model_hash, directions={"probe": direction}).save(run.textness)
    return run


def test_the_bundle_holds_every_part_and_is_whole(run):
    figures = stages.pack_bundle(run)
    bundle = open_bundle(run.bundle, check=True)
    assert set(bundle.files) == set(FILE_NAMES) - {"image_ai", "text_ai", "background"}
    assert figures["size_bytes"] == bundle.size_bytes == sum(figures["files"].values())
    assert len(PhoneIndex(run.bundle / FILE_NAMES["index"])) == IMAGES
    # An interrupted run packs it once more.
    assert stages.pack_bundle(run) == figures


@needs_swift
def test_swift_opens_verifies_tokenises_and_searches_it(run, tmp_path):
    stages.pack_bundle(run)
    spec = open_bundle(run.bundle).spec
    vectors = np.concatenate([encode_queries(open_encoder(run.teacher), [text]) for text in TEXTS if text])
    queries = [{"vector": vector.tolist(), "textness": scale} for vector in vectors for scale in SCALES]
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps({"texts": TEXTS, "queries": queries, "limit": IMAGES}))
    seen = ask_swift("bundle", run.bundle, questions)
    assert seen["name"] == spec.name
    assert seen["parts"] == sorted(open_bundle(run.bundle).files)
    index = PhoneIndex(run.bundle / FILE_NAMES["index"], model_hash=spec.model_hash)
    assert seen["items"] == list(index.keys())
    tokenizer = Tokenizer.for_spec(spec.require_text(), run.bundle / FILE_NAMES["merges"])
    assert seen["tokens"] == [tokenizer(text)[0].tolist() for text in TEXTS]
    names = {row: key for key, row in index.keys().items()}
    direction = Textness.load(run.textness).vector
    for query, hits in zip(queries, seen["hits"], strict=True):
        moved = shift(np.array([query["vector"]], np.float32), direction, query["textness"])[0]
        expected = index.search(moved, IMAGES)
        assert [hit["item"] for hit in hits] == [names[row] for row, _ in expected]
        np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in expected], atol=1e-4)


def test_the_phones_scores_are_the_indexs_own(run):
    """int8 on the phone against float32 vectors: what storing costs."""
    stages.pack_bundle(run)
    index = PhoneIndex(run.bundle / FILE_NAMES["index"])
    encoder = open_encoder(run.teacher)
    [query] = encode_queries(encoder, ["a red star"])
    names = {row: key for key, row in index.keys().items()}
    with IndexReader(run.index) as whole:
        exact = {
            item.name: float(whole.matrix[item.row] @ query) for item in whole.store.items() if item.row is not None
        }
    for row, score in index.search(query, IMAGES):
        assert abs(score - exact[names[row]]) < 5e-3
