"""The page in a real browser: typing, sliding, clicking, dropping, keys, a narrow window, ten thousand images."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from mobileclip_kit.index.folder import IndexHeader, create_index
from mobileclip_kit.search.index import Index
from tests.confidence.words import WordEncoder, make_word_index
from tests.indexing.fakes import ColourEncoder, draw
from tests.photos import MODEL, PARIS, TAKEN, ZONE, save_photo
from tests.web.serving import (
    ODD_NAMES,
    make_dated,
    make_index,
    make_many,
    make_photos,
    open_service,
    running,
    write_textness,
)

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

MANY = 10_000
NEWEST_FIRST = ["blue.png", "moss.png", "green.png", "brick.png", "ruby.png", "red.png"]
OpenPage = Callable[..., "playwright.Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small library of colours, with a textness vector that points to red."""
    folder = tmp_path_factory.mktemp("page")
    index = make_index(folder / "colours.index", make_photos(folder / "photos"))
    with running(open_service(index, folder / "cache", textness=write_textness(folder / "textness.json"))) as url:
        yield url


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a library of ten thousand images."""
    folder = tmp_path_factory.mktemp("many")
    with running(open_service(make_many(folder, MANY), folder / "cache")) as url:
        yield url


@pytest.fixture
def open_page(browser: playwright.Browser) -> Iterator[OpenPage]:
    """Opens pages; a message on a page's console or an error in its scripts fails the test."""
    trouble: list[str] = []
    contexts = []

    def open_page(url: str, *, expected: str = "", **options: object) -> playwright.Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: trouble.append(str(error)))

        def on_console(message: playwright.ConsoleMessage) -> None:
            # A page may look for a server that has ended with its test.
            known = "ERR_CONNECTION_REFUSED" + (f"|{expected}" if expected else "")
            if message.type in ("error", "warning") and not re.search(known, message.text):
                trouble.append(message.text)

        page.on("console", on_console)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def tiles(page: playwright.Page) -> list[str]:
    """The images in their order, as a screen reader meets them."""
    return page.eval_on_selector_all(".tile img", "images => images.map(image => image.alt)")


def wait_for(page: playwright.Page, names: list[str]) -> None:
    """Wait until the first images are these."""
    page.wait_for_function(
        "names => names.every((name, at) => document.querySelectorAll('.tile img')[at]?.alt === name)", arg=names
    )


def until(page: playwright.Page, expression: str) -> None:
    """Wait until an expression is true; a function, since the page's policy forbids to evaluate strings."""
    page.wait_for_function(f"() => {expression}")


def slide(page: playwright.Page, position: int) -> None:
    page.eval_on_selector(
        "#scale", "(slider, to) => { slider.value = to; slider.dispatchEvent(new Event('input')) }", position
    )


def drop(page: playwright.Page, data: bytes, name: str = "mine.png", kind: str = "image/png") -> None:
    """Drop a file on the page, as a browser does."""
    page.evaluate(
        """([data, name, type]) => {
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, { type }));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )


def png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 30), colour).save(stream, "PNG")
    return stream.getvalue()


def test_images_fill_in_where_their_place_was_kept(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    before = page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.getBoundingClientRect().toJSON())")
    until(page, "document.querySelectorAll('.tile img.loaded').length === 6")
    after = page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.getBoundingClientRect().toJSON())")
    assert before == after
    assert page.inner_text("#summary") == "6 imagesnewest first"
    until(page, "document.getElementById('status').textContent === '6 images, newest first'")


def test_typing_searches_and_the_address_can_be_shared_and_stepped_through(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.keyboard.press("/")
    page.keyboard.type("red")
    wait_for(page, ["red.png", "ruby.png", "brick.png"])
    assert re.fullmatch(r"\d[\d.,]* ms", page.inner_text("#latency"))
    until(page, "location.hash === '#q=red'")
    assert page.title() == "red · colours.index"
    page.wait_for_timeout(1600)  # typing on at once would be the same step
    page.fill("#words", "blue")
    wait_for(page, ["blue.png"])
    shared = open_page(f"{library}?q=green")
    wait_for(shared, ["green.png"])
    assert shared.input_value("#words") == "green"
    assert shared.url == f"{library}#q=green"
    page.go_back()
    wait_for(page, ["red.png"])
    assert page.input_value("#words") == "red"
    page.go_back()
    wait_for(page, NEWEST_FIRST)
    page.go_forward()
    wait_for(page, ["red.png"])


def test_sliding_reranks_both_ways_and_keeps_every_thumbnail(open_page: OpenPage, library: str) -> None:
    page = open_page(f"{library}#q=green")
    wait_for(page, ["green.png"])
    until(page, "document.querySelectorAll('.tile img.loaded').length === 6")
    page.evaluate("document.querySelectorAll('.tile img').forEach((image) => (image.kept = true))")
    slide(page, 90)
    until(page, "document.querySelector('.tile img').alt.match(/red|ruby|brick/)")
    assert page.inner_text("#scale-reset") == "+1.62"
    assert page.get_attribute("#scale", "aria-valuetext") == "more, +1.62"
    assert page.evaluate("[...document.querySelectorAll('.tile img')].every((image) => image.kept)")
    slide(page, -90)
    until(page, "!document.querySelector('.tile img').alt.match(/red|ruby|brick/)")
    until(page, "location.hash.includes('textness=-1.62')")
    page.click("#scale-reset")
    wait_for(page, ["green.png"])
    page.focus("#scale")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#scale-reset") == "+0.20"
    until(page, "location.hash.includes('textness=0.2')")


def test_more_like_this_by_mouse_and_by_key(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.hover(".tile:nth-child(6)")
    page.click(".tile:nth-child(6) .like")
    wait_for(page, ["ruby.png", "brick.png"])
    assert len(tiles(page)) == 5
    assert page.locator("#chips .chip").count() == 1
    page.click("#chips button")
    wait_for(page, NEWEST_FIRST)
    page.focus("#words")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("m")
    until(page, "location.hash.startsWith('#like=')")
    until(page, "document.getElementById('summary').textContent.startsWith('5 images')")


def test_a_dropped_a_chosen_and_a_pasted_image_are_looked_for(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    drop(page, png((25, 190, 35)))
    until(page, "document.querySelector('#chips img')?.complete")
    until(page, "document.querySelector('.tile img').alt.match(/green|moss/)")
    page.set_input_files("#file", files=[{"name": "a.png", "mimeType": "image/png", "buffer": png((220, 25, 25))}])
    until(page, "document.querySelector('.tile img').alt.match(/red|ruby/)")
    page.evaluate(
        """(data) => {
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            const paste = { clipboardData, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new ClipboardEvent("paste", paste));
        }""",
        base64.b64encode(png((30, 40, 225))).decode(),
    )
    wait_for(page, ["blue.png"])
    page.fill("#words", "-blue +red:3")
    until(page, "document.querySelector('.tile img').alt.match(/red|ruby/)")
    page.focus("#words")
    page.fill("#words", "")
    page.keyboard.press("Backspace")
    wait_for(page, NEWEST_FIRST)


def test_a_dropped_file_that_is_no_image_is_told(open_page: OpenPage, library: str) -> None:
    page = open_page(library, expected="422")
    wait_for(page, NEWEST_FIRST)
    drop(page, b"not an image", "notes.txt", "text/plain")
    page.wait_for_selector(".toast")
    assert "not an image" in page.inner_text(".toast")
    assert page.is_hidden("#drop")
    assert tiles(page) == NEWEST_FIRST


def test_the_full_view_walks_closes_and_gives_the_focus_back(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.click(".tile:nth-child(2) a")
    page.wait_for_selector("#stage .full.loaded")
    until(page, "document.getElementById('viewer-facts').textContent.includes(' · trips · ')")
    assert page.inner_text("#viewer-name") == "moss.png"
    address = page.evaluate("location.href")
    page.keyboard.press("ArrowRight")
    until(page, "document.getElementById('viewer-name').textContent === 'green.png'")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('viewer-name').textContent === 'blue.png'")
    assert page.is_disabled("#viewer-previous")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    assert page.evaluate("document.activeElement.querySelector('img').alt") == "blue.png"
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open]")
    page.go_back()
    page.wait_for_selector("#viewer", state="hidden")
    linked = open_page(address)
    until(linked, "document.getElementById('viewer-name').textContent === 'moss.png'")
    linked.keyboard.press("Escape")
    linked.wait_for_selector("#viewer", state="hidden")
    until(linked, "!location.hash.includes('view')")


def test_arrow_keys_walk_the_grid_as_it_is_seen(open_page: OpenPage, library: str) -> None:
    page = open_page(library, viewport={"width": 660, "height": 700})
    wait_for(page, NEWEST_FIRST)
    page.focus("#words")
    page.keyboard.press("ArrowDown")

    def focused() -> str:
        return page.evaluate("document.activeElement.querySelector('img')?.alt ?? document.activeElement.id")

    walk = [focused()]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "Home", "End", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
        walk.append(focused())
    assert walk == ["blue.png", "moss.png", "ruby.png", "brick.png", "blue.png", "red.png", "green.png", "words"]
    style = page.evaluate(
        "document.querySelector('.tile a').focus() ?? getComputedStyle(document.querySelector('.tile a')).outlineStyle"
    )
    assert style == "solid"
    on_top = page.evaluate(
        """() => {
            const button = document.activeElement.parentNode.querySelector('.like');
            const box = button.getBoundingClientRect();
            return button.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
        }"""
    )
    assert on_top, "the image in focus covers its buttons and its score"


def test_filters_narrow_and_say_when_nothing_is_left(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.click("#filters")
    page.select_option("#folder", "trips")
    wait_for(page, ["moss.png", "brick.png", "ruby.png"])
    assert page.inner_text("#summary").startswith("3 images of 6")
    page.fill("#last-day", "2001-01-01")
    page.dispatch_event("#last-day", "change")
    page.wait_for_selector("#message >> text=No image passes these filters")
    assert tiles(page) == []
    page.click("#message button")
    wait_for(page, NEWEST_FIRST)
    assert page.is_disabled("#clear-filters")


def test_days_in_the_wrong_order_are_told_and_swapped(open_page: OpenPage, library: str) -> None:
    page = open_page(f"{library}#first_day=2030-01-01&last_day=2001-01-01", expected="400")
    page.wait_for_selector("#message >> text=The first day is after the last one")
    page.click("#message button")
    wait_for(page, NEWEST_FIRST)
    assert page.input_value("#first-day") == "2001-01-01"


def test_scores_show_on_request_and_stay_so(open_page: OpenPage, library: str) -> None:
    page = open_page(f"{library}#q=red")
    wait_for(page, ["red.png"])
    assert page.is_hidden(".tile .score >> nth=0")
    page.click("#scores")
    assert re.fullmatch(r"0\.\d{3}|1\.000", page.inner_text(".tile .score >> nth=0"))
    page.reload()
    wait_for(page, ["red.png"])
    assert page.is_visible(".tile .score >> nth=0")
    assert page.get_attribute("#scores", "aria-pressed") == "true"


def test_a_phone_shows_it_without_a_sideways_scroll(open_page: OpenPage, library: str) -> None:
    page = open_page(library, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    wait_for(page, NEWEST_FIRST)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.getBoundingClientRect().toJSON())")
    assert sum(box["top"] == boxes[0]["top"] for box in boxes) == 3
    outside = page.evaluate(
        """[...document.querySelectorAll('.bar button, .bar input:not([hidden])')].filter((one) => {
            const box = one.getBoundingClientRect();
            return box.width && (box.left < 0 || box.right > 390);
        }).length"""
    )
    assert outside == 0
    page.tap("#filters")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap(".tile:nth-child(1) a")
    page.wait_for_selector("#stage .full.loaded")
    page.evaluate("document.getElementById('viewer-name').textContent = 'a very long name '.repeat(20)")
    for selector in ("#viewer-open", "#viewer-close", "#viewer-next", "#stage .full"):
        box = page.locator(selector).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, selector


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, by WCAG 2."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_colour_schemes(open_page: OpenPage, library: str, scheme: str) -> None:
    page = open_page(library, color_scheme=scheme)
    wait_for(page, NEWEST_FIRST)
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper > 0.5) == (scheme == "light")
    for selector, least in (("#summary", 7), ("#summary small", 4.5), (".toggle", 4.5), ("#textness-name", 7)):
        ink = luminance(page.evaluate("(one) => getComputedStyle(document.querySelector(one)).color", selector))
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast >= least, f"{selector}: {contrast:.1f}"


def test_nothing_moves_for_those_who_asked_for_that(open_page: OpenPage, library: str) -> None:
    page = open_page(library, reduced_motion="reduce")
    wait_for(page, NEWEST_FIRST)
    assert (
        float(page.evaluate("parseFloat(getComputedStyle(document.querySelector('.tile')).transitionDuration)")) < 0.001
    )


def test_every_control_has_a_name(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.click("#filters")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input:not([hidden]), select, a, img')].filter((one) => !(
            one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.labels?.length ||
            one.textContent.trim() || one.alt || one.querySelector?.('img')?.alt || one.closest('[hidden]')
        )).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    first = page.locator(".tile").first
    assert (first.get_attribute("aria-posinset"), first.get_attribute("aria-setsize")) == ("1", "6")


def test_ten_thousand_images_are_one_long_page_of_few_elements(open_page: OpenPage, many: str) -> None:
    page = open_page(many)
    wait_for(page, ["09999.png", "09998.png"])
    assert page.inner_text("#summary").startswith("10,000 images")
    height = page.evaluate("document.documentElement.scrollHeight")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for share in (0.2, 0.9, 0.4, 0.7):
        page.evaluate("(top) => window.scrollTo(0, top)", share * height)
        page.wait_for_timeout(30)
        assert page.locator(".tile").count() < 120
    page.evaluate("(top) => window.scrollTo(0, top)", height)
    wait_for_last = "[...document.querySelectorAll('.tile img')].at(-1)?.alt === '00000.png'"
    until(page, wait_for_last)
    until(page, "[...document.querySelectorAll('.tile img')].every((image) => image.complete)")
    assert page.evaluate("document.documentElement.scrollHeight") == height, "nothing shifts"
    assert page.locator(".tile").count() < 120
    thumbnails = [url for url in asked if "/thumbnails/" in url]
    assert len(thumbnails) < 300, "what was flown past is not asked for"
    page.fill("#words", "red")
    until(page, "document.getElementById('summary').textContent.includes('best first')")
    assert page.evaluate("scrollY") == 0
    assert page.inner_text("#summary").startswith("10,000 images")
    page.focus("#words")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    until(page, "document.activeElement.closest('.tile')?.getAttribute('aria-posinset') === '10000'")


def test_going_back_finds_the_place_again(open_page: OpenPage, many: str) -> None:
    page = open_page(many)
    wait_for(page, ["09999.png"])
    page.evaluate("window.scrollTo(0, 20000)")
    page.wait_for_timeout(300)
    until(page, "document.querySelectorAll('.tile img').length > 10")
    seen = page.evaluate("scrollY")
    page.fill("#words", "blue")
    until(page, "document.getElementById('summary').textContent.includes('best first')")
    page.go_back()
    until(page, "document.getElementById('summary').textContent.includes('newest first')")
    page.wait_for_function("(top) => Math.abs(scrollY - top) < 2", arg=seen)


def test_a_vanished_image_keeps_its_place_in_words(
    open_page: OpenPage, tmp_path: Path, photos: Path, index: Path
) -> None:
    with running(open_service(index, tmp_path / "cache")) as url:
        # Before the page is opened: a browser may show a thumbnail from its cache for ten minutes.
        (photos / "blue.png").unlink()
        (photos / "red.png").unlink()
        page = open_page(f"{url}#q=red", expected="410")
        wait_for(page, ["red.png"])
        page.wait_for_selector(".tile.missing")
        assert "is no longer where it was" in page.inner_text(".tile.missing >> nth=0")
        page.click(".tile.missing a >> nth=0")
        page.wait_for_selector("#stage .missing-message")
        assert "mckit index" in page.inner_text("#stage")


def test_names_of_every_kind_are_shown_as_names(open_page: OpenPage, tmp_path: Path, photos: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        draw(photos / name, (255 - 20 * number, 5, 25 * number))  # copies would share a tile
    with running(open_service(make_index(tmp_path / "index", photos), tmp_path / "cache")) as url:
        page = open_page(url)
        until(page, "document.querySelectorAll('.tile img.loaded').length === 12")
        names = tiles(page)
        for name in ("<img src=x onerror=alert(1)>.png", "quo\"te's.png", "line\\nbreak.png", "🐈‍⬛ 猫.png"):
            assert name in names
        assert page.locator("img[src=x]").count() == 0
        page.fill("#words", "<img src=x onerror=alert(1)>")
        until(page, "document.title.startsWith('<img')")
        assert page.locator("img[src=x]").count() == 0


def test_the_policy_stops_scripts_that_somebody_put_into_the_page(open_page: OpenPage, library: str) -> None:
    page = open_page(library, expected="Content Security Policy")
    wait_for(page, NEWEST_FIRST)
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            const button = document.createElement("button");
            button.setAttribute("onclick", "window.ran = true");
            document.body.append(button);
            button.click();
            return window.ran === true;
        }"""
    )
    assert not ran


def test_an_empty_library_says_what_to_do_and_fills_by_itself(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    create_index(tmp_path / "index", IndexHeader(spec=ColourEncoder().spec))
    index = make_index(tmp_path / "index", tmp_path / "photos")
    with running(open_service(index, tmp_path / "cache")) as url:
        page = open_page(url)
        page.wait_for_selector("#message >> text=This library is empty")
        assert "mckit index" in page.inner_text("#message pre")
        draw(tmp_path / "photos" / "first.png", (9, 9, 9))
        make_index(index, tmp_path / "photos")
        time.sleep(1.1)
        page.reload()
        wait_for(page, ["first.png"])


def test_an_index_that_grows_is_told_and_shown_on_request(
    open_page: OpenPage, tmp_path: Path, photos: Path, index: Path
) -> None:
    with running(open_service(index, tmp_path / "cache")) as url:
        page = open_page(url)
        wait_for(page, NEWEST_FIRST)
        os.utime(draw(photos / "new.png", (9, 9, 200)), (1_800_000_000,) * 2)
        make_index(index, photos)
        time.sleep(1.1)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_selector(".toast >> text=The index was updated.")
        assert tiles(page) == NEWEST_FIRST, "nothing moves under the reader's hands"
        page.click(".toast >> text=Show")
        wait_for(page, ["new.png", *NEWEST_FIRST])


def test_a_server_that_went_away_is_told_and_found_again(open_page: OpenPage, tmp_path: Path, index: Path) -> None:
    with running(open_service(index, tmp_path / "cache")) as url:
        page = open_page(url, expected="Failed to load resource")
        wait_for(page, NEWEST_FIRST)
        page.context.set_offline(True)
        page.fill("#words", "red")
        page.wait_for_selector("#notice >> text=does not respond")
        assert len(tiles(page)) == 6, "what was found stays"
        page.context.set_offline(False)
        page.wait_for_selector("#notice", state="hidden")
        wait_for(page, ["red.png"])


def test_a_query_that_makes_no_sense_gets_a_sentence(open_page: OpenPage, library: str) -> None:
    page = open_page(f"{library}#q=red+-red", expected="400")
    page.wait_for_selector("#message[role=alert]")
    assert "cancel each other" in page.inner_text("#message")
    page.click("#message button")
    wait_for(page, NEWEST_FIRST)


def test_a_very_long_query_is_answered(open_page: OpenPage, library: str) -> None:
    page = open_page(library)
    wait_for(page, NEWEST_FIRST)
    page.fill("#words", ("a red thing " * 900)[:10_000])
    wait_for(page, ["red.png"])
    until(page, "location.hash.length > 9000")
    page.reload()
    wait_for(page, ["red.png"])


def test_without_a_textness_vector_the_slider_says_why_it_is_off(
    open_page: OpenPage, tmp_path: Path, index: Path
) -> None:
    with running(open_service(index, tmp_path / "cache")) as url:
        page = open_page(url)
        wait_for(page, NEWEST_FIRST)
        assert page.is_disabled("#scale")
        page.click("#textness-reason-toggle")
        assert page.inner_text("#textness-reason code") == "mckit textness fit"
        assert "--textness-vector FILE" in page.inner_text("#textness-reason")


class WaitingEncoder(ColourEncoder):
    """Waits for leave to answer, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.begun = threading.Event()
        self.leave = threading.Event()

    def encode_texts(self, texts):
        self.asked += texts
        self.begun.set()
        self.leave.wait(30)
        return super().encode_texts(texts)


def test_cancelled_searches_never_reach_the_model(open_page: OpenPage, tmp_path: Path, index: Path) -> None:
    encoder = WaitingEncoder()
    with running(open_service(index, tmp_path / "cache", encoder=encoder)) as url:
        page = open_page(url)
        wait_for(page, NEWEST_FIRST)
        for words in ("r", "re", "red", "red t", "red thing"):
            with page.expect_request("**/api/search"):
                page.fill("#words", words)
            if words == "r":
                assert encoder.begun.wait(20)
        page.wait_for_timeout(500)
        encoder.leave.set()
        wait_for(page, ["red.png"])
    assert encoder.asked == ["r", "red thing"]


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a library of animals whose index has a background; its images are missing."""
    folder = tmp_path_factory.mktemp("animals")
    index = make_word_index(folder / "animals.index")
    with running(open_service(index, folder / "cache", encoder=WordEncoder())) as url:
        yield url


def test_a_query_without_an_answer_says_so_and_shows_the_nearest_on_request(open_page: OpenPage, animals: str) -> None:
    page = open_page(f"{animals}#q=a+banana", expected="404")
    until(page, "document.querySelector('#message h2')?.textContent === 'No image like that'")
    assert page.locator(".tile").count() == 0
    page.click("#message button")
    until(page, "document.querySelectorAll('.tile.uncertain').length > 5")
    assert page.inner_text("#summary").startswith("240 images")
    page.fill("#words", "a piano")
    until(page, "document.querySelector('#message h2')?.textContent === 'No image like that'")


def test_uncertain_hits_wait_behind_a_button(open_page: OpenPage, animals: str) -> None:
    page = open_page(f"{animals}#q=a+dog", expected="404")
    until(page, "document.getElementById('summary').textContent.startsWith('40 likely images')")
    assert page.inner_text("#more-button") == "Show 200 less certain"
    assert page.locator(".tile.uncertain").count() == 0
    assert "faded" not in page.inner_text("#summary")
    page.click("#more-button")
    until(page, "document.getElementById('summary').textContent.startsWith('240 images')")
    assert page.inner_text("#summary").endswith("best first, faded: less certain")
    page.evaluate("window.scrollTo(0, 1e6)")
    until(page, "document.querySelectorAll('.tile.uncertain').length > 5")
    assert page.locator("#more").is_hidden()


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of the library of animals with tags, and how many images have the tag "dog"."""
    folder = tmp_path_factory.mktemp("tagged")
    index = make_word_index(folder / "animals.index")
    with Index(index, WordEncoder()) as opened:
        dogs = opened.tag(["dog", "cat"]).labels["dog"]
    with running(open_service(index, folder / "cache", encoder=WordEncoder())) as url:
        yield url, dogs


def test_a_tag_is_chosen_among_the_filters(open_page: OpenPage, tagged: tuple[str, int]) -> None:
    url, dogs = tagged
    page = open_page(url, expected="404")
    page.click("#filters")
    until(page, "document.querySelectorAll('#tag option').length === 3")
    page.select_option("#tag", "dog")
    until(page, f"document.getElementById('summary').textContent.startsWith('{dogs} images of 240')")
    assert "tag=dog" in page.url and page.inner_text("#filter-count") == "1"
    page.click("#clear-filters")
    until(page, "document.getElementById('summary').textContent.startsWith('240 images')")


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a library whose images say when and where they were taken."""
    folder = tmp_path_factory.mktemp("dated")
    photos = {
        "may": {"exif": {TAKEN: "2024:05:05 08:00:00"}, "first": {MODEL: "Box 1"}},
        "first": {"exif": {TAKEN: "2024:07:14 23:59:58", ZONE: "-09:00"}, "gps": PARIS},
        "second": {"exif": {TAKEN: "2024:07:31 12:00:00"}},
        "august": {"exif": {TAKEN: "2024:08:01 00:00:00"}, "gps": {**PARIS, 3: "W"}},
    }
    for name, tags in photos.items():
        save_photo(folder / "photos" / f"{name}.jpg", **tags)
    with running(open_service(make_index(folder / "dated.index", folder / "photos"), folder / "cache")) as url:
        yield url


def test_a_click_on_a_month_filters_by_it_and_a_second_one_ends_that(open_page: OpenPage, dated: str) -> None:
    page = open_page(dated)
    wait_for(page, ["august.jpg", "second.jpg", "first.jpg", "may.jpg"])
    labels = page.eval_on_selector_all("#months button", "bars => bars.map(bar => [bar.title, bar.disabled])")
    assert labels == [
        ["May 2024: 1 image", False], ["June 2024: 0 images", True],
        ["July 2024: 2 images", False], ["August 2024: 1 image", False],
    ]  # fmt: skip
    july, august = page.locator("#months button").nth(2), page.locator("#months button").nth(3)
    july.click()
    until(page, "document.getElementById('summary').textContent.startsWith('2 images of 4')")
    assert tiles(page) == ["second.jpg", "first.jpg"]
    assert page.input_value("#first-day") == "2024-07-01" and page.input_value("#last-day") == "2024-07-31"
    august.click(modifiers=["Shift"])
    until(page, "location.hash === '#taken=2024-07..2024-08'")
    wait_for(page, ["august.jpg", "second.jpg", "first.jpg"])
    assert page.eval_on_selector_all("#months [aria-pressed=true]", "bars => bars.length") == 2
    august.click()
    until(page, "location.hash === '#taken=2024-08'")
    august.click()
    wait_for(page, ["august.jpg", "second.jpg", "first.jpg", "may.jpg"])
    assert page.is_disabled("#clear-filters")


def test_years_without_images_have_their_place_among_the_bars(open_page: OpenPage, tmp_path: Path) -> None:
    for year in (2020, 2023, 2024):
        save_photo(tmp_path / "photos" / f"{year}.jpg", exif={TAKEN: f"{year}:03:05 08:00:00"})
    with running(open_service(make_index(tmp_path / "years.index", tmp_path / "photos"), tmp_path / "cache")) as url:
        page = open_page(url)
        wait_for(page, ["2024.jpg", "2023.jpg", "2020.jpg"])
        labels = page.eval_on_selector_all("#months button", "bars => bars.map(bar => bar.title)")
        assert labels == ["2020: 1 image", "2021: 0 images", "2022: 0 images", "2023: 1 image", "2024: 1 image"]


def test_months_of_two_thousand_years_are_years_that_can_be_clicked(open_page: OpenPage, tmp_path: Path) -> None:
    with running(open_service(make_dated(tmp_path), tmp_path / "cache")) as url:
        page = open_page(url)
        wait_for(page, ["newest.png", "before.png", "oldest.png", "camera.png"])
        labels = page.eval_on_selector_all("#months button", "bars => bars.map(bar => bar.title)")
        assert labels == ["0001: 1 image", "1677: 1 image", "1969: 1 image", "2262: 1 image"]
        page.click("#months button >> nth=0")
        wait_for(page, ["camera.png"])
        assert (page.input_value("#first-day"), page.input_value("#last-day")) == ("0001-01-01", "0001-12-31")


def test_the_viewer_shows_the_cameras_date_and_finds_images_nearby(open_page: OpenPage, dated: str) -> None:
    page = open_page(dated, timezone_id="Asia/Tokyo")  # the date is the camera's wherever the browser is
    page.click(".tile a >> nth=2")
    until(page, "document.getElementById('viewer-facts').textContent.startsWith('July 14, 2024')")
    assert "8 × 6" in page.inner_text("#viewer-facts")
    page.click("#viewer-near")
    wait_for(page, ["first.jpg"])
    assert page.inner_text("#near-filter") == "Within 5 km of 48.858, 2.295"
    page.click("#near-filter")
    wait_for(page, ["august.jpg", "second.jpg"])
    page.click(".tile a >> nth=3")
    until(page, "document.getElementById('viewer-facts').textContent.includes('Box 1')")
    assert page.is_hidden("#viewer-near")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a library in which one image is there three times and another one twice."""
    folder = tmp_path_factory.mktemp("copied")
    photos = make_photos(folder / "photos")
    for name, copy in (("red.png", "red-2.png"), ("red.png", "trips/red-3.png"), ("blue.png", "blue-2.png")):
        shutil.copy2(photos / name, photos / copy)
    with running(open_service(make_index(folder / "copied.index", photos), folder / "cache")) as url:
        yield url


def test_copies_are_behind_one_tile_that_counts_and_opens_them(open_page: OpenPage, copied: str) -> None:
    page = open_page(copied)
    until(page, "document.getElementById('summary').textContent.startsWith('6 images')")
    badges = page.eval_on_selector_all(".tile .copies:not([hidden])", "found => found.map((one) => one.textContent)")
    assert badges == ["+1", "+2"]
    assert page.get_attribute(".tile .copies:not([hidden]) >> nth=1", "title") == "Show 2 more of the same file (c)"
    page.click(".tile .copies:not([hidden]) >> nth=1")
    until(page, "document.querySelectorAll('.tile').length === 3")
    assert set(tiles(page)) == {"red.png", "red-2.png", "red-3.png"}
    assert page.inner_text("#copies-filter") == "Copies of one image"
    page.click("#copies-filter")
    until(page, "document.getElementById('summary').textContent.startsWith('6 images')")
    page.fill("#words", "red")
    until(page, "location.hash === '#q=red'")
    until(page, "document.querySelector('.tile .copies').textContent === '+2'")
    page.focus(".tile a")
    page.keyboard.press("c")
    until(page, "document.querySelectorAll('.tile').length === 3")
