import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mien.data.sheet import choose, label_shares, write_sheet
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("calm", "glad", "sad")
VOTES = np.array([[8, 2, 0, 0], [3, 3, 2, 2], [0, 9, 1, 0], [2, 1, 1, 6], [0, 0, 10, 0], [5, 0, 5, 0], [0, 0, 0, 0]])
LABELS = ["calm", "glad", "glad", "calm", "sad", None, "calm"]
SHARES = [0.8, 0.3, 0.9, 0.2, 1.0, np.nan, np.nan]


def png(shade):
    file = io.BytesIO()
    Image.new("L", (20, 20), shade).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def columns():
    return {
        "sample": [f"face_{row}" for row in range(7)],
        "image": [png(30 * row) for row in range(6)] + [b"no picture"],
        "split": ["train", "train", "report", "test", None, "train", "train"],
        "label": LABELS,
        "votes": VOTES,
        "candidates": VOTES[:, :3] >= 2,
    }


def made(columns, **about):
    names = (*CLASSES, "unknown")
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=names, source="made <up>", licence="mine", **about)


def card(html, sample):
    return next(one for one in re.findall(r'<article class="card">.*?</article>', html, re.S) if f"{sample}<br>" in one)


# ---------------------------------------------------------------------- which faces


def test_a_label_s_share_is_of_all_answers(columns):
    np.testing.assert_allclose(label_shares(made(columns)), SHARES)


def test_doubtful_faces_come_first_and_those_without_label_or_votes_never(columns):
    table = made({**columns, "split": ["train"] * 7})
    assert choose(table, doubtful=True).tolist() == [3, 1, 0, 2, 4]
    assert choose(table, doubtful=True, num=2).tolist() == [3, 1]
    assert choose(table, doubtful=True, label="glad").tolist() == [1, 2]


def test_of_equally_doubtful_faces_the_seed_chooses():
    votes = np.tile([1, 9], (50, 1))
    table = SampleTable.from_columns(
        {"sample": [str(row) for row in range(50)], "label": ["a"] * 50, "votes": votes},
        classes=("a", "b"),
        vote_names=("a", "b"),
    )
    first, again, other = (choose(table, doubtful=True, num=5, seed=seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_faces_of_the_test_split_are_shown_only_when_it_is_named(columns):
    table = made(columns)
    assert sorted(choose(table)) == [0, 1, 2, 4, 5, 6]
    assert choose(table, split="test").tolist() == [3]
    assert sorted(choose(table, split="train")) == [0, 1, 5, 6]
    assert sorted(choose(table, label="calm")) == [0, 6]


def test_the_same_seed_shows_the_same_faces(columns):
    table = made(columns)
    orders = {tuple(choose(table, seed=seed)) for seed in range(20)}
    assert len(orders) > 10 and tuple(choose(table, seed=3)) == tuple(choose(table, seed=3))
    assert len(choose(table, num=2)) == 2


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"label": "sda"}, RecipeError, "--label 'sda' is not a class of the table. Did you mean sad\\?"),
        ({"num": 0}, RecipeError, "--num is 0. Expected 1 or more"),
        ({"split": "calibrate"}, TableError, "no face of 7 is left to show. The table has the splits: train, report, test"),
    ],
)
def test_what_cannot_be_shown_is_refused(columns, asked, error, message):
    with pytest.raises(error, match=message):
        choose(made(columns), **asked)


@pytest.mark.parametrize(("column", "message"), [("votes", "the table has no votes"), ("label", "the table has no labels")])
def test_doubt_needs_votes_and_labels(columns, column, message):
    with pytest.raises(TableError, match=message):
        choose(made({name: values for name, values in columns.items() if name != column}), doubtful=True)


# ---------------------------------------------------------------------- the page


def test_each_face_has_its_picture_label_votes_and_candidates(columns, tmp_path, read_page):
    assert write_sheet(tmp_path / "new" / "sheet.html", made(columns, label_rule="majority")) == 6
    html, tags = read_page(tmp_path / "new" / "sheet.html")
    one = card(html, "face_1")
    assert "label: glad" in one and "split: train" in one and "votes for the label: 30.0 %" in one
    rows = re.findall(
        r'<tr class="(.*?)"><th scope="row">(.*?)</th><td>(.*?)</td><td class="share" style="--share: (.*?)">', one
    )
    assert rows == [
        ("in", "calm", "3", "0.3"),
        ("in label", "glad", "3", "0.3"),
        ("in", "sad", "2", "0.2"),
        ("other", "unknown", "2", "0.2"),
    ]
    picture = base64.b64decode(re.search(r"base64,(.*?)\"", one)[1])
    assert Image.open(io.BytesIO(picture)).convert("RGB").getpixel((0, 0)) == (30, 30, 30)
    assert "img" not in card(html, "face_6"), "a picture that cannot be read"
    assert sum(tag == "img" for tag, _ in tags) == 5
    assert "made &lt;up&gt;" in html and "by the rule majority" in html


def test_the_page_says_that_it_shows_faces_and_under_which_terms(columns, tmp_path, read_page):
    write_sheet(tmp_path / "sheet.html", made(columns), doubtful=True)
    html, _ = read_page(tmp_path / "sheet.html")
    assert "Licence of the data: mine" in html and "for your own disk" in html
    assert "does not tell what the person felt" in html and "Doubtful labels" in html


def test_a_table_of_pictures_alone_can_be_shown(columns, tmp_path, read_page):
    bare = SampleTable.from_columns({name: columns[name] for name in ("sample", "image")}, classes=CLASSES)
    assert write_sheet(tmp_path / "sheet.html", bare) == 7
    html, tags = read_page(tmp_path / "sheet.html")
    assert sum(tag == "img" for tag, _ in tags) == 6 and "None" not in html


def test_a_folder_that_moved_is_named_and_nothing_is_written(columns, tmp_path):
    paths = {**columns, "image": [None] * 7, "path": [f"{row}.png" for row in range(7)]}
    with pytest.raises(TableError, match="6 of 6 images are not there"):
        write_sheet(tmp_path / "sheet.html", made(paths, root=tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_only_html_is_written(columns, tmp_path):
    with pytest.raises(RecipeError, match=r"--out is .*sheet\.png. Expected a name that ends in \.html"):
        write_sheet(tmp_path / "sheet.png", made(columns))
