"""The page in a headless Chromium, as people use it; skipped where there is none."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SHOTS = os.environ.get("MIEN_SCREENSHOTS")  # a folder; where it is given, each test leaves a picture of the page
OPTIONS = ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
TOKEN = "a token of many characters"


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with playwright.sync_playwright() as player:
        try:
            browser = player.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=[*OPTIONS, *CAMERA])
        except playwright.Error:
            pytest.skip("no Chromium: no browser tests")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(start: Callable) -> str:
    return start()


@pytest.fixture
def open_page(chromium, address: str, request: pytest.FixtureRequest) -> Iterator[Callable]:
    """Returns what opens the page; at the end no script has failed and nothing was asked elsewhere or against the policy."""
    complaints, contexts, pages = [], [], []

    def open_page(where: str = address, **options: object):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None)
        page.on(
            "request", lambda asked: None if asked.url.startswith((where, "data:", "blob:")) else complaints.append(asked.url)
        )
        page.goto(where)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"{request.node.name}.png", full_page=True)
    for context in contexts:
        context.close()
    assert complaints == []


def give(page, **pictures: bytes) -> str:
    """Gives the page photos and returns its status once they are answered."""
    files = [{"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": content} for name, content in pictures.items()]
    page.set_input_files("#files", files)
    return said(page)


def said(page) -> str:
    status = page.locator("#status")
    playwright.expect(status).not_to_have_text(re.compile("^$|^Looking"))
    return status.inner_text()


def test_a_photo_gets_a_frame_bars_and_its_label_set_in_words(open_page, photo):
    page = open_page()
    assert "Expressions are perceived." in page.inner_text("main")
    assert give(page, head=photo) == "1 face found."
    assert page.inner_text(".words") == "happiness; few people would say otherwise"
    assert page.inner_text(".face tr:first-of-type").split() == ["happiness", "100", "%"]
    frame, image = page.locator(".frame rect").first.bounding_box(), page.locator(".picture img").bounding_box()
    assert frame["x"] > image["x"] and frame["x"] + frame["width"] < image["x"] + image["width"]
    widths = [bar.bounding_box()["width"] for bar in page.locator(".bar span").all()]
    assert widths == sorted(widths, reverse=True) and widths[0] > 100 * max(widths[-1], 0.1)


def test_a_photo_without_a_face_is_said_to_have_none(open_page, empty):
    page = open_page()
    assert give(page, wall=empty).startswith("No face was found.")
    assert page.inner_text(".photo").endswith("No face was found in this photo.")
    assert page.get_attribute(".picture img", "alt") == "wall.jpg: no faces"


def test_each_of_many_faces_has_a_frame_and_a_card_with_its_number(open_page, crowd):
    page = open_page()
    assert give(page, crowd=crowd) == "3 faces found."
    assert page.locator(".frame text").all_text_contents() == ["1", "2", "3"]
    assert page.locator(".face h3").all_inner_texts() == ["Face 1", "Face 2", "Face 3"]
    page.locator(".face").nth(1).hover()
    assert page.locator(".frame.lit text").all_text_contents() == ["2"]


def test_doubt_is_put_in_words(open_page):
    page = open_page()
    words = "(set, tiny = false) => words({tiny}, set)"
    assert page.evaluate(f"({words})(['anger', 'disgust'])") == "anger or disgust; people would disagree"
    assert page.evaluate(f"({words})(['fear', 'surprise', 'sadness'])").startswith("fear, surprise or sadness;")


def test_nothing_is_cut_off_at_the_width_of_a_phone(open_page, crowd):
    page = open_page(viewport={"width": 360, "height": 740}, is_mobile=True, device_scale_factor=2)
    give(page, crowd=crowd)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator(".picture").bounding_box()["width"] <= 360 - 2 * 20


def test_in_the_dark_the_page_is_dark_and_can_be_read(open_page, photo):
    page = open_page(color_scheme="dark")
    give(page, head=photo)
    for part in ("body", ".soft", ".note", ".face th", "#camera"):
        assert contrast(page, part) >= 4.5, part  # WCAG 2.2, 1.4.3
    assert sum(colours(page, "body")[1]) < 100


def test_in_the_light_the_page_can_be_read(open_page):
    page = open_page(color_scheme="light")
    for part in ("body", ".soft", ".note", ".button", "#camera"):
        assert contrast(page, part) >= 4.5, part


def colours(page, part: str) -> list[list[float]]:
    """Returns the colour of a text, and that of the first thing behind it that has one."""
    script = """element => {
        const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
        let behind = element;
        while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
        const found = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        return found.map((text) => numbers(text).slice(0, 3));
    }"""
    return page.locator(part).first.evaluate(script)


def contrast(page, part: str) -> float:
    """Returns the contrast ratio of a text, by WCAG's formula."""
    linear = [[c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in one] for one in colours(page, part)]
    dark, light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (light + 0.05) / (dark + 0.05)


def test_the_keyboard_alone_reaches_everything(open_page, crowd):
    page = open_page()
    page.on("filechooser", lambda chooser: None)  # from now on none opens outside of the page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "crowd.png", "mimeType": "image/png", "buffer": crowd})
    assert said(page) == "3 faces found."
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "camera"
    page.keyboard.press("Tab")
    assert page.locator(".face:focus h3").inner_text() == "Face 1"
    assert page.locator(".frame.lit text").all_text_contents() == ["1"]


def test_a_screen_reader_is_told_what_is_there(open_page, photo):
    page = open_page()
    give(page, head=photo)
    tree = page.locator("main").aria_snapshot()
    for line in ('button "Open photos…"', "status: 1 face found.", 'img "head.jpg: 1 framed face"', 'row "happiness 100 %"'):
        assert line in tree, tree
    assert page.locator("caption").inner_text() == "Face 1: share of people who would give each answer"


def test_a_picture_from_the_camera_is_answered(open_page):
    page = open_page(permissions=["camera"])
    page.click("#camera")
    page.locator("#preview").evaluate("video => new Promise((then) => video.videoWidth ? then() : (video.onresize = then))")
    page.click("#shoot")
    assert said(page).startswith("No face was found.")  # the camera shows a test picture
    page.click("#camera")
    assert page.locator("#webcam").is_hidden()


def test_a_file_that_is_no_photo_is_answered_with_the_server_s_sentence(open_page):
    page = open_page()
    assert give(page, notes=b"no photo").startswith("notes.jpg: not a picture")
    assert page.locator(".photo").count() == 0


def test_a_name_is_shown_as_text(open_page, empty):
    page = open_page()
    give(page, **{"<img src=x onerror=alert(1)>": empty})
    assert page.inner_text("h2 >> nth=1") == "<img src=x onerror=alert(1)>.jpg"


def test_the_token_is_asked_for_and_then_photos_are_answered(open_page, start, photo):
    page = open_page(start(token=TOKEN))
    page.set_input_files("#files", {"name": "head.jpg", "mimeType": "image/jpeg", "buffer": photo})
    page.fill("#token", "another one")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_text("This is not the token.")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector(".face")
    assert page.locator("#ask").is_hidden()
