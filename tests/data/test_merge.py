import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.data.check import check
from mien.data.merge import merge
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import TableError


def table(*samples, classes=("a", "b"), answers=(), votes=None, **options):
    about = {key: options.pop(key) for key in ("root", "source", "licence", "label_rule", "how") if key in options}
    columns = {"sample": samples, **options, **({} if votes is None else {"votes": np.array(votes, np.int16)})}
    names = (*classes, *answers) if votes is not None else ()
    return SampleTable.from_columns(columns, classes=classes, vote_names=names, **about)


def refusal(*given, **options):
    with pytest.raises(TableError) as error:
        merge(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_classes_are_joined_by_name_in_order_of_first_appearance():
    one = table("s", classes=("a", "b"), answers=("unknown",), votes=[[1, 2, 3]], label=["b"])
    two = table("t", classes=("c", "b"), answers=("no face", "unknown"), votes=[[4, 5, 6, 7]], label=["c"])
    made = merge([one, two], ["one", "two"])
    assert made.classes == ("a", "b", "c")
    assert made.vote_names == ("a", "b", "c", "unknown", "no face")
    assert made.votes.tolist() == [[1, 2, 0, 3, 0], [0, 5, 4, 7, 6]]
    assert made.values("label").tolist() == ["b", "c"]


def test_given_classes_decide_order_and_who_stays():
    one = table("s", votes=[[1, 2]], label=["b"]).with_candidates(np.array([[True, True]]))
    two = table("t", classes=("c", "b"), votes=[[4, 5]], label=["c"]).with_candidates(np.array([[True, False]]))
    made = merge([one, two], ["one", "two"], classes=("b", "a"))
    assert made.classes == ("b", "a") and made.vote_names == ("b", "a", "c")
    assert made.votes.tolist() == [[2, 1, 0], [5, 0, 4]]
    assert made.values("label").tolist() == ["b", None]
    assert made.candidates.tolist() == [[True, True], [False, False]]


def test_an_answer_of_one_table_that_is_a_class_of_another_becomes_a_class():
    one = table("s", answers=("c",), votes=[[1, 2, 3]])
    made = merge([one, table("t", classes=("c", "a"), votes=[[4, 5]])], ["one", "two"])
    assert made.vote_names == made.classes == ("a", "b", "c")
    assert made.votes.tolist() == [[1, 2, 3], [5, 0, 4]]


def test_columns_that_one_table_lacks_are_null_there(tmp_path):
    one = table("s", votes=[[1, 2]], group=["g"], box=[[0, 0, 2, 2]])
    two = table("t", "u", label=["a", None], age=[3, 4]).with_candidates(np.array([[True, False], [False, False]]))
    for pair in ([one, two], [two, one]):
        merge(pair, ["one", "two"]).write(tmp_path / "made.parquet", overwrite=True)
        made = SampleTable.read(tmp_path / "made.parquet")
        rows = dict(zip(made.samples, range(3), strict=True))
        assert made.votes[[rows["s"], rows["t"]]].tolist() == [[1, 2], [0, 0]]
        assert made.values("age")[[rows["s"], rows["u"]]].tolist() == [None, 4]
        assert made.candidates[[rows["s"], rows["t"]]].tolist() == [[False, False], [True, False]]
        assert made.values("group")[[rows["s"], rows["t"]]].tolist() == ["g", None]


def test_an_id_in_two_tables_is_refused_unless_prefixed():
    one, two, three = table("s", "t"), table("u", "t"), table("u", "s")
    message = refusal([one, two, three], ["one", "two", "three"])
    assert "sample t stands in one and in two" in message and "--prefix" in message
    made = merge([one, two, three], ["one", "two", "three"], prefix=True)
    assert made.samples == ["one/s", "one/t", "two/u", "two/t", "three/u", "three/s"]
    message = refusal([one, two], ["same", "same"], prefix=True)
    assert "sample t stands in same and in same" in message and "rename one file" in message


def test_tables_of_one_name_may_be_prefixed_where_their_ids_differ():
    assert merge([table("s"), table("t")], ["x", "x"], prefix=True).samples == ["x/s", "x/t"]


def test_pictures_are_found_below_the_folder_that_all_roots_lie_in(tmp_path):
    for name in ("sets/one/a.png", "sets/two/deep/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (4, 4), np.uint8)).save(tmp_path / name)
    one = table("s", path=["a.png"], root=tmp_path / "sets" / "one")
    two = table("t", path=["deep/b.png"], root=tmp_path / "sets" / "two")
    made = merge([one, two, drawn.read(faces=2).with_classes(("a", "b"))], ["one", "two", "drawn"])
    assert made.root == tmp_path / "sets"
    assert made.values("path").tolist() == ["one/a.png", "two/deep/b.png", None, None]
    assert check(made)["ok"]
    inside = merge([one, table("t", path=["two/deep/b.png"], root=tmp_path / "sets")], ["one", "sets"])
    assert inside.values("path").tolist() == ["one/a.png", "two/deep/b.png"]
    same = merge([one, table("t", path=["a.png"], root=one.root)], ["one", "two"])
    assert (same.root, same.values("path").tolist()) == (one.root, ["a.png", "a.png"])


def test_roots_without_a_common_folder_make_paths_absolute():
    made = merge([table("s", path=["a.png"], root="/one"), table("t", path=["b.png"], root="/two/x")], ["one", "two"])
    assert made.root is None
    assert made.values("path").tolist() == ["/one/a.png", "/two/x/b.png"]
    assert made.image_path(1).as_posix() == "/two/x/b.png"


def test_a_table_without_a_root_counts_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = merge([table("s", path=["a.png"]), table("t", path=["b.png"], root=tmp_path / "x")], ["one", "two"])
    assert made.root is not None and os.path.samefile(made.root, tmp_path)
    assert made.values("path").tolist() == ["a.png", "x/b.png"]


def test_licences_sources_and_history_travel_joined():
    one = table("s", source="One", licence="research only", how=[{"step": "import", "faces": 1}])
    two = table("t", "u", source="Two", licence="CC0")
    made = merge([one, two, table("v", source="One", licence="research only")], ["1", "2", "3"])
    assert made.source == "One + Two"
    assert made.licence == "One: research only; Two: CC0"
    assert made.how == (
        {"step": "import", "faces": 1, "table": "1"},
        {"step": "merge", "faces": {"1": 1, "2": 2, "3": 1}},
    )
    assert merge([one, table("t", licence="research only")], ["1", "2"]).licence == "research only"
    assert merge([one, table("t")], ["1", "2"]).licence == "One: research only; 2: not stated"
    assert merge([table("s"), table("t")], ["1", "2"]).licence is None


def test_how_faces_were_cut_stays_only_where_all_tables_share_it():
    one, two = (replace(table(name), geometry={"margin": 1.2}) for name in "st")
    assert merge([one, two], ["1", "2"]).geometry == {"margin": 1.2}
    assert merge([one, table("t")], ["1", "2"]).geometry is None


def test_the_label_rule_stays_only_where_all_tables_share_it():
    one, two = table("s", label_rule="any"), table("t", label_rule="any")
    assert merge([one, two], ["1", "2"]).label_rule == "any"
    assert merge([one, table("t")], ["1", "2"]).label_rule is None


def test_columns_of_different_kinds_are_refused_and_of_related_kinds_joined():
    message = refusal([table("s"), table("t", age=["old"]), table("u", age=[3])], ["1", "2", "3"])
    assert "a column of 3 holds another kind" in message and "age" in message
    made = merge([table("s", age=[0.5]), table("t", age=[3])], ["1", "2"])
    assert made.values("age").tolist() == [0.5, 3]


def test_inputs_stay_as_they_are():
    one, two = table("s", votes=[[1, 2]]), table("t", classes=("b", "c"), votes=[[1, 2]])
    before = one.columns, two.columns
    merge([one, two], ["1", "2"], prefix=True)
    assert (one.columns, two.columns) == before and one.classes == ("a", "b")
