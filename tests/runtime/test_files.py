"""Vectors of files, decoded ahead of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import ImageError
from mobileclip_kit.images import decode_ahead, load_pixels
from mobileclip_kit.runtime.files import encode_files
from tests.indexing.fakes import ColourEncoder, draw


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [draw(tmp_path / f"{number}.png", (number * 20, 90, 200)) for number in range(10)]
    found[3].write_bytes(b"broken")
    return found


def test_rows_come_in_order_and_damaged_files_have_none(files: list[Path]) -> None:
    encoder, failed = ColourEncoder(), []
    vectors = encode_files(encoder, files, failed=failed, batch_size=4)
    whole = [file for file in files if file != files[3]]
    np.testing.assert_array_equal(vectors, encoder.encode_images(whole))
    assert [(skip.item, "not an image" in skip.reason) for skip in failed] == [(str(files[3]), True)]


def test_a_damaged_file_is_an_error_where_nobody_lists_it(files: list[Path]) -> None:
    with pytest.raises(ImageError, match=r"3\.png"):
        encode_files(ColourEncoder(), files)


def test_several_versions_of_an_image_stay_together(files: list[Path]) -> None:
    encoder = ColourEncoder()
    spec = encoder.spec.require_image()

    def both(number: int) -> np.ndarray:
        pixels = load_pixels(files[number], spec)
        return np.stack([pixels, 255 - pixels])

    vectors = encode_files(encoder, files, failed=[], load=both, batch_size=3)
    assert vectors.shape == (9, 2, 6)
    np.testing.assert_array_equal(vectors[8, 1], encoder.encode_images(both(9)[1:])[0])


def test_nothing_to_encode_gives_no_rows(files: list[Path]) -> None:
    assert encode_files(ColourEncoder(), []).shape == (0, 6)
    assert encode_files(ColourEncoder(), files[3:4], failed=[]).shape == (0, 6)


def test_only_a_few_batches_are_decoded_ahead() -> None:
    taken: list[int] = []

    def batches() -> object:
        for number in range(10):
            taken.append(number)
            yield [number]

    decoded = decode_ahead(lambda number: number * number, batches(), ahead=2, threads=1)
    assert next(decoded) == ([0], [0])
    assert taken == [0, 1, 2]
    assert [results for _, results in decoded] == [[number * number] for number in range(1, 10)]
