import json

import numpy as np
import pytest

from mien import candidates
from mien.cli import main
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("a", "b", "c", "d")


def table(labels):
    columns = {"sample": [f"s{row}" for row in range(len(labels))], "label": labels}
    return SampleTable.from_columns(columns, classes=CLASSES)


def test_each_wrong_class_joins_at_the_rate_and_the_label_always():
    faces = table(["a", "b", "c", "d"] * 1000)
    sets = candidates.flip(faces, rate=0.3).candidates
    own = faces.labels()[:, None] == np.arange(4)
    assert sets[own].all()
    assert abs(sets[~own].mean() - 0.3) < 0.02  # four standard errors are 0.017


def test_no_rate_leaves_the_label_alone_and_full_rate_adds_every_class():
    assert (candidates.flip(table(["a", "d"]), rate=0).candidates == [[1, 0, 0, 0], [0, 0, 0, 1]]).all()
    assert candidates.flip(table(["a", "d"]), rate=1).candidates.all()


def test_confusions_say_which_class_joins_how_often():
    along = {"a": {"b": 2, "c": 1, "a": 50}, "b": {"d": 1}}
    faces = table(["a"] * 3000 + ["b", "c"])
    sets = candidates.flip(faces, rate=0.2, along=along).candidates
    np.testing.assert_allclose(sets[:3000].mean(0), [1, 0.4, 0.2, 0], atol=0.04)
    assert not sets[3000, [0, 2]].any() and (sets[3001] == [0, 0, 1, 0]).all()


def test_probabilities_say_which_class_joins_how_often_and_faces_without_get_no_set():
    probs = np.tile([0.5, 0.25, 0.25, 0.0], (3001, 1))
    probs[-1] = np.nan
    sets = candidates.flip(table(["a"] * 3001), rate=0.2, probs=probs).candidates
    np.testing.assert_allclose(sets[:-1].mean(0), [1, 0.3, 0.3, 0], atol=0.04)
    assert not sets[-1].any()


def test_draws_depend_on_the_seed_and_the_id_alone_and_grow_with_the_rate():
    faces = table(["a", "b", None, "d"] * 50)
    made = candidates.flip(faces, rate=0.4, seed=3)
    order = np.random.default_rng(0).permutation(200)
    assert (candidates.flip(faces.take(order), rate=0.4, seed=3).candidates == made.candidates[order]).all()
    assert (candidates.flip(faces, rate=0.4, seed=4).candidates != made.candidates).any()
    assert (candidates.flip(faces, rate=0.5, seed=3).candidates >= made.candidates).all()
    assert not made.candidates[2].any()
    assert made.how[-1] == {
        **{"step": "candidates", "name": "flip", "rate": 0.4, "kind": "uniform", "seed": 3},
        "without": 50,
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 1.2}, "rate is 1.2. Expected a probability"),
        ({"along": {"a": {"e": 1}}}, "confusions name 'e', which is no class"),
        ({"along": {"a": {"b": -1}}}, "confusions of a with b are -1. Expected a number from 0"),
        ({"along": {}, "probs": np.ones((1, 4))}, "both given. Expected one"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, says):
    with pytest.raises(RecipeError, match=says):
        candidates.flip(table(["a"]), **options)


def test_a_table_without_labels_is_refused():
    with pytest.raises(TableError, match="of 2 rows none has a label"):
        candidates.flip(table([None, None]))


def test_the_command_writes_the_table_and_its_history(tmp_path):
    table(["a", "b", "c"]).write(tmp_path / "faces.parquet")
    (tmp_path / "along.json").write_text(json.dumps({"a": {"d": 1}}))
    paths = [str(tmp_path / name) for name in ("faces.parquet", "sets.parquet", "along.json")]
    assert main(["candidates", "flip", paths[0], "--out", paths[1], "--rate", "1", "--along", paths[2], "--seed", "5"]) == 0
    made = SampleTable.read(tmp_path / "sets.parquet")
    assert (made.candidates == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]).all()
    assert made.how[-1]["seed"] == 5 and made.how[-1]["along"] == {"a": {"d": 1}}
