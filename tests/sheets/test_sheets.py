"""Hits as images: the sheet, the page, and the protocols of terminals, read back as a terminal reads them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cli.entry import main
from mobileclip_kit.cli.sheets import _caption
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.search.hits import Hit
from mobileclip_kit.sheets.drawing import GAP_PX, TILE_PX, SheetRow, draw_sheet
from mobileclip_kit.sheets.page import render_page
from mobileclip_kit.sheets.terminal import Protocol, encode_image, find_protocol
from tests.indexing.fakes import ColourEncoder, draw_many


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 20), (200, 10, 10)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_a_sheet_has_a_tile_for_each_hit_and_grey_for_missing_ones(red: Path) -> None:
    sheet = draw_sheet([SheetRow("red", [red, None, red.with_name("gone.png")], ["1", "2", "3"])])
    middles = [sheet.getpixel((GAP_PX + column * (TILE_PX + GAP_PX) + TILE_PX // 2, 100)) for column in range(3)]
    assert middles == [(200, 10, 10), (220, 220, 220), (220, 220, 220)]


def test_more_than_ten_hits_take_another_line_and_a_thousand_are_refused(red: Path) -> None:
    one = draw_sheet([SheetRow("red", [red] * 10, ["x"] * 10)])
    two = draw_sheet([SheetRow("red", [red] * 11, ["x"] * 11)])
    assert (two.width, two.height > one.height + TILE_PX) == (one.width, True)
    with pytest.raises(DataError, match="1001 images is too large"):
        draw_sheet([SheetRow("red", [red] * 1001, ["x"] * 1001)])


def test_a_page_escapes_names_and_holds_its_images(red: Path) -> None:
    page = render_page([SheetRow("<b>", [red], ['"a" <i>']), SheetRow("none", [], [])])
    assert "<b>" not in page and "<i>" not in page and "no images" in page
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (240, 240)


def drawn() -> Image.Image:
    """17 × 13 pixels of six colours: no multiple of a sixel's height."""
    numbers = np.add.outer(np.arange(13), np.arange(17)) // 5
    return Image.fromarray((np.stack([numbers, numbers % 2, numbers % 3], axis=2) * 40).astype(np.uint8))


def read_sixel(text: str) -> np.ndarray:
    """The pixels of a sixel image, in percent of each primary, as a terminal paints them."""
    found = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\\n', text, re.DOTALL)
    assert found is not None
    width, height = int(found[1]), int(found[2])
    pixels = np.full((height + 5, width, 3), -1)
    palette, colour, left, top = {}, 0, 0, 0
    for number, red, green, blue, count, mark in re.findall(
        r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|(?:!(\d+))?([?-~$-])", found[3]
    ):
        if red:
            palette[int(number)] = (int(red), int(green), int(blue))
        elif number:
            colour = int(number)
        elif mark in "$-":
            left, top = 0, top + (6 if mark == "-" else 0)
        else:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if (ord(mark) - 63) >> bit & 1:
                        pixels[top + bit, left] = palette[colour]
                left += 1
    assert (pixels[height:] == -1).all() and (pixels[:height] >= 0).all()
    return pixels[:height]


def test_a_sixel_image_paints_every_pixel_once_in_its_colour() -> None:
    wanted = np.asarray(drawn()) / 2.55
    assert np.abs(read_sixel(encode_image(drawn(), "sixel")) - wanted).max() <= 1.0  # palettes are of whole percents


def test_kitty_and_iterm_carry_the_image_as_png() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8).astype(np.uint8))
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", encode_image(noise, "kitty"))
    assert [keys for keys, _ in chunks] == ["a=T,f=100,m=1", *["m=1"] * (len(chunks) - 2), "m=0"]
    assert len(chunks) > 2 and all(len(data) <= 4096 for _, data in chunks)
    (inline,) = re.findall(r"\x1b\]1337;File=inline=1;size=\d+:(.*)\x07", encode_image(noise, "iterm"))
    for data in ("".join(data for _, data in chunks), inline):
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert np.array_equal(np.asarray(image), np.asarray(noise))


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot-extra"}, "sixel"),
        ({"TERM": "xterm-kitty", "MCKIT_TERMINAL": "sixel"}, "sixel"),
    ],
)
def test_the_protocol_follows_from_the_terminal(environment: dict[str, str], protocol: Protocol) -> None:
    assert find_protocol(environment) == protocol


def test_an_unknown_terminal_is_told_what_else_there_is() -> None:
    with pytest.raises(UsageError, match="does not say that it can show images") as refused:
        find_protocol({"TERM": "xterm-256color"})
    assert "--sheet FILE" in str(refused.value.hint)
    with pytest.raises(UsageError, match="must be one of kitty, iterm, sixel"):
        find_protocol({"MCKIT_TERMINAL": "fax"})


@pytest.fixture
def index(tmp_path: Path) -> Path:
    draw_many(tmp_path / "photos", 3)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "photos.index", IndexOptions())
    np.save(tmp_path / "query.npy", ColourEncoder().encode_images([tmp_path / "photos" / "0000.png"]))
    return tmp_path / "photos.index"


def search(index: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["search", str(index), "--query-vectors", str(index.with_name("query.npy")), *arguments])
    return int(left.value.code or 0)


def test_a_caption_has_one_line() -> None:
    assert _caption(Hit(rank=1, item="x/a\nb.jpg", score=0.5)) == "0.500  a\\nb.jpg"


def test_a_search_draws_its_hits(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, page = index.with_name("hits.png"), index.with_name("hits.html")
    monkeypatch.setenv("MCKIT_TERMINAL", "kitty")
    assert search(index, "-k", "2", "--sheet", str(sheet), "--html", str(page), "--show") == 0
    assert "\x1b_Ga=T" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.width == GAP_PX + 2 * (TILE_PX + GAP_PX)
    assert page.read_text().count("<figure>") == 2
    # Nothing is replaced, and nothing is searched for in vain.
    assert search(index, "--sheet", str(sheet)) == 1 and "exists already" in capsys.readouterr().err
    assert search(index, "--sheet", str(index.with_name("hits.gif"))) == 2
    assert search(index, "--show", "--json") == 2
