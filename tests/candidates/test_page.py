import re

import numpy as np
import pytest

from mien import candidates
from mien.candidates.page import write_page
from mien.data.table import SampleTable

SETS = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0]], bool)
CLASSES = ("calm", "<b>", "sad")


def described(sets=SETS):
    columns = {"sample": list("stuvw"), "label": ["calm", "sad", None, "calm", "<b>"]}
    return candidates.describe(SampleTable.from_columns(columns, classes=CLASSES).with_candidates(sets))


@pytest.fixture
def page(tmp_path, read_page):
    write_page(tmp_path / "new" / "page.html", described(), source="made <up>")
    return read_page(tmp_path / "new" / "page.html")[0]


def bars(html, title):
    """Returns name, width as a share and note of each bar of a chart."""
    svg = re.search(rf'<svg class="bars"[^>]*aria-label="{title}">.*?</svg>', html, re.S)[0]
    names = re.findall(r'text-anchor="end">(.*?)<', svg)
    widths = [float(width) / 400 for width in re.findall(r'<rect class="bar"[^>]* width="(.*?)"', svg)]
    return list(zip(names, widths, re.findall(r'x="562"[^>]*>(.*?)<', svg), strict=True))


def test_bars_are_shares_of_the_sets(page):
    expected = [("1 class", 0.5, "2 sets"), ("2 classes", 0.25, "1 sets"), ("3 classes", 0.25, "1 sets")]
    assert bars(page, "Sets by size") == expected
    expected = [("calm", 0.75, "3 sets"), ("&lt;b&gt;", 0.75, "3 sets"), ("sad", 0.25, "1 sets")]
    assert bars(page, "Sets that hold each class") == expected
    alone = bars(page, "Sets that hold nothing else")
    assert [(name, note) for name, _, note in alone] == [("calm", "1 of 3"), ("&lt;b&gt;", "1 of 3"), ("sad", "0 of 1")]
    assert [width for _, width, _ in alone] == pytest.approx([1 / 3, 1 / 3, 0], abs=1e-3)


def test_the_map_colours_pairs_by_the_row_s_sets_and_leaves_the_diagonal_blank(page):
    cells = re.findall(r'<td class="(.*?)" style="--share: (.*?)">(.*?)</td>', page)
    assert [int(text) for _, _, text in cells] == [3, 2, 1, 2, 3, 1, 1, 1, 1]
    assert [float(share) for _, share, _ in cells] == pytest.approx([0, 2 / 3, 1 / 3, 2 / 3, 0, 1 / 3, 1, 1, 0], abs=1e-3)
    assert [place for place, (kind, _, _) in enumerate(cells) if "right" in kind] == [0, 4, 8]


def test_the_page_says_what_there_is_and_escapes_names(page):
    assert "5 faces, 1 without a set; a set holds 1.75 classes on average" in page
    assert "66.7 %" in page, "coverage of the label"
    assert "made &lt;up&gt;" in page and "<b>" not in page


def test_sets_that_are_all_null_have_a_page_without_nan(tmp_path, read_page):
    write_page(tmp_path / "page.html", described(np.zeros((5, 3), bool)))
    html, _ = read_page(tmp_path / "page.html")
    assert "5 faces, 5 without a set." in html
    assert not re.search(r"\bnan\b|\bNone\b", html)
