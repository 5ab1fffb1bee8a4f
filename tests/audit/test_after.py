import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.audit.after import after_review, write_page
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate.report import evaluate
from mien.predict.predictions import Predictions

NUM, HELD_OUT = 100, 40  # the last ones are held out


def predicted(table, right, several, seed=0):
    """Predictions of the held-out faces, right for the first ones, with label sets of two classes for every so-manieth."""
    truth = table.labels()[-HELD_OUT:]
    seen = np.where(np.arange(HELD_OUT) < right, truth, (truth + 1) % 8)
    probs = np.random.default_rng(seed).dirichlet(np.ones(8), HELD_OUT) * 0.3 + 0.7 * np.eye(8)[seen]
    sets = np.eye(8, dtype=bool)[seen]
    sets[::several, :2] = True
    recipe = {"data": {"fold": None, "splits": {"train": "train"}}}
    return Predictions(tuple(table.samples[-HELD_OUT:]), probs.astype(np.float32), table.classes, sets, recipe=recipe)


@pytest.fixture(scope="module")
def made():
    """The table before and after a review of sixty faces, and predictions of the others before and after."""
    plain = drawn.read(faces=NUM, size=16)
    classes = tuple(f"<b>{name}</b>" for name in plain.classes)
    labels = plain.labels("label_true")
    names = np.array([*classes, None], object)
    votes = plain.votes.copy()
    votes[-10:] = 0
    votes[range(NUM - 10, NUM), labels[-10:]] = 10  # nobody doubts the last ten
    columns = {
        "sample": [f"<i>{row}</i>" for row in range(NUM)],
        "image": plain.columns["image"].to_pylist(),
        "split": ["train"] * (NUM - HELD_OUT) + ["report"] * HELD_OUT,
        "votes": votes,
        "label": names[labels],
        "candidates": np.eye(8, dtype=bool)[labels] | (plain.class_votes >= 3),
    }
    about = {"vote_names": (*classes, *plain.vote_names[8:]), "source": "<u>faces</u>", "classes": classes}
    table = SampleTable.from_columns(columns, **about)
    new, sets, reviewed = labels.copy(), table.candidates.copy(), np.arange(NUM) < NUM - HELD_OUT
    new[:12], new[12] = (labels[:12] + 1) % 8, -1
    sets[:12] = np.eye(8, dtype=bool)[new[:12]]
    after = table.with_column("label_reviewed", names[new]).with_column("reviewed", reviewed).with_candidates(sets)
    return table, after, predicted(table, 24, 4), predicted(table, 34, 10, seed=1)


@pytest.fixture(scope="module")
def found(made):
    return after_review(*made, replicates=100)


def test_changed_labels_are_counted_from_class_to_class(made, found, tmp_path, read_page):
    table, reviewed, _, _ = made
    old, new = table.values("label"), reviewed.values("label_reviewed")
    assert found.changed.sum() == sum(one != other for one, other in zip(old, new, strict=True)) == 13
    assert sum(count for _, _, count in found.moves) == 13 and (old[12], "no label", 1) in found.moves
    write_page(tmp_path / "page.html", found)
    html, tags = read_page(tmp_path / "page.html")
    body = re.search(r"<caption>Changed labels.*?<tbody>(.*?)</tbody>", html, re.S)[1]
    counts = np.array([re.findall(r">(\d+)</td>", row) for row in re.findall(r"<tr>.*?</tr>", body)], int)
    assert counts.shape == (9, 9) and counts.sum() == 13 and counts[:, 8].sum() == 1 and counts.trace() == 0
    assert "60 of 100 faces were reviewed; <strong>13 labels changed" in html
    changed = re.findall(r"→ (.*?)</b>", html)
    assert len(changed) == 12 and not {"i", "u", "script"} & {tag for tag, _ in tags}
    assert all(attrs["alt"].startswith("face of <i>") for tag, attrs in tags if tag == "img")


def test_numbers_are_those_of_the_reports_and_differences_are_paired(made, found):
    _, reviewed, before, after = made
    reports = [evaluate(each, reviewed, replicates=10) for each in (before, after)]
    for name in ("accuracy_unanimous", "accuracy", "calibration_error", "calibration_error_votes"):
        old, new = (report.numbers[name].value for report in reports)
        assert (found.before.numbers[name].value, found.after.numbers[name].value) == (old, new)
        if name != "calibration_error":
            assert found.differences[name].value == pytest.approx(new - old)
    assert found.before.numbers["accuracy"].value == 24 / 40 and found.differences["accuracy"].value == pytest.approx(0.25)
    gap, unanimous = found.differences["accuracy_unanimous"], found.before.numbers["accuracy_unanimous"]
    assert unanimous.n >= 10 and gap.low < gap.value < gap.high
    # Ten faces of forty are gained and none is lost: as paired, zero is outside, which two separate intervals cannot say.
    assert found.differences["accuracy"].low > 0.1
    assert found.before.numbers["accuracy"].high > found.after.numbers["accuracy"].low


def test_what_stays_ambiguous_is_counted_in_both_senses(made, found, tmp_path, read_page):
    table, reviewed, before, after = made
    sets, later = table.candidates.sum(1) > 1, reviewed.candidates.sum(1) > 1
    assert found.candidates[:4] == (NUM, sets.sum(), later.sum(), (sets & later).sum())
    both = (before.ambiguous & after.ambiguous).sum()
    assert found.label_sets[:4] == (HELD_OUT, before.ambiguous.sum(), after.ambiguous.sum(), both)
    assert sum(count for _, count in found.label_sets.sets) == after.ambiguous.sum()
    write_page(tmp_path / "page.html", found, pictures="blurred")
    html, tags = read_page(tmp_path / "page.html")
    assert html.count("label set <b>") == after.ambiguous.sum()
    sources = [attrs["src"].split(",")[1] for tag, attrs in tags if tag == "img"]
    assert {Image.open(io.BytesIO(base64.b64decode(source))).size for source in sources} == {(10, 10)}
    write_page(tmp_path / "page.html", found, pictures="none")
    assert "base64" not in read_page(tmp_path / "page.html")[0]


def test_the_order_of_the_faces_in_the_two_files_does_not_matter(made, found):
    table, reviewed, before, after = made
    turned = after_review(table, reviewed, before, after.take(np.arange(HELD_OUT)[::-1]), replicates=20)
    assert turned.label_sets[:4] == found.label_sets[:4]


def test_tables_without_sets_votes_or_changes_leave_their_parts_out(made, tmp_path, read_page):
    table, _, before, after = made
    bare = SampleTable.from_columns({"sample": table.samples, "label": table.values("label")}, classes=table.classes)
    reviewed = bare.with_column("label_reviewed", table.values("label"))
    lone = [replace(each, label_sets=None) for each in (before, after)]
    write_page(tmp_path / "page.html", after_review(bare, reviewed, *lone, replicates=20), pictures="none")
    html, _ = read_page(tmp_path / "page.html")
    assert "<strong>0 labels changed" in html and "Not known: the tables have no candidate sets" in html
    assert "none with a label and all votes on one class" in html and not re.search(r"\bnan\b", html, re.I)


def test_what_does_not_belong_together_is_refused_or_said(made):
    table, reviewed, before, after = made
    for wrong, why in (
        ((table, table, before, after), "there is no column label_reviewed"),
        ((table.with_classes(table.classes[::-1]), reviewed, before, after), "its classes are"),
        ((table.with_column("sample", [f"x{row}" for row in range(NUM)]), reviewed, before, after), "none of its faces"),
        ((table, reviewed, before.take(np.arange(9)), after), "are of different faces"),
        ((table, reviewed.take(np.arange(50)), before, after), "not in the table"),
    ):
        with pytest.raises(TableError, match=why):
            after_review(*wrong, replicates=10)
    trained = replace(after, recipe={"data": {"fold": None, "splits": {"train": "report"}}})
    notes = after_review(table.take(np.arange(1, NUM)), reviewed.take(np.arange(NUM - 1)), before.take(np.arange(39)),
                         trained.take(np.arange(39)), replicates=10).notes  # fmt: skip
    assert "1 faces of the reviewed table were not in the table before" in notes[0]
    assert "1 faces of the table before are not in the reviewed one" in notes[1]
    assert notes[2].startswith("after: predictions: 39 of 39 faces are in split report") and len(notes) == 3
    unknown = [replace(each, recipe=None) for each in (before, after)]
    assert after_review(table, reviewed, *unknown, replicates=10).notes == []
    (note, _) = after_review(table, reviewed.with_column("split", ["train"] * NUM), *unknown, replicates=10).notes
    assert "40 of 40 faces are in split train. Expected faces new to the model" in note


def test_the_command_prints_a_short_table_or_json(made, found, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("before.parquet", "reviewed.parquet", "old.parquet", "new.parquet")]
    for content, file in zip(made, files, strict=True):
        content.write(file)
    page = str(tmp_path / "page.html")
    tokens = ["audit", "after", files[0], files[1], "--before", files[2], "--after", files[3], "--out", page]
    assert cli.main(tokens) == 0
    said = capsys.readouterr().out
    assert "13 of 100 labels changed" in said and "Accuracy, unanimous" in said and said.endswith(f"wrote {page}\n")
    assert cli.main([*tokens, "--overwrite", "--pictures", "none", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] == 13 and result["held_out"] == HELD_OUT
    assert result["numbers"]["accuracy"]["difference"]["value"] == pytest.approx(0.25)
    assert result["ambiguous"]["label_sets"]["after"] == found.label_sets.after
    assert cli.main(tokens) == 2
