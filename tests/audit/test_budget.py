import base64
import json

import numpy as np
import pytest

from mien.audit.budget import ALONE, PLACED, UNIFORM, fewest, lead, place_votes, simulate, together
from mien.audit.queue import ask_next, label_studio_config, write_queue
from mien.data.images import as_png, decode
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError


def crowd(faces=1500, seed=0):
    """Probabilities of a fair model and ten votes of people, who see one class more or less clearly; the fourth is none."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], faces) ** 2
    shares /= shares.sum(1, keepdims=True)
    votes = np.array([random.multinomial(10, [*(0.95 * row), 0.05]) for row in shares])
    probs = shares * np.exp(0.4 * random.normal(size=shares.shape)) * [1, 2, 1]
    return probs / probs.sum(1, keepdims=True), votes


@pytest.fixture(scope="module")
def points():
    probs, votes = crowd()
    return simulate(probs, votes, amounts=(0.5, 1), seeds=2)


def test_votes_placed_by_doubt_agree_more_often_than_as_many_for_each_face(points):
    reached = {(point.way, point.votes): point.agreement for point in points}
    assert {votes for way, votes in reached if way == ALONE} == set(range(1, 8))
    assert reached[PLACED, 1] > reached[UNIFORM, 1] > reached[ALONE, 1]
    assert reached[ALONE, 7] > reached[ALONE, 1]


def test_intervals_hold_the_value_and_classes_are_counted_apart(points):
    for point in points:
        assert point.low < point.agreement < point.high < point.low + 0.1
        assert len(point.classes) == 3 and 0 <= min(point.classes) <= point.agreement <= max(point.classes) <= 1


def test_the_fewest_votes_that_reach_an_agreement_are_named(points):
    alone = {point.votes: point.agreement for point in points if point.way == ALONE}
    assert fewest(points, alone[3])[ALONE] == min(votes for votes, share in alone.items() if share >= alone[3])
    assert fewest(points, 1.1) == {ALONE: None, UNIFORM: None, PLACED: None}


def test_the_reference_is_of_votes_that_nobody_asked_for():
    votes = np.zeros((40, 3), int)
    votes[:, 0] = votes[:, 1] = 2  # one of four is held out: where it is the other class, three asked votes cannot know
    found = simulate(np.full((40, 3), 1 / 3), votes, amounts=(), held_out=1, seeds=20)
    assert next(point.agreement for point in found if point.way == ALONE and point.votes == 3) == 0


@pytest.mark.parametrize("amount", [0.25, 1, 6, 7])
def test_as_many_votes_are_placed_as_are_said_to_be_asked(amount):
    probs, _ = crowd(faces=200)
    asked = np.random.default_rng(0).integers(0, 4, (200, 7))
    num = place_votes(probs, asked, amount, np.random.default_rng(0))
    assert num.sum() == 200 * amount and num.max() <= 7


def test_a_model_counts_for_as_many_votes_as_it_foretells_them_well():
    probs, _ = crowd()
    assert together(probs, np.zeros((1500, 3), int)).sum(1) == pytest.approx(3)
    random = np.random.default_rng(0)
    as_foretold = np.array([random.multinomial(10, row) for row in probs])
    all_alike = 10 * np.array([random.multinomial(1, row) for row in probs])
    assert together(probs, as_foretold).sum(1) == pytest.approx(10 + 12)
    assert together(probs, all_alike).sum(1) == pytest.approx(10 + 0.5)
    np.testing.assert_allclose(lead(np.array([[3.0, 1, 0], [2, 2, 1]])), [0.5, 0])


def test_no_face_is_asked_for_more_votes_than_it_has_and_the_budget_is_spent():
    probs, _ = crowd(200)
    asked = np.zeros((200, 2), int)
    for amount in (0.3, 1, 2):
        num = place_votes(probs, asked, amount, np.random.default_rng(0))
        assert num.max() <= 2 and num.sum() == round(200 * amount)


def test_too_few_votes_are_refused():
    with pytest.raises(TableError, match="most faces have 3 votes, 3 are held out"):
        simulate(np.full((5, 2), 0.5), np.tile([2, 1], (5, 1)))


@pytest.mark.parametrize("wrong", [{"held_out": 0}, {"held_out": -1}, {"seeds": 0}, {"amounts": (1, -1)}])
def test_a_budget_of_no_votes_or_no_seeds_is_refused(wrong):
    with pytest.raises(RecipeError, match="Expected 1 or more, votes above 0"):
        simulate(np.full((5, 2), 0.5), np.tile([2, 2], (5, 1)), **wrong)


@pytest.mark.parametrize(("count", "at_most"), [(-1, 10), (0, 10), (5, 0)])
def test_a_queue_of_no_faces_is_refused(count, at_most):
    table = SampleTable.from_columns({"sample": ["a", "b"]}, classes=("x", "y"))
    with pytest.raises(RecipeError, match=f"ask: count is {count}, at_most {at_most}"):
        ask_next(table, np.full((2, 2), 0.5), count, at_most=at_most)


def test_a_queue_begins_where_model_and_votes_are_least_sure(tmp_path, capsys):
    table = SampleTable.from_columns(
        {
            "sample": list("abcde"),
            "path": ["images-00000.parquet#0", *(f"{name}.png" for name in "bcde")],
            "votes": [[0, 0], [1, 1], [0, 0], [9, 1], [0, 0]],
        },
        classes=("x", "y"),
        vote_names=("x", "y"),
        root=tmp_path,
    )
    probs = np.array([[0.6, 0.4], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [np.nan, np.nan]])
    queue = ask_next(table, probs, 10)
    assert [entry["sample"] for entry in queue] == ["b", "a", "c"]  # d has ten votes, e no answer
    assert queue[0]["votes"] in ("x 1, y 1", "y 1, x 1") and queue[1]["likely"] == ["x", "y"]
    assert queue[1]["picture"] == "", "no other program can open a row of a packed file"
    write_queue(queue, tmp_path / "queue.csv", table)
    assert "a .json for Label Studio holds them" in capsys.readouterr().err
    assert len((tmp_path / "queue.csv").read_text().splitlines()) == 4
    write_queue(queue, tmp_path / "queue.json", table)
    tasks = json.loads((tmp_path / "queue.json").read_text())
    assert [task["data"]["sample"] for task in tasks] == ["b", "a", "c"] and not any(task["data"]["image"] for task in tasks)
    assert "3 pictures could not be read" in capsys.readouterr().err
    write_queue([], tmp_path / "empty.json", table)
    assert json.loads((tmp_path / "empty.json").read_text()) == []
    assert 'value="$image"' in label_studio_config(table.classes) and '<Choice value="y"/>' in label_studio_config(
        table.classes
    )
    with pytest.raises(TableError, match=r"ends in \.csv or \.json"):
        write_queue(queue, tmp_path / "queue.txt", table)


def test_tasks_of_label_studio_hold_each_face_cut_out_of_its_photo(tmp_path):
    photo = np.zeros((20, 40, 3), np.uint8)
    photo[:, 20:] = 200  # the second face is light
    (tmp_path / "two.png").write_bytes(as_png(photo.transpose(2, 0, 1)))
    table = SampleTable.from_columns(
        {"sample": ["dark", "light"], "path": ["two.png"] * 2, "box": [[0.0, 0.0, 20.0, 20.0], [20.0, 0.0, 40.0, 20.0]]},
        classes=("x", "y"),
        root=tmp_path,
    )
    write_queue(ask_next(table, np.array([[0.6, 0.4], [0.7, 0.3]]), 2), tmp_path / "queue.json", table)
    for task, shade in zip(json.loads((tmp_path / "queue.json").read_text()), (0, 200), strict=True):
        kind, png = task["data"]["image"].split(",")
        assert kind == "data:image/png;base64" and abs(decode(base64.b64decode(png), channels=1).mean() - shade) < 10
