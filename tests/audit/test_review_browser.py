"""The review page in a headless Chromium, by keyboard; skipped where there is none."""

import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest
import uvicorn
from PIL import Image

from mien.audit.decisions import Decision, append, read, states
from mien.audit.export import read_audit
from mien.audit.review import Review
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions
from mien.serve.address import Server
from mien.serve.review import _probs, make_review_app

from .audited import write_audit

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SHOTS = os.environ.get("MIEN_SCREENSHOTS")  # a folder; where it is given, each test leaves a picture of the page
OPTIONS = ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with playwright.sync_playwright() as player:
        try:
            browser = player.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=OPTIONS)
        except playwright.Error:
            pytest.skip("no Chromium: no browser tests")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    write_audit(folder, 400)
    return folder


@pytest.fixture
def open_page(chromium, folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable]:
    """Returns what opens the page; at the end no script has failed and nothing was asked elsewhere or against the policy."""
    table = SampleTable.read(folder / "faces.parquet")
    probs = _probs(table, Predictions.read(folder / "predictions.parquet"))
    review = Review(table, read_audit(folder / "audit.parquet"), tmp_path / "d.jsonl", "ann", probs)
    said: Queue = Queue()
    server = Server(uvicorn.Config(make_review_app(review), port=0, log_level="warning"), "ready", said.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    said.get(timeout=10)
    where = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    complaints, contexts, pages = [], [], []

    def open_page(**options: object):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda asked: None if asked.url.startswith((where, "data:")) else complaints.append(asked.url))
        page.goto(where)
        page.wait_for_selector(".cell img")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"{request.node.name}.png")
    for context in contexts:
        context.close()
    server.should_exit = True
    thread.join()
    assert complaints == []


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def says(page, pattern: str) -> None:
    playwright.expect(page.locator("#status")).to_have_text(re.compile(pattern))


def test_faces_are_decided_undone_and_filtered_by_keyboard_alone(open_page, tmp_path):
    page = open_page()
    says(page, "^400 faces")
    # Typed faster than they are answered: no key is lost, each goes to the face after the last.
    press(page, "2", "Shift+3", "Shift+5", "Enter", "Shift+4", "u", "x", "7")
    says(page, r"Saved: fear\. Now face 6")
    made = read(tmp_path / "d.jsonl")[0]
    assert [(one.how, one.to) for one in made] == [
        ("sure", ("happiness",)),
        ("sure", ("surprise", "anger")),
        ("unsure", ("sadness",)),
        ("skip", ()),
        ("sure", ("fear",)),
    ]
    assert len({one.sample for one in made}) == 5
    assert page.inner_text(".cell >> nth=1").split("\n")[-1] == "→ surprise or anger"
    press(page, "z", "z")
    says(page, "Taken back: face 4")
    assert set(states(read(tmp_path / "d.jsonl")[0]).standing) == {one.sample for one in made[:3]}
    press(page, "w")  # an answer that is no class
    says(page, "Saved: not-a-face")
    page.focus("select[name=state]")
    page.keyboard.type("what I d")  # choose by typing, as selects allow
    says(page, "^4 faces")
    press(page, "Escape")  # leaves the select
    page.focus("select[name=label]")
    press(page, "ArrowDown")
    first = page.input_value("select[name=label]")
    standing = states(read(tmp_path / "d.jsonl")[0]).standing.values()
    there = sum(one["ann"].label == first for one in standing)
    says(page, f"^{there} face" if there else "^No face is like that")
    assert first and page.locator(".cell").count() == there


def test_one_face_is_shown_with_votes_and_the_model_s_word_only_when_asked(open_page, tmp_path):
    page = open_page()
    press(page, "Enter")
    playwright.expect(page.locator("#name")).to_have_text("Face 1 of 400")
    assert page.evaluate("document.activeElement.id") == "name"
    assert page.locator("#facts caption").all_inner_texts() == ["Votes"]
    assert page.locator("#picture").evaluate("image => image.naturalWidth") == 224
    widths = page.locator("#facts .bar span").evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect().width)")
    assert max(widths) > 20 and "suggest" not in page.inner_text("main")
    press(page, "n", "m")
    playwright.expect(page.locator("#facts caption")).to_have_text(["Votes", "Model"])
    assert "The model and the votes suggest" in page.inner_text("main")
    press(page, "c")
    page.keyboard.type("1 wide mouth")  # digits in a text are text
    press(page, "Enter", "3")
    says(page, "Saved: surprise. Now face 3")
    assert page.inner_text("#name") == "Face 3 of 400"
    made = read(tmp_path / "d.jsonl")[0]
    assert [(one.to, one.why) for one in made] == [(("surprise",), "1 wide mouth")]
    press(page, "p")
    playwright.expect(page.locator("#facts dl")).to_contain_text("surprise: 1 wide mouth")
    press(page, "Escape")
    assert page.locator(".cell.now").get_attribute("aria-label").startswith("Face 2; labelled")
    assert page.evaluate("document.activeElement.className").startswith("cell")


def test_a_conflict_is_shown_once_one_has_decided_oneself(open_page, folder, tmp_path):
    found = read_audit(folder / "audit.parquet").sort_by("score")
    sample = found["sample"][0].as_py()
    append(tmp_path / "d.jsonl", Decision("bo <i>", sample, "fear", ("contempt",), why="<img src=x>"))
    page = open_page()
    press(page, "Enter")
    playwright.expect(page.locator("#facts dl")).to_contain_text("1 decided; you see what once you have")
    press(page, "1", "p")
    playwright.expect(page.locator("#facts dl")).to_contain_text("people differ on this face")
    assert "contempt: <img src=x>" in page.inner_text("#facts") and "bo <i>" in page.inner_text("#facts")
    assert "1 conflict" in page.inner_text("#counts")


def test_what_is_scrolled_to_is_fetched_and_the_page_holds_no_more_than_can_be_seen(open_page):
    page = open_page(viewport={"width": 700, "height": 500})
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    playwright.expect(page.locator('[aria-posinset="400"] img')).to_be_visible()
    assert page.locator(".cell").count() < 70
    press(page, "ArrowDown")  # from the face where one was
    playwright.expect(page.locator(".cell.now")).to_be_in_viewport()


def test_nothing_is_cut_off_at_the_width_of_a_phone_and_touch_does_it_all(open_page, tmp_path):
    page = open_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.tap(".cell >> nth=0")
    playwright.expect(page.locator("#name")).to_be_in_viewport()
    page.tap("button.answer >> nth=1")
    page.tap("button.answer >> nth=2")
    page.tap("#save")
    says(page, "Saved: happiness or surprise")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("#bar").bounding_box()["height"] < 740 / 3


def test_in_the_dark_and_in_the_light_the_page_can_be_read(open_page):
    for scheme, is_dark in (("dark", True), ("light", False)):
        page = open_page(color_scheme=scheme)
        press(page, "1")
        says(page, "Saved")
        assert (sum(Image.open(io.BytesIO(page.screenshot())).convert("RGB").getpixel((2, 300))) < 150) == is_dark
        for part in ("#status", ".note", ".cell", ".cell .said", ".answer", "#filters label", "#progress"):
            assert contrast(page, part) >= 4.5, part  # WCAG 2.2, 1.4.3


def contrast(page, part: str) -> float:
    """Returns the contrast ratio of a text, by WCAG's formula; colours are read back from a canvas, mixed ones too."""
    script = """element => {
        const paint = (colour) => {
            const canvas = document.createElement("canvas").getContext("2d");
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data];
        };
        let behind = element;
        while (paint(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
        const found = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        return found.map((text) => paint(text).slice(0, 3));
    }"""
    colours = page.locator(part).first.evaluate(script)
    linear = [[c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in one] for one in colours]
    dark, light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (light + 0.05) / (dark + 0.05)


def test_a_screen_reader_is_told_what_is_there_and_letters_can_be_switched_off(open_page, tmp_path):
    page = open_page()
    tree = page.locator("body").aria_snapshot()
    for line in ("Expressions are perceived.", 'button "Face 1; labelled', "list", 'toolbar "Your answer"', "status:"):
        assert line in tree, tree
    press(page, "?")
    page.uncheck("#keys")
    press(page, "1", "x", "ArrowRight")
    playwright.expect(page.locator(".cell.now")).to_have_attribute("aria-label", re.compile("^Face 2;"))
    assert not (tmp_path / "d.jsonl").exists()
    page.check("#keys")
    press(page, "1")
    says(page, "Saved: neutral. Now face 3")


def test_a_server_that_is_gone_is_said_and_nothing_counts_as_saved(open_page):
    page = open_page()
    page.route("**/decide", lambda route: route.abort())
    press(page, "Shift+1", "2")
    says(page, "does not answer.*This was not kept")
    assert page.locator(".cell.now").get_attribute("aria-label").startswith("Face 1;")
    assert page.locator(".answer[aria-pressed=true]").count() == 2  # what was chosen can be saved again
    assert page.locator(".cell.decided").count() == 0 and page.locator("#counts").inner_text().startswith("0 of 400")
