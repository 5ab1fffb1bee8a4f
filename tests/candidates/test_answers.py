import json

import numpy as np
import pytest

from mien.candidates.answers import answers, only_known
from mien.data.readers.answers_file import read_answers
from mien.data.table import SampleTable
from mien.errors import TableError

CSV = "sample,annotator,answer,seconds\na,ann,x,1.5\na,bo,x,\nb,ann,y,2\nb,bo,x,3\nb,cy,y,1\nc,ann,,\n"


@pytest.fixture
def table():
    return SampleTable.from_columns({"sample": list("abc")}, classes=("x", "y"))


def written(folder, text, name="answers.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_identities_are_hashed_with_the_key_and_stay_apart(tmp_path):
    found = read_answers(written(tmp_path, CSV), key="secret")
    people = found["annotator"].to_pylist()
    assert len(found) == 5 and len(set(people)) == 3 and people[0] == people[2]
    assert not {"ann", "bo", "cy"} & set(people) and all(len(name) == 16 for name in people)
    again = read_answers(written(tmp_path, CSV), key="another")["annotator"].to_pylist()
    assert not set(people) & set(again)
    assert found["seconds"].to_pylist() == [1.5, None, 2, 3, 1]


def test_answers_become_votes_and_candidate_sets(table, tmp_path):
    made = answers(table, read_answers(written(tmp_path, CSV), key="k"))
    np.testing.assert_array_equal(made.votes, [[2, 0], [1, 2], [0, 0]])
    np.testing.assert_array_equal(made.candidates, [[True, False], [False, True], [False, False]])
    assert answers(table, read_answers(tmp_path / "answers.csv", key="k"), at_least=1).candidates[1].all()
    assert made.how[0]["answers"] == 5 and made.how[0]["annotators"] == 3


def test_further_answers_add_to_the_votes(table, tmp_path):
    given = read_answers(written(tmp_path, CSV), key="k")
    once = answers(table, given)
    more = read_answers(written(tmp_path, CSV.replace(",ann,", ",dee,"), "more.csv"), key="k")
    np.testing.assert_array_equal(answers(once, more, add=True).votes, np.add(once.votes, [[1, 0], [0, 1], [0, 0]]))
    np.testing.assert_array_equal(answers(once, more).votes, once.votes)


def test_an_answer_that_was_added_before_is_not_counted_again(table, tmp_path):
    given = read_answers(written(tmp_path, CSV), key="k")
    once = answers(table, given.slice(0, 3), add=True)
    once.write(tmp_path / "once.parquet")
    twice = answers(SampleTable.read(tmp_path / "once.parquet"), given, add=True)
    np.testing.assert_array_equal(twice.votes, answers(table, given).votes)
    assert twice.how[-2]["answers"] == 2 and twice.how[-2]["counted_before"] == 3
    np.testing.assert_array_equal(answers(twice, given, add=True).votes, twice.votes)


def test_an_export_of_label_studio_is_read(tmp_path):
    def by(who, answer):
        return {"completed_by": who, "lead_time": 2.0, "result": [{"value": {"choices": [answer]}}]}

    skipped = {**by(3, "x"), "was_cancelled": True}
    tasks = [{"data": {"sample": "a"}, "annotations": [by(1, "x"), by({"email": "bo@there", "id": 2}, "y"), skipped]}]
    found = read_answers(written(tmp_path, json.dumps(tasks), "export.json"), key="k")
    assert found["answer"].to_pylist() == ["x", "y"] and found["seconds"].to_pylist() == [2.0, 2.0]
    assert read_answers(written(tmp_path, "\ufeff" + json.dumps(tasks), "export.json"), key="k").equals(found)
    tasks[0]["annotations"][0]["result"][0]["value"]["choices"] = ["x", "y"]
    with pytest.raises(TableError, match="2 answers by one"):
        read_answers(written(tmp_path, json.dumps(tasks), "export.json"), key="k")
    with pytest.raises(TableError, match="not an export of Label Studio"):
        read_answers(written(tmp_path, '{"a": 1}', "export.json"), key="k")


def test_answers_of_unknown_people_are_left_out_and_counted(tmp_path):
    given = read_answers(written(tmp_path, CSV), key="k")
    known = read_answers(written(tmp_path, "sample,annotator,answer\na,ann,x\n", "known.csv"), key="k")
    kept, others = only_known(given, known)
    assert len(kept) == 2 and sorted(others.values()) == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample,answer\na,x\n", "no column annotator"),
        ("sample,annotator,answer\na,,x\n", "without sample or annotator"),
        ("sample,annotator,answer,seconds\na,b,x,soon\n", "seconds are 'soon'"),
        ("sample,annotator,answer\na,b,\n", "nobody answered"),
        ("sample,annotator,answer\na,b\n", "2 cells"),
    ],
)
def test_files_that_say_nothing_certain_are_refused(tmp_path, text, said):
    with pytest.raises(TableError, match=said):
        read_answers(written(tmp_path, text), key="k")


def test_without_a_key_and_for_strange_answers_nothing_is_counted(table, tmp_path):
    with pytest.raises(TableError, match="key is empty"):
        read_answers(written(tmp_path, CSV), key="")
    for text, said in (
        ("z,ann,x", r"answers.csv, line 2: sample 'z' is not in the table.* such as 'a', without the picture's suffix"),
        ("a,ann,x\na,bo,w", r"answers.csv, line 3 \(a\): answer 'w' is unknown"),
        ("a,ann,x\na.png,ann,x", "line 3 .* twice"),
    ):
        given = read_answers(written(tmp_path, f"sample,annotator,answer\n{text}\n"), key="k")
        with pytest.raises(TableError, match=said):
            answers(table, given)


def test_spaces_around_words_and_a_picture_s_suffix_do_not_matter(table, tmp_path):
    text = "sample,annotator,answer\na.png, ann ,x \n b ,ann,y\n"
    given = read_answers(written(tmp_path, text), key="k")
    assert len(set(given["annotator"].to_pylist())) == 1
    np.testing.assert_array_equal(answers(table, given).votes, [[1, 0], [0, 1], [0, 0]])
    both = SampleTable.from_columns({"sample": ["a", "a.png"]}, classes=("x", "y"))
    np.testing.assert_array_equal(answers(both, given.slice(0, 1)).votes, [[0, 0], [1, 0]])


def test_decimals_have_commas_only_where_semicolons_separate(tmp_path):
    text = "sample;annotator;answer;seconds\na;ann;x;8,8\n"
    assert read_answers(written(tmp_path, text), key="k")["seconds"].to_pylist() == [8.8]
    with pytest.raises(TableError, match="seconds are '8,8'"):
        read_answers(written(tmp_path, text.replace("8,8", '"8,8"').replace(";", ",")), key="k")
