from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.bench.report import write_report
from mobileclip_kit.bench.results import BenchReport
from mobileclip_kit.errors import ImageError
from mobileclip_kit.reports.html import Bar, Thumbnail, data_uri, environment, thumbnail, write_page
from tests.bench.fakes import draw_images
from tests.bench.rows import measured, report

parts: Any = environment().get_template("parts.html").module
EVIL = "<script>alert('\"&')</script>"


class Outline(HTMLParser):
    """Checks that tags are closed in order, and collects what is there."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def everything(tmp_path: Path) -> str:
    (path,) = draw_images(tmp_path / "images", 1)
    inside = [
        parts.paragraph(EVIL),
        parts.bullets([EVIL]),
        parts.code(EVIL),
        parts.facts({EVIL: EVIL}),
        parts.pairs({EVIL: EVIL}),
        parts.table([EVIL, "n"], [[EVIL, "1"]], caption=EVIL),
        parts.bars([Bar(EVIL, (1, 2), EVIL)], legend=[EVIL]),
        parts.figure(path, alt=EVIL, caption=EVIL),
        parts.thumbnails(EVIL, [Thumbnail(path, EVIL, right=True)]),
    ]
    return page(title=EVIL, lead=EVIL, section=EVIL, inside=inside)


def page(**context: Any) -> str:
    """A page of one section."""
    template = (
        '{% extends "base.html" %}{% import "parts.html" as parts %}{% block main %}'
        "{% call parts.section(section) %}{% for one in inside %}{{ one }}{% endfor %}{% endcall %}{% endblock %}"
    )
    return environment().from_string(template).render({"lead": "", "section": "", "inside": [], **context})


def test_texts_are_escaped_everywhere(tmp_path: Path) -> None:
    outline = Outline(everything(tmp_path))
    assert "script" not in outline.tags
    assert outline.text.count(EVIL) == 20


def test_a_page_asks_for_nothing_from_anywhere(tmp_path: Path) -> None:
    text = everything(tmp_path)
    addresses = Outline(text).addresses
    assert len(addresses) == 2 and all(address.startswith("data:image/") for address in addresses)
    assert not re.search(r"https?://|@import|url\(", text)


def test_a_page_is_read_on_phones_and_in_the_dark() -> None:
    text = page(title="title")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text and "@media (max-width" in text


def test_an_image_travels_byte_for_byte(tmp_path: Path) -> None:
    (path,) = draw_images(tmp_path, 1)
    head, _, body = data_uri(path).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == path.read_bytes()
    with pytest.raises(ValueError, match="PNG, JPEG and GIF"):
        data_uri(b"<svg/>")


@pytest.mark.parametrize(("right", "said"), [(True, "right"), (False, "wrong"), (None, "")])
def test_whether_an_image_is_right_is_not_in_its_colour_alone(tmp_path: Path, right: bool | None, said: str) -> None:
    (path,) = draw_images(tmp_path, 1)
    assert f'alt="{said}">' in parts.thumbnails("a red star", [Thumbnail(path, "0.5", right)])


def test_a_sheet_stays_legible_where_there_is_little_room(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 50)).save(tmp_path / "sheet.png")
    assert "min-width:550px" in parts.figure(tmp_path / "sheet.png", alt="", kind="sheet")
    assert "min-width" not in parts.figure(tmp_path / "sheet.png", alt="")


def test_thumbnails_are_small_and_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (300, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "small.jpg").write_bytes(thumbnail(tmp_path / "turned.jpg", 90))
    with Image.open(tmp_path / "small.jpg") as image:
        assert image.format == "JPEG" and image.size == (30, 90)
    with pytest.raises(ImageError):
        thumbnail(b"no image")


def test_columns_of_figures_stand_to_the_right() -> None:
    text = parts.table(["model", "ms", "share"], [["a", "1.5", "95 %"], ["b", "–", "1,234"]])
    assert text.count('class="number') == 6
    assert '<td data-column="ms" class="number empty">–</td>' in text
    assert '<td data-column="ms" class="number">1.5</td>' in text


def test_the_longest_bar_takes_the_room() -> None:
    text = parts.bars([Bar("a", (1.0, 3.0), "4 ms"), Bar("b", (1.0,), "1 ms")], legend=("x", "y"))
    assert re.findall(r'class="bar" style="width:([\d.]+)%"', text) == ["100.00", "25.00"]
    assert re.findall(r'class="part-\d" style="width:([\d.]+)%"', text) == ["25.00", "75.00", "100.00"]


def test_what_is_empty_leaves_no_trace() -> None:
    inside = [parts.bullets([]), parts.facts({}), parts.pairs({}), parts.bars([]), parts.bars([Bar("a", (0.0,), "")])]
    assert "".join(inside).strip() == ""
    assert "<section>" not in page(title="t", section="title", inside=inside)


def test_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "base.html", title="caf\udce9", lead="")
    assert "caf\\udce9" in (tmp_path / "page.html").read_text(encoding="utf-8")


def bench_report(**more: Any) -> BenchReport:
    text_latency = {"p50": 2.0, "p95": 3.0}
    rows = [
        measured("a", metrics={"map_at_10_to_20": 0.4}, text_latency_ms=text_latency, import_ms=900.0),
        measured("b <odd>", latency_ms=None, failure="It is damaged."),
    ]
    machine = {"cpu": "A", "usable_cores": 2, "os": "L", "memory_bytes": 8_000_000_000, "versions": {"numpy": "2.3"}}
    inputs = [{"images": 3, "teacher": "t", "skipped": [{"item": "x.jpg", "reason": "Empty."}]}]
    return report(*rows, **{"machine": machine, "inputs": inputs, **more})


def test_the_bench_page_shows_what_the_report_holds(tmp_path: Path) -> None:
    images = [Thumbnail(path, "0.5") for path in draw_images(tmp_path / "images", 2)]
    write_report(bench_report(), tmp_path, [("a red car", images)])
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    for words in ("MAP@10…20", "0.400", "b <odd> failed: It is damaged.", "5.0 + 2.0 ms", "a red car", "x.jpg: Empty."):
        assert words in outline.text
    assert "8 GB" in outline.text and "numpy 2.3" in outline.text
    assert len(outline.addresses) == 3


def test_explanations_stand_in_the_page_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "explain").mkdir()
    (path,) = draw_images(tmp_path / "explain", 1)
    left = [{"item": "grad_cam.png", "reason": "No text tower."}]
    told = {"model": "a", "grad_cam": None, "tsne": f"explain/{path.name}", "examples": [], "skipped": left}
    write_report(bench_report(explain=told), tmp_path)
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "How a arranges the images" in outline.text and "Where a looks" not in outline.text
    assert "grad_cam.png: No text tower." in outline.text
    assert len(outline.addresses) == 2  # the plot is there as well


def test_a_busy_machine_is_said_above_the_figures(tmp_path: Path) -> None:
    machine = {"cpu": "A", "usable_cores": 2, "os": "L", "load": 4.0}
    write_report(bench_report(machine=machine), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.index("The machine was busy (load 4") < text.index("<h2>Models")
    assert text.count("The machine was busy") == 1


def test_the_page_names_the_models_that_its_plot_leaves_out(tmp_path: Path) -> None:
    """An image tower alone has no precision@1 for words, so it has no height in the plot."""
    write_report(report(measured("both", metrics={"scenes_precision_at_1": 0.9}), measured("image tower")), tmp_path)
    assert "so not drawn: image tower." in (tmp_path / "report.html").read_text(encoding="utf-8")
