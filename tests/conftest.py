"""What all tests share: property tests that give the same cases everywhere, and a reader of HTML pages."""

import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from a second thread, and lose much on a busy machine

settings.register_profile("mien", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mien")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --objective, by which the contract tests judge a method outside the package."""
    parser.addoption(
        "--objective", action="append", default=[], metavar="MODULE:CLASS", help="also judge this objective by the contract"
    )


class Reader(HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    EMPTY = frozenset({"meta", "img", "br", "line", "rect", "path", "circle", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


@pytest.fixture(scope="session")
def read_page() -> Callable:
    """Returns a page's text and tags, once it is seen to be well formed and to load nothing from outside."""

    def read(path: Path) -> tuple[str, list[tuple[str, dict]]]:
        html, reader = path.read_text(encoding="utf-8"), Reader()
        reader.feed(html)
        assert reader.open == []
        assert not [word for word in ("http://", "https://", "@import", "url(") if word in html]
        assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
        return html, reader.tags

    return read
