import dataclasses
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import evaluate
from mien.evaluate.match import OVERLAP, from_photos, match
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")
BOX, BESIDE = (10, 10, 50, 50), (100, 10, 150, 60)


def table_of(*faces, root="photos", **columns):
    """A table of (path, box, label) rows, named face_0, face_1 …"""
    paths, boxes, labels = zip(*faces, strict=True)
    columns = {"sample": [f"face_{row}" for row in range(len(faces))], "path": paths, "box": boxes, "label": labels, **columns}
    return SampleTable.from_columns(columns, classes=CLASSES, root=root)


def found_in(*faces, root="photos/", **fields):
    """Predictions of (path, box, answer) rows as a detector gives them; a status in place of an answer, null for no box."""
    samples = tuple(f"{root}{path}#{place}" if box else f"{root}{path}" for place, (path, box, _) in enumerate(faces, 1))
    probs = np.full((len(faces), 3), np.nan, np.float32)
    for row, (_, _, answer) in enumerate(faces):
        if answer in CLASSES:
            probs[row] = 0.1
            probs[row, CLASSES.index(answer)] = 0.8
    return Predictions(
        samples,
        probs,
        CLASSES,
        status=tuple("ok" if answer in CLASSES else answer for _, _, answer in faces),
        boxes=np.array([box or [np.nan] * 4 for _, box, _ in faces], np.float32),
        paths=tuple(root + path for path, _, _ in faces),
        **fields,
    )


def shifted(box, right):
    return (box[0] + right, box[1], box[2] + right, box[3])


def test_two_faces_in_one_picture_get_their_own_answers_whatever_their_order():
    table = table_of(("a.jpg", BOX, "calm"), ("a.jpg", BESIDE, "glad"))
    faces = (("a.jpg", shifted(BESIDE, 4), "glad"), ("a.jpg", shifted(BOX, -3), "calm"))
    for order in (faces, faces[::-1]):
        report = evaluate(found_in(*order), table, replicates=20)
        assert report.numbers["accuracy"].value == report.numbers["coverage"].value == 1
        assert report.about["matching"] == {"overlap": OVERLAP, "extra": 0, "elsewhere": 0}


def test_a_missed_face_is_an_error_and_lowers_coverage():
    table = table_of(("a.jpg", BOX, "calm"), ("a.jpg", BESIDE, "glad"), ("b.jpg", BOX, "sad"), ("c.jpg", BOX, "sad"))
    report = evaluate(
        found_in(("a.jpg", BOX, "calm"), ("b.jpg", None, "no face"), ("c.jpg", BOX, "calm")), table, replicates=20
    )
    assert report.numbers["accuracy"].value == 0.25 and report.numbers["accuracy"].n == 4
    assert report.numbers["coverage"].value == 0.5
    assert report.about["without_answer"] == {"no face": 2}
    assert [row[-1] for row in report.confusion] == [0, 1, 1]


def test_extra_faces_are_counted_and_not_judged():
    table = table_of(("a.jpg", BOX, "calm"))
    faces = (("a.jpg", BOX, "calm"), ("a.jpg", BESIDE, "sad"), ("poster.jpg", BOX, "sad"), ("poster.jpg", BESIDE, "sad"))
    report = evaluate(found_in(*faces), table, replicates=20)
    assert report.numbers["accuracy"].value == 1 and report.numbers["accuracy"].n == 1
    assert report.about["matching"] == {"overlap": OVERLAP, "extra": 1, "elsewhere": 2}
    assert "1 that match no face of the table, 2 in other pictures" in report.summary


def test_a_second_box_of_the_same_face_is_extra():
    table = table_of(("a.jpg", BOX, "calm"))
    found = match(found_in(("a.jpg", shifted(BOX, 5), "sad"), ("a.jpg", shifted(BOX, 1), "calm")), table)
    assert found.predictions.labels == ["calm"] and found.num_extra == 1


def test_a_broken_picture_keeps_its_status_and_its_problem():
    table = table_of(("a.jpg", BOX, "calm"), ("b.jpg", BOX, "glad"), ("b.jpg", BESIDE, "sad"))
    predictions = found_in(("a.jpg", BOX, "calm"), ("b.jpg", None, "broken"), problems=(None, "b.jpg: truncated"))
    found = match(predictions, table).predictions
    assert found.samples == ("face_0", "face_1", "face_2") and found.status == ("ok", "broken", "broken")
    assert found.problems == (None, "b.jpg: truncated", "b.jpg: truncated")
    assert found.paths == ("a.jpg", "b.jpg", "b.jpg")
    report = evaluate(predictions, table, replicates=20)
    assert report.about["without_answer"] == {"broken": 2} and report.numbers["accuracy"].value == pytest.approx(1 / 3)


def test_rows_without_a_match_hold_nothing_of_another_face():
    fields = {"label_sets": np.ones((1, 3), bool), "points": np.ones((1, 5, 2), np.float32), "scores": np.ones(1, np.float32)}
    found = match(found_in(("a.jpg", BOX, "calm"), **fields), table_of(("a.jpg", BESIDE, "glad"), ("a.jpg", BOX, "calm")))
    first = found.predictions.take(np.array([0]))
    assert first.status == ("no face",) and not first.label_sets.any()
    assert all(np.isnan(values).all() for values in (first.probs, first.boxes, first.points, first.scores))
    assert found.predictions.scores[1] == 1


def test_an_overlap_below_the_least_is_no_match():
    table = table_of(("a.jpg", (0, 0, 30, 30), "calm"))
    half, less = (0, 0, 30, 15), (0, 0, 30, 14)  # intersection over union 0.5 and 0.47
    assert match(found_in(("a.jpg", half, "calm")), table).predictions.status == ("ok",)
    assert match(found_in(("a.jpg", less, "calm")), table).predictions.status == ("no face",)
    assert match(found_in(("a.jpg", less, "calm")), table, overlap=0.4).predictions.status == ("ok",)


def test_boxes_without_an_area_match_nothing():
    table = table_of(("a.jpg", (10, 10, 10, 10), "calm"))
    assert match(found_in(("a.jpg", (10, 10, 10, 10), "calm")), table).predictions.status == ("no face",)


def test_a_face_without_a_box_is_the_largest_one_found():
    table = table_of(("a.jpg", None, "calm"))
    found = match(found_in(("a.jpg", BOX, "sad"), ("a.jpg", BESIDE, "calm")), table)
    assert found.predictions.labels == ["calm"] and found.num_extra == 1


def test_a_table_without_boxes_matches_by_picture():
    table = table_of(("a.jpg", None, "calm"), ("b.jpg", None, "sad"))
    table = dataclasses.replace(table, columns=table.columns.drop_columns(["box"]))
    assert match(found_in(("b.jpg", BOX, "sad"), ("a.jpg", BOX, "calm")), table).predictions.labels == ["calm", "sad"]


def test_pictures_that_are_faces_already_are_matched_by_their_names():
    table = table_of(("a.jpg", None, "calm"), ("b.jpg", BOX, "glad"))
    cropped = dataclasses.replace(found_in(("b.jpg", None, "glad"), ("a.jpg", None, "sad")), boxes=None, paths=None)
    assert cropped.samples == ("photos/b.jpg", "photos/a.jpg")
    assert match(cropped, table).predictions.labels == ["sad", "glad"]


def test_a_face_without_a_box_among_several_is_refused():
    table = table_of(("b.jpg", BOX, "calm"), ("a.jpg", BOX, "calm"), ("a.jpg", None, "glad"))
    with pytest.raises(TableError, match=r"row 2 \(face_2\): no box, but its picture has several faces"):
        match(found_in(("a.jpg", BOX, "calm")), table)
    assert match(found_in(("b.jpg", BOX, "calm")), table).predictions.status == ("ok", "not predicted", "not predicted")


# ---------------------------------------------------------------------- pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    return tmp_path


@pytest.mark.parametrize("root", ["photos/", "", "./photos/", "photos/../photos/", "{}/photos/", "link/"])
def test_a_picture_is_known_by_any_path_to_it(folder, root):
    os.symlink(folder / "photos", folder / "link")
    table = table_of(("a.jpg", BOX, "calm"), root=folder / "photos")
    found = match(found_in(("a.jpg", BOX, "calm"), root=root.format(folder)), table)
    assert found.predictions.labels == ["calm"] and found.num_elsewhere == 0


def test_a_picture_of_the_same_name_in_another_folder_is_another_picture(folder):
    table = table_of(("a.jpg", BOX, "calm"), ("b.jpg", BOX, "calm"), root=folder / "photos")
    predictions = found_in(("photos/a.jpg", BOX, "calm"), ("others/b.jpg", BOX, "sad"), root="")
    found = match(predictions, table)
    assert found.predictions.status == ("ok", "not predicted") and found.num_elsewhere == 1


def test_a_relative_path_that_names_two_pictures_is_refused(folder):
    table = table_of(("a.jpg", BOX, "calm"), (str(folder / "a.jpg"), BOX, "sad"), root=folder / "photos")
    with pytest.raises(TableError, match=r"predictions, a\.jpg: the table has a picture of this name in .*photos and in the"):
        match(found_in(("a.jpg", BOX, "calm"), root=""), table)


def test_predictions_of_other_pictures_are_refused_with_one_of_each(folder):
    table = table_of(("a.jpg", BOX, "calm"), root=folder / "photos")
    with pytest.raises(TableError, match=rf"such as in {re.escape(str(folder))}/photos/a\.jpg; they have such as moved/a\.jpg"):
        evaluate(found_in(("a.jpg", BOX, "calm"), root="moved/"), table)


def test_a_face_that_stands_twice_is_refused():
    predictions = found_in(("a.jpg", BOX, "calm"), ("b.jpg", BOX, "calm"))
    with pytest.raises(TableError, match="x#1: stands twice"):
        match(dataclasses.replace(predictions, samples=("x#1", "x#1")), table_of(("a.jpg", BOX, "calm")))


def test_pictures_that_were_not_asked_about_count_as_errors_in_the_splits_that_were():
    faces = [(f"{name}.jpg", BOX, "calm") for name in "abc"]
    table = table_of(*faces, split=["report", "report", "train"])
    report = evaluate(found_in(faces[0]), table, replicates=20)
    assert report.about["splits"] == {"report": 2} and report.about["without_answer"] == {"not predicted": 1}
    assert report.numbers["accuracy"].value == 0.5


def test_one_split_alone_is_judged_where_photos_of_several_were_predicted():
    faces = [(f"{name}.jpg", BOX, "calm") for name in "abc"]
    table = table_of(*faces, split=["report", "report", "train"])
    report = evaluate(found_in(*faces), table, split="report", replicates=20)
    assert report.about["num_faces"] == 2 and report.about["matching"]["elsewhere"] == 1


def test_rows_without_a_path_stay_without_an_answer():
    table = table_of(("a.jpg", BOX, "calm"), (None, BOX, "calm"))
    predictions = found_in(("a.jpg", BOX, "calm"), ("b.jpg", BOX, "calm"))
    predictions = dataclasses.replace(predictions, paths=("photos/a.jpg", None))
    assert match(predictions, table).predictions.status == ("ok", "not predicted")


def test_predictions_made_from_the_table_are_never_matched_by_picture():
    table = table_of(("a.jpg", BOX, "calm"), ("a.jpg", BESIDE, "sad"))
    own = dataclasses.replace(found_in(("a.jpg", BESIDE, "calm"), ("a.jpg", BOX, "sad")), samples=("face_0", "face_1"))
    assert not from_photos(own, table) and not from_photos(own.take(np.array([], int)), table)
    report = evaluate(own, table, replicates=20)
    assert report.numbers["accuracy"].value == 1 and report.about["matching"] is None


def test_a_picture_without_a_face_may_have_the_name_of_a_sample():
    table = table_of(("a.jpg", BOX, "calm"), ("b.jpg", BOX, "sad"), root=".")
    table = table.with_column("sample", ["a.jpg", "b.jpg"])
    predictions = found_in(("a.jpg", BOX, "calm"), ("b.jpg", None, "no face"), root="")
    assert evaluate(predictions, table, replicates=20).numbers["accuracy"].value == 0.5


# ---------------------------------------------------------------------- properties


def overlap_of(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def walk_down(predictions, table):
    """Returns the found face of each sample by the plain walk: the best pair first, each face and sample once."""
    rows = list(zip(predictions.samples, predictions.paths, predictions.boxes.tolist(), strict=True))
    faces = zip(table.samples, table.values("path"), table.values("box"), strict=True)
    pairs = [
        (-overlap_of(box, given), name, sample)
        for sample, path, given in faces
        for name, where, box in rows
        if where == f"photos/{path}"
    ]
    answers = {}
    for worth, name, sample in sorted(pairs):
        if -worth >= OVERLAP and sample not in answers and name not in answers.values():
            answers[sample] = name
    return answers


BOXES = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(8, 16)] * 2).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
PLACED = st.lists(st.tuples(st.sampled_from(["a.jpg", "b.jpg"]), BOXES), min_size=1, max_size=7)


@settings(max_examples=80, deadline=None)
@given(PLACED, PLACED, st.randoms(use_true_random=False))
def test_matching_is_the_plain_walk_one_to_one_and_of_any_order(given_faces, found_faces, random):
    found_faces = [*found_faces, (given_faces[0][0], (500, 500, 520, 520))]  # in a picture of the table, so that one is
    table = table_of(*((path, box, "calm") for path, box in given_faces))
    scores = np.arange(len(found_faces), dtype=np.float32)  # which tell where an answer came from
    predictions = found_in(*((path, box, "calm") for path, box in found_faces), scores=scores)
    names, expected = predictions.samples, walk_down(predictions, table)
    num_inside = sum(path in {path for path, _ in given_faces} for path, _ in found_faces)
    for _ in range(2):
        moved, num_extra, num_elsewhere = match(predictions, table)
        answers = zip(moved.samples, moved.scores, moved.answered, strict=True)
        chosen = {sample: names[int(score)] for sample, score, answered in answers if answered}
        assert chosen == expected and len(set(chosen.values())) == len(chosen)
        assert (num_extra, num_elsewhere) == (num_inside - len(chosen), len(found_faces) - num_inside)
        predictions, table = (each.take(np.array(random.sample(range(len(each)), len(each)))) for each in (predictions, table))
