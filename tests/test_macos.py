"""What only a Mac has: Core ML itself, beside the vectors that PyTorch computed for the golden bundle."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from mobileclip_kit.bundle import open_bundle
from mobileclip_kit.images import load_pixels
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.runtime.coreml import CoreMLEncoder
from tests.golden.make_golden import GOLDEN

pytestmark = [pytest.mark.macos, pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS only")]

# float16 on any compute unit.
LEAST_COSINE = 0.999


def test_core_mls_vectors_are_those_of_pytorch():
    encoder = CoreMLEncoder(open_bundle(GOLDEN / "bundle").as_export())
    parity = json.loads((GOLDEN / "parity" / "parity.json").read_text())
    spec = encoder.spec.require_image()
    pixels = np.stack([load_pixels(GOLDEN / "parity" / image["file"], spec) for image in parity["images"]])
    found = {
        "images": encoder.encode_images(pixels),
        "texts": encoder.encode_texts([text["text"] for text in parity["texts"]]),
    }
    for kind, vectors in found.items():
        expected = np.array([entry["vector"] for entry in parity[kind]], np.float32)
        assert row_cosines(vectors, expected).min() > LEAST_COSINE, kind
