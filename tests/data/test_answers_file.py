import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien import cli
from mien.candidates.answers import answers
from mien.classes import FERPLUS
from mien.cli.answer_commands import read_key
from mien.data.readers import answers_file
from mien.data.readers.answers_file import read_answers
from mien.data.table import SampleTable
from mien.errors import RunError, TableError

COLUMNS = {"path": "Bild", "annotator": "Person", "answer": "Urteil", "seconds": "Dauer", "group": "Film"}
EXPORT = """Bild;Person;Urteil;Dauer;Film;Notiz
b/a.png;Änne;Freude ;8,8;f1;gut
b/a.png;Bo;Freude;2;f1;"a;b"
b/c.png;Änne;Wut;1,5;f2;
b/c.png;Bo;;;f2;
b/a.png;Cy;unsicher;;f1;
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a", "c"):
        Image.new("L", (4, 4)).save(tmp_path / "b" / f"{name}.png")
    return tmp_path


def write(folder, text):
    (folder / "export.csv").write_text(text, encoding="utf-8-sig")
    return folder / "export.csv"


def read(folder, text=EXPORT, **options):
    options = {"other_answers": ("unsicher",), "columns": COLUMNS, **options}
    return answers_file.read(write(folder, text), classes=("Freude", "Wut"), **options)


def test_one_row_per_answer_becomes_votes_labels_and_splits_as_counts_do(folder):
    table, given = read(folder)
    assert table.samples == ["b/a", "b/c"] and table.vote_names == ("Freude", "Wut", "unsicher")
    np.testing.assert_array_equal(table.votes, [[2, 0, 1], [0, 1, 0]])
    assert table.values("label").tolist() == ["Freude", None] and table.label_rule == "majority"
    assert table.values("group").tolist() == ["f1", "f2"] and "Notiz" not in table and table.source == "export"
    assert [step["step"] for step in table.how] == ["answers", "import", "label", "split"]
    assert given["annotator"].to_pylist() == ["Änne", "Bo", "Änne", "Cy"]
    assert given["seconds"].to_pylist() == [8.8, 2, 1.5, None]


def test_a_file_that_was_imported_is_read_again_for_its_answers(folder):
    table, _ = read(folder)
    given = read_answers(
        folder / "export.csv", key="k", columns={role: COLUMNS[role] for role in ("path", "annotator", "answer")}
    )
    np.testing.assert_array_equal(answers(table, given).votes, table.votes)


def test_paths_below_the_root_lose_its_name_in_faces_and_answers_alike(folder):
    table, given = read(folder, EXPORT.replace("b/", f"{folder}/b/"))
    assert table.samples == ["b/a", "b/c"]
    assert given["sample"].to_pylist() == ["b/a", "b/a", "b/c", "b/a"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (";Wut;", ";Wutt;", "line 4 (b/c): answer 'Wutt' is unknown. Expected one of: Freude, Wut, unsicher"),
        (";Bo;Freude;", ";Änne;Freude;", "line 3 (b/a): annotator 'Änne' answers twice"),
        (";f1;\n", ";f9;\n", "line 6: group of b/a is 'f9', but 'f1' in line 2"),
        (";1,5;", ";bald;", "line 4: seconds are 'bald'"),
        ("b/c.png", "b/x.png", "line 4: picture b/x.png is not in"),
        ("Urteil", "Antwort", "there is no column Urteil"),
    ],
)
def test_what_cannot_be_counted_is_named_with_file_and_line(folder, old, new, says):
    with pytest.raises(TableError) as error:
        read(folder, EXPORT.replace(old, new))
    assert "export.csv" in str(error.value) and says in str(error.value), str(error.value)


def test_without_a_picture_s_column_the_option_is_named(folder):
    with pytest.raises(TableError, match=r"no column path or image. Name the one that is: --columns.path NAME, in Python"):
        read(folder, columns={"annotator": "Person", "answer": "Urteil"})


def test_identities_are_hashed_where_they_are_kept_and_else_forgotten(folder, capsys):
    options = [f"--columns.{role}={name}" for role, name in COLUMNS.items()]
    tokens = ["data", "import", "answers", write(folder, EXPORT), "--classes", "Freude", "Wut", "--other-answers", "unsicher"]
    tokens = [*map(str, tokens), *options, "--out", str(folder / "faces.parquet"), "--keep", str(folder / "kept.parquet")]
    assert cli.main(tokens) == 2
    assert "--keep and --key-file together" in capsys.readouterr().err
    (folder / "secret.txt").write_text("secret\n")
    assert cli.main([*tokens, "--key-file", str(folder / "secret.txt")]) == 0
    kept = pq.read_table(folder / "kept.parquet")
    expected = read_answers(folder / "export.csv", key="secret", columns={k: v for k, v in COLUMNS.items() if k != "group"})
    assert kept.equals(expected.drop_columns(["where"]))
    assert "Änne".encode() not in (folder / "faces.parquet").read_bytes() + (folder / "kept.parquet").read_bytes()
    assert len(SampleTable.read(folder / "faces.parquet")) == 2
    assert "warning: no face is in select, calibrate" in capsys.readouterr().err


def test_answers_that_were_imported_with_a_key_are_not_added_again(folder):
    table, given = read(folder, key="secret")
    more = read_answers(
        write(folder, EXPORT + "b/c.png;Cy;Wut;1;f2;\n"),
        key="secret",
        columns={k: v for k, v in COLUMNS.items() if k != "group"},
    )
    added = answers(table, more, add=True)
    np.testing.assert_array_equal(np.subtract(added.votes, table.votes), [[0, 0, 0], [0, 1, 0]])
    assert "answered" not in read(folder)[0] and len(given) == 4


def test_an_annotator_s_number_is_one_person_also_where_pandas_wrote_it_as_7_0(folder):
    header = "sample,annotator,answer\n"
    once = read_answers(write(folder, header + "a,7,Wut\n"), key="k")["annotator"]
    assert read_answers(write(folder, header + "a,7.0,Wut\nb,,\n"), key="k")["annotator"] == once
    pq.write_table(pa.table({"sample": ["a"], "annotator": [7.0], "answer": ["Wut"]}), folder / "export.parquet")
    assert read_answers(folder / "export.parquet", key="k")["annotator"] == once


def test_an_image_column_holds_paths_as_it_does_in_a_table_of_faces(folder):
    text = "image,annotator,answer\nb/a.png,Bo,Freude\nb/a.png,Cy,Freude\nb/c.png,Bo,Wut\n"
    table, given = read(folder, text, columns=None)
    assert table.samples == ["b/a", "b/c"] and table.values("path").tolist() == ["b/a.png", "b/c.png"]
    assert given["sample"].to_pylist() == ["b/a", "b/a", "b/c"]


def test_a_key_is_the_same_with_a_byte_order_mark_and_no_other_encoding_is_taken_for_one(tmp_path):
    key = tmp_path / "secret.txt"
    for encoding in ("utf-8", "utf-8-sig"):
        key.write_text("Schlüssel\n", encoding=encoding)
        assert read_key(key) == "Schlüssel"
    for encoding in ("latin-1", "utf-16"):
        key.write_text("Schlüssel\n", encoding=encoding)
        with pytest.raises(TableError, match=r"secret\.txt: not UTF-8 text\. Expected .*; save it as UTF-8"):
            read_key(key)


def test_the_answers_are_not_kept_in_the_place_of_the_table_or_of_what_is_read(folder, capsys):
    (folder / "secret.txt").write_text("secret")
    SampleTable.from_columns({"sample": ["a"]}, classes=("Freude", "Wut")).write(folder / "faces.parquet")
    given, out = write(folder, "sample,annotator,answer,path\na,Bo,Wut,b/a.png\n"), folder / "new.parquet"
    options = ["--out", out, "--keep", folder / "b" / ".." / "new.parquet", "--key-file", folder / "secret.txt", "--overwrite"]
    for tokens in (
        ["data", "import", "answers", given, "--classes", "Freude", "Wut"],
        ["candidates", "answers", folder / "faces.parquet", given],
    ):
        assert cli.main([str(token) for token in (*tokens, *options)]) == RunError.exit_code and not out.exists()
        assert "new.parquet is the table's name, --out, too. Choose another" in capsys.readouterr().err
        for read in (given, folder / "secret.txt"):
            asked = [*tokens, "--out", out, "--keep", read, "--key-file", folder / "secret.txt", "--overwrite"]
            assert cli.main([str(token) for token in asked]) == RunError.exit_code and not out.exists()
            assert f"{read} is what is read here, and would be lost" in capsys.readouterr().err


def test_a_preset_stands_for_its_classes(folder):
    text = "path,annotator,answer\nb/a.png,ann,fear\nb/a.png,bo,fear\n"
    table, _ = answers_file.read(write(folder, text), classes=["ferplus"])
    assert table.classes == FERPLUS and table.values("label").tolist() == ["fear"]
