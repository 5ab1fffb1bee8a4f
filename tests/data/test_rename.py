import numpy as np
import pytest

from mien import cli
from mien.data.rename import rename
from mien.data.table import SampleTable
from mien.errors import TableError


@pytest.fixture
def table():
    columns = {
        "sample": list("abc"),
        "label": ["Freude", None, "Wut"],
        "label_before": ["Wut", "Wut", "Wut"],
        "votes": np.array([[2, 0, 1], [0, 0, 3], [0, 3, 0]], np.int16),
        "candidates": np.array([[True, False], [False, False], [True, True]]),
    }
    return SampleTable.from_columns(columns, classes=("Freude", "Wut"), vote_names=("Freude", "Wut", "unsicher"))


def test_classes_and_answers_are_called_otherwise_and_stay_what_they_are(table, tmp_path, capsys):
    table.write(tmp_path / "faces.parquet")
    names = {"Freude": "happiness", "Wut": "anger", "unsicher": "unknown"}
    options = [word for old, new in names.items() for word in (f"--names.{old}", new)]
    assert (
        cli.main(["data", "rename", str(tmp_path / "faces.parquet"), *options, "--out", str(tmp_path / "named.parquet")]) == 0
    )
    made = SampleTable.read(tmp_path / "named.parquet")
    assert made.classes == ("happiness", "anger") and made.vote_names == ("happiness", "anger", "unknown")
    assert made.values("label").tolist() == ["happiness", None, "anger"] and set(made.values("label_before")) == {"anger"}
    np.testing.assert_array_equal(made.votes, table.votes)
    np.testing.assert_array_equal(made.candidates, table.candidates)
    assert "rename" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--names.a.b", "x.y", "--names.c", "z"], ["--names", '{"a.b": "x.y", "c": "z"}']])
def test_a_name_may_hold_dots(tmp_path, options):
    table = SampleTable.from_columns({"sample": ["s"], "label": ["a.b"]}, classes=("a.b", "c"))
    table.write(tmp_path / "faces.parquet")
    assert cli.main(["data", "rename", str(tmp_path / "faces.parquet"), *options, "--out", str(tmp_path / "n.parquet")]) == 0
    assert SampleTable.read(tmp_path / "n.parquet").classes == ("x.y", "z")


def test_names_may_be_exchanged(table):
    swapped = rename(table, {"Freude": "Wut", "Wut": "Freude"})
    assert swapped.classes == ("Wut", "Freude") and swapped.values("label").tolist() == ["Wut", None, "Freude"]


@pytest.mark.parametrize(
    ("names", "said"),
    [({"Freud": "joy"}, "no class or answer is called Freud. Did you mean Freude"), ({"Wut": "unsicher"}, "called unsicher")],
)
def test_unknown_names_and_one_name_for_two_are_refused(table, names, said):
    with pytest.raises(TableError, match=said):
        rename(table, names)


def test_other_words_for_the_classes_of_a_preset_become_its_names(tmp_path, capsys):
    old = ("Happy", "ANGRY", "scared", "neutral", "Zorn", "calm")
    SampleTable.from_columns(
        {"sample": ["s"], "label": ["Happy"], "votes": [[3, 0, 0, 0, 0, 1, 2]]}, classes=old, vote_names=(*old, "unknown")
    ).write(tmp_path / "faces.parquet")
    tokens = ["data", "rename", str(tmp_path / "faces.parquet"), "--to", "ferplus", "--names.Zorn", "contempt"]
    assert cli.main([*tokens, "--out", str(tmp_path / "n.parquet")]) == 0
    made = SampleTable.read(tmp_path / "n.parquet")
    assert made.classes == ("happiness", "anger", "fear", "neutral", "contempt", "calm")
    assert made.vote_names == (*made.classes, "unknown") and made.values("label").tolist() == ["happiness"]
    assert made.how[-1]["names"] == {"Happy": "happiness", "ANGRY": "anger", "scared": "fear", "Zorn": "contempt"}
    assert "no names of ferplus, and left as they are: calm, unknown;" in capsys.readouterr().err


def test_a_name_that_the_preset_lacks_stays_and_names_have_the_last_word(table):
    contempt = rename(table, {"Freude": "contemptuous", "Wut": "happy"})
    assert rename(contempt, {}, to="rafdb").classes == ("contemptuous", "happiness")
    assert rename(contempt, {"happy": "joy"}, to="affectnet8").classes == ("contempt", "joy")
    with pytest.raises(TableError, match="two classes or answers would be called fear"):
        rename(rename(table, {"Freude": "scared", "Wut": "afraid"}), {}, to="ferplus")


def test_no_new_names_are_refused(table, tmp_path, capsys):
    table.write(tmp_path / "faces.parquet")
    assert cli.main(["data", "rename", str(tmp_path / "faces.parquet"), "--out", str(tmp_path / "n.parquet")]) == 2
    assert "Expected --names.OLD NEW, --to or both" in capsys.readouterr().err
