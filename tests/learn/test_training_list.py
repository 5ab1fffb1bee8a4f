import numpy as np
import pytest

from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.learn.training_list import prepare, read_table, say_replaced_sets, training_list
from mien.recipe import Recipe

VOTES = np.array([[3, 1, 0, 0], [0, 0, 0, 5], [2, 2, 0, 1], [1, 0, 3, 0], [9, 0, 0, 0]], np.int16)
RECIPE = Recipe.from_dict(
    {
        "data": {"table": "faces.parquet"},
        "model": {"encoder": "vit_small_48", "image_size": 48},
        "views": {"weak": {}},
        "objective": "cross_entropy",
        "optimizer": {"lr": 0.1},
        "train": {"epochs": 1},
    }
)


@pytest.fixture
def table():
    columns = {
        "sample": ["a", "b", "c", "d", "e"],
        "split": ["train", "train", "train", "train", "report"],
        "label": ["x", None, None, "z", "x"],
        "votes": VOTES,
        "candidates": np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool),
    }
    return SampleTable.from_columns(columns, classes=("x", "y", "z"), vote_names=("x", "y", "z", "unknown"))


@pytest.mark.parametrize(
    ("learns_from", "samples", "targets", "class_counts"),
    [
        ("images", ["a", "b", "c", "d"], None, None),
        ("label", ["a", "d"], [[1, 0, 0], [0, 0, 1]], [1, 0, 1]),
        ("votes", ["a", "c", "d"], [[0.75, 0.25, 0], [0.5, 0.5, 0], [0.25, 0, 0.75]], [1.5, 0.75, 0.75]),
        ("candidates", ["a", "c", "d"], [[1, 1, 0], [1, 1, 0], [0, 0, 1]], [1, 1, 1]),
    ],
)
def test_rows_of_the_training_split_that_have_what_is_learned_from_are_kept(table, learns_from, samples, targets, class_counts):
    found = training_list(table, RECIPE, learns_from)
    assert found.table.samples == samples and found.left_out == 4 - len(samples) and found.data.num_samples == len(samples)
    assert (None if found.data.targets is None else found.data.targets.tolist()) == targets
    assert (None if found.data.class_counts is None else found.data.class_counts.tolist()) == class_counts
    rows = ["abcde".index(sample) for sample in samples]
    assert found.data.votes.tolist() == VOTES[rows].tolist()
    assert found.data.label.tolist() == [[0, -1, -1, 2, 0][row] for row in rows]


def test_what_is_kept_of_a_list_tells_another_order_or_another_sample(table):
    about = training_list(table, RECIPE, "votes").about()
    assert about["samples"] == ["a", "c", "d"] and about["num_samples"] == 3 and about["left_out"] == 1
    turned = training_list(table.take(np.array([2, 0, 3])), RECIPE, "votes").about()
    fewer = training_list(table.take(np.array([0, 2])), RECIPE, "votes").about()
    assert len({about["hash"], turned["hash"], fewer["hash"]}) == 3


def test_a_table_without_candidates_says_how_to_get_them(table):
    without = SampleTable.from_columns(
        {"sample": ["a"], "split": ["train"], "votes": VOTES[:1]}, classes=table.classes, vote_names=table.vote_names
    )
    with pytest.raises(TableError, match=r"faces\.parquet: of 1 rows in train none has candidates\. Add a candidates section"):
        training_list(without, RECIPE, "candidates")


@pytest.mark.parametrize("learns_from", ["label", "votes", "candidates"])
def test_a_column_in_which_no_row_of_the_split_has_anything_is_as_good_as_none(table, learns_from):
    empty = table.take(np.array([1, 4]))  # of the training split only the row without a label, class votes and candidates
    with pytest.raises(TableError, match=rf"of 1 rows in train none has {learns_from}"):
        training_list(empty, RECIPE, learns_from)


def recipe_with(**sections):
    return Recipe.from_dict({**RECIPE.model_dump(), **sections})


def test_a_recipe_can_ask_for_candidates_of_its_own(table):
    assert prepare(table, RECIPE) is table
    built = prepare(table, recipe_with(candidates={"name": "votes", "at_least": 3}))
    assert built.candidates[[0, 2, 3]].tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    with pytest.raises(RecipeError, match=r"candidates\.at_last is not an argument of votes\. Did you mean at_least\?"):
        prepare(table, recipe_with(candidates={"name": "votes", "at_last": 3}))


def test_sets_of_the_table_that_a_recipe_builds_anew_are_counted(table, capsys):
    own = recipe_with(candidates={"name": "votes", "at_least": 3})  # of the sets of the four training faces it changes one
    for recipe, folded in ((own, False), (RECIPE, False), (own, True)):
        made = prepare(table, recipe)
        say_replaced_sets(table, made.take(np.array([0, 4])) if folded else made, recipe)
    says = "1 faces have another candidate set in the table; the recipe builds them anew by votes. --candidates null keeps"
    assert [line[: len(says)] for line in capsys.readouterr().err.splitlines()] == [says, says]


def test_another_label_rule_changes_the_training_rows_alone(table):
    found = prepare(table, recipe_with(data={"table": "faces.parquet", "rule": "any"}))
    assert found.values("label").tolist() == ["x", None, "x", "z", "x"] and found.label_rule == "any"
    odd = table.with_column("label", ["z", "z", "z", "z", "z"])
    assert prepare(odd, recipe_with(data={"table": "faces.parquet", "rule": "majority"})).values("label")[4] == "z"


def test_fewer_votes_are_left_to_the_training_rows_alone_and_everything_follows_from_them(table):
    data = {"table": "faces.parquet", "votes_per_face": 1, "rule": "any"}
    found = prepare(table, recipe_with(data=data, candidates={"name": "votes", "at_least": 1}))
    assert found.votes[:4].sum(1).tolist() == [1, 1, 1, 1] and (found.votes <= VOTES).all()
    assert found.votes[4].tolist() == VOTES[4].tolist()
    assert found.candidates[:4].sum(1).tolist() == found.class_votes[:4].sum(1).tolist()
    for row in range(4):
        told = found.class_votes[row]
        assert found.values("label")[row] == (table.classes[told.argmax()] if told.any() else None)


def test_rows_without_a_label_can_be_left_out_whatever_is_learned_from(table):
    labelled = recipe_with(data={"table": "faces.parquet", "labelled_only": True})
    found = training_list(table, labelled, "candidates")
    assert found.table.samples == ["a", "d"] and found.left_out == 2
    with pytest.raises(TableError, match="none has votes and a label"):
        training_list(table.take(np.array([1, 2])), labelled, "votes")


# ---------------------------------------------------------------------- several tables


def write_table(path, samples, *, classes=("x", "y"), label=None, split="train", root=None):
    columns = {
        "sample": samples,
        "path": [f"{sample}.png" for sample in samples],
        "split": [split] * len(samples) if isinstance(split, str) else split,
        "label": [label or classes[0]] * len(samples),
    }
    table = SampleTable.from_columns(columns, classes=classes, root=root or path.parent / path.stem, source=path.stem)
    table.write(path)
    return str(path)


def recipe_of(*tables, objective="cross_entropy", **data):
    return Recipe.from_dict({**RECIPE.model_dump(), "objective": objective, "data": {"table": list(tables), **data}})


def test_several_tables_are_joined_by_class_name_and_each_finds_its_own_pictures(tmp_path):
    one = write_table(tmp_path / "one.parquet", ["a", "b"], label="y")
    two = write_table(tmp_path / "two.parquet", ["c"], classes=("y", "x"), label="y", root=tmp_path / "elsewhere" / "faces")
    table = read_table(recipe_of(one, two))
    assert (table.classes, table.samples) == (("x", "y"), ["a", "b", "c"])
    assert table.labels().tolist() == [1, 1, 1]
    places = [table.image_path(row) for row in range(3)]
    assert places == [tmp_path / "one" / "a.png", tmp_path / "one" / "b.png", tmp_path / "elsewhere" / "faces" / "c.png"]
    assert len(training_list(table, recipe_of(one, two), "label").table) == 3


def test_a_list_of_one_table_is_that_table(tmp_path):
    one = write_table(tmp_path / "one.parquet", ["a", "b"])
    assert read_table(recipe_of(one)).columns.equals(SampleTable.read(one).columns)


def test_ids_that_stand_in_two_tables_get_the_name_of_their_file(tmp_path):
    tables = [write_table(tmp_path / f"{name}.parquet", samples) for name, samples in (("one", ["a"]), ("two", ["a", "b"]))]
    assert read_table(recipe_of(*tables)).samples == ["one/a", "two/a", "two/b"]


def test_a_face_that_one_table_holds_out_is_learned_from_in_none(tmp_path):
    faces = tmp_path / "faces"
    splits = ["train", "test", "report", "select"]
    one = write_table(tmp_path / "one.parquet", ["a", "b", "c", "d"], split=splits, root=faces)
    two = write_table(tmp_path / "two.parquet", ["a", "b", "c", "d", "e"], root=faces)
    table = read_table(recipe_of(one, two))
    assert training_list(table, recipe_of(one, two), "images").table.samples == ["one/a", "two/a", "two/e"]
    assert table.how[-1] == {"step": "apart", "held_out_elsewhere": 3}
    assert table.splits[:4].tolist() == splits


def test_a_table_with_other_classes_is_refused_unless_pictures_alone_are_learned_from(tmp_path):
    one = write_table(tmp_path / "one.parquet", ["a"])
    two = write_table(tmp_path / "two.parquet", ["b"], classes=("x", "z"))
    with pytest.raises(TableError) as error:
        read_table(recipe_of(one, two))
    assert str(error.value).startswith(f"table {two}: classes are x, z, but x, y in {one}. cross_entropy learns from label")
    table = read_table(recipe_of(one, two, objective="maskfeat"))
    assert table.samples == ["a", "b"] and set(table.splits) == {"train"}


def test_a_missing_table_of_a_list_is_named(tmp_path):
    one = write_table(tmp_path / "one.parquet", ["a"])
    with pytest.raises(TableError, match=r"two\.parquet: no such file"):
        read_table(recipe_of(one, str(tmp_path / "two.parquet")))


def test_an_error_names_all_tables(tmp_path):
    tables = [write_table(tmp_path / f"{name}.parquet", [name], split="report") for name in ("one", "two")]
    recipe = recipe_of(*tables)
    with pytest.raises(TableError, match=r"table one\.parquet \+ two\.parquet: of 0 rows in train none has label"):
        training_list(read_table(recipe), recipe, "label")
