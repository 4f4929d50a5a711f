"""The golden files that Swift is tested with are still what Python says."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from pathlib import Path

import ftfy
import numpy as np
import PIL
import pytest
from PIL import Image

from mobileclip_kit.bundle import FILE_NAMES, open_bundle
from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.confidence.scorer import confidences, features
from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.search.queries import combine
from mobileclip_kit.spec import ImageSpec
from mobileclip_kit.textness.vector import shift
from mobileclip_kit.tokenizer import Tokenizer, read_merges
from tests.golden import make_golden
from tests.golden.confidences import HITS, INDEX_FILE
from tests.golden.make_golden import GOLDEN
from tests.golden.pixels import read_pixels

PACKAGE = Path(__file__).parent.parent / "ios_demo" / "MobileCLIPKit"


def test_tokens_are_pythons_own_but_for_repaired_encodings():
    document = json.loads((GOLDEN / "tokens.json").read_text())
    merges = read_merges(GOLDEN / "merges.txt")
    records = document["records"]
    assert len({record["text"] for record in records}) >= 2000
    tokenizers = {
        cleaning: Tokenizer(merges, cleaning=cleaning) for cleaning in ("lower", "canonicalize", "whitespace")
    }
    for record in records:
        ids = tokenizers[record["cleaning"]].encode(record["text"])
        assert ids == record.get("repaired_ids", record["ids"]), record["text"]
    for row in document["rows"]:
        assert Tokenizer(merges, context_length=row["context_length"])(row["text"])[0].tolist() == row["row"]


def test_only_wrongly_decoded_texts_are_read_otherwise_in_swift():
    records = json.loads((GOLDEN / "tokens.json").read_text())["records"]
    repaired = [record for record in records if "repaired_ids" in record]
    assert repaired
    assert all(record["class"] == "mojibake" for record in repaired)
    assert all(ftfy.fix_encoding(record["text"]) != record["text"] for record in repaired)


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="the texts are drawn from Unicode 14's characters")
def test_the_hard_texts_are_the_ones_that_the_script_draws():
    drawn = {text for _, text in make_golden.hard_texts()}
    assert drawn == {record["text"] for record in json.loads((GOLDEN / "tokens.json").read_text())["records"]}


def test_query_arithmetic_is_pythons_own():
    document = json.loads((GOLDEN / "queries.json").read_text())
    for entry in document["combined"]:
        result = combine(entry["weights"], np.array(entry["parts"], np.float32))
        np.testing.assert_allclose(result, entry["result"], atol=1e-6)
    direction = np.array(document["direction"], np.float32)
    for entry in document["shifted"]:
        moved = shift(np.array([entry["query"]], np.float32), direction, entry["scale"])[0]
        np.testing.assert_allclose(moved, entry["result"], atol=1e-6)
    assert [entry["terms"] for entry in document["parsed"]] == [
        make_golden._terms(query) for query in make_golden.QUERIES
    ]


def test_confidences_are_pythons_own():
    folder = GOLDEN / "confidence"
    document = json.loads((folder / "confidences.json").read_text())
    background, stored = Background.read(folder / BACKGROUND_FILE), PhoneIndex(folder / INDEX_FILE).vectors()
    for query in document["queries"]:
        vector, hits = np.array(query["vector"], np.float32), stored[query["rows"]]
        np.testing.assert_allclose(confidences(background, vector, hits), query["confidences"], atol=1e-4)
        np.testing.assert_allclose(features(background, vector, hits[:HITS]), query["features"], rtol=1e-3, atol=1e-3)
    assert confidences(background, np.array(document["far"], np.float32), stored[:3]) is None


def test_crop_rectangles_are_those_of_the_image_path():
    crops = json.loads((GOLDEN / "crops.json").read_text())["crops"]
    assert len({tuple(crop["size"]) for crop in crops}) >= 195
    for crop in crops:
        spec = make_golden.ImageSpec(height=crop["target"][0], width=crop["target"][1], resize_mode=crop["mode"])
        recorded = make_golden._record_crop(*crop["size"], spec)
        assert {key: crop[key] for key in recorded} == recorded


def test_golden_pixels_are_those_of_the_image_path():
    """To one level, because the order in which Pillow resizes the two directions depends on its version."""
    cases = list(read_pixels(GOLDEN))
    assert len(cases) >= 90
    same_order = int(PIL.__version__.split(".")[0]) >= 13
    for name, image, spec, expected in cases:
        found = load_pixels(image, spec).astype(int)
        assert same_order or "strip" in name or np.abs(found - expected).max() <= 1, name
        assert not same_order or np.array_equal(found, expected), name


def test_the_tagged_image_is_turned_and_keeps_its_samples():
    """Its profile says Display P3; a phone must not convert the samples."""
    expected = json.loads((GOLDEN / "parity" / "tagged.json").read_text())["rgb"]
    found = load_pixels(GOLDEN / "parity" / "tagged.png", ImageSpec(height=24, width=24))
    assert found.ravel().tolist() == expected
    with Image.open(GOLDEN / "parity" / "tagged.png") as image:
        assert b"Display P3" in image.info["icc_profile"]


def test_the_golden_bundle_is_whole():
    bundle = open_bundle(GOLDEN / "bundle", check=True)
    # It is older than the other parts.
    assert set(bundle.files) == set(FILE_NAMES) - {"background", "samples", "image_ai", "text_ai"}


def test_the_sample_of_the_bench_screen_is_described():
    """Swift reads and writes the sample; the page that describes its form shows the same keys in the same places."""
    page = (PACKAGE.parent.parent / "docs" / "phone-bench.md").read_text()
    shown = json.loads(page.split("```json")[1].split("```")[0])
    assert shape_of(shown) == shape_of(json.loads((GOLDEN / "phone-bench.json").read_text()))


def shape_of(document: object) -> object:
    """Keys and kinds; of a list, its first element's."""
    if isinstance(document, dict):
        return {key: shape_of(value) for key, value in document.items()}
    if isinstance(document, list):
        return [shape_of(document[0])]
    return type(document).__name__


def test_part_names_are_the_same_in_swift():
    source = (PACKAGE / "Sources" / "MobileCLIPCore" / "Manifest.swift").read_text()
    for part, name in FILE_NAMES.items():
        case = {"image_ai": "imageAI", "text_ai": "textAI"}.get(part, part)
        assert f'case .{case}: "{name}"' in source
        assert f'case {case} = "{part}"' in source or f" {part}" in source


def test_swifts_tables_are_pythons():
    """Later Pythons know characters that Swift's table need not; what the table has must agree."""
    spec = importlib.util.spec_from_file_location("make_tables", PACKAGE / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sources = module.sources()
    assert {path.name for path in module.GENERATED.iterdir()} == set(sources)
    for name, source in sources.items():
        now, then = (set(text.split()) for text in (source, (module.GENERATED / name).read_text(encoding="utf-8")))
        assert then <= now, name
