"""The picture of a grid has room for its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobileclip_kit.textness.grid import GridRow, draw_grid

INK = 60


def ink_left_of_tiles(sheet: Image.Image) -> tuple[Any, int]:
    """Columns with dark pixels where the first row's label stands, and where the tiles, which are red, begin."""
    pixels = np.asarray(sheet)[60:180].astype(int)
    tiles = np.flatnonzero((pixels[:, :, 0] > 200) & (pixels[:, :, 1] < 50)) % pixels.shape[1]
    return np.flatnonzero((pixels[:, : tiles.min()] < INK).all(axis=2).any(axis=0)), int(tiles.min())


def test_labels_and_title_are_not_cut(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "red.png")
    short, long = (draw_grid("a", [GridRow(label, [tmp_path / "red.png"])]) for label in ("-2", "student, 6 bits"))
    for sheet in (short, long):
        inked, tiles = ink_left_of_tiles(sheet)
        assert inked.size and inked.max() < tiles - 2
    assert long.width > short.width + 100
    titled = draw_grid("a long query about several things at once", [GridRow("0", [tmp_path / "red.png"])])
    columns = np.flatnonzero((np.asarray(titled)[:40] < INK).all(axis=2).any(axis=0))
    assert titled.width > short.width + 100 and columns.max() < titled.width - 2
