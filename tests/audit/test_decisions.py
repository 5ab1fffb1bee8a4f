import csv
import json
import multiprocessing
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import cli
from mien.audit import decisions
from mien.audit.apply import apply, what_changed
from mien.audit.decisions import Decision, Followed, append, fingerprint, parse, read, states
from mien.audit.decisions_export import export
from mien.audit.forget import forget
from mien.data.readers import drawn
from mien.data.readers.answers_file import read_answers
from mien.data.table import SampleTable
from mien.errors import RunError, TableError

NAMES = st.text(min_size=1, max_size=8)
DECISIONS = st.builds(
    Decision,
    who=NAMES,
    sample=NAMES,
    label=st.none() | NAMES,
    to=st.lists(NAMES, max_size=3).map(tuple),
    how=st.sampled_from(["sure", "unsure", "skip", "undo"]),
    why=st.text(max_size=20),
)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    """Eight faces labelled with one class each, of three classes, with "not-a-face"."""
    labels = ["anger", "fear", "joy", "anger", "fear", "joy", "anger", None]
    sets = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2, 0, 0]]
    sets[0, 1], sets[7] = True, False
    columns = {"sample": [f"s{row}" for row in range(8)], "label": labels, "candidates": sets}
    votes = np.concatenate([5 * sets, np.zeros((8, 1), int)], 1)
    classes = ("anger", "fear", "joy")
    return SampleTable.from_columns({**columns, "votes": votes}, classes=classes, vote_names=(*classes, "not-a-face"))


# ---------------------------------------------------------------------- the file


@given(st.lists(DECISIONS, min_size=1, max_size=5), st.data())
def test_a_cut_anywhere_loses_no_line_before_it_and_none_that_follows(made, data):
    lines = [decision.to_line() for decision in made]
    cut = data.draw(st.integers(0, sum(map(len, lines))))
    content = b"".join(lines)[:cut]
    ends = np.cumsum([len(line) for line in lines])
    whole = int((ends - 1 <= cut).sum())  # a line is whole without its end
    found, problems = parse(content, "x")
    assert found == made[:whole]
    assert len(problems) == (cut not in (0, *ends, *(ends - 1)))
    again, _ = parse(content + (b"" if content.endswith(b"\n") or not content else b"\n") + lines[0], "x")
    assert again == [*made[:whole], made[0]]


@given(DECISIONS, st.data())
def test_a_line_that_was_changed_is_no_decision(made, data):
    line = made.to_line()
    place = data.draw(st.integers(0, len(line) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (line[place], 10)))
    assert Decision.from_line(line[:place] + bytes([other]) + line[place + 1 :]) is None


def test_each_line_is_json_and_says_who_when_and_what(tmp_path):
    made = append(tmp_path / "d.jsonl", Decision("ann", "s1", "fear", ("anger", "joy"), why='a "hand"\n', table="abc"))
    line = json.loads((tmp_path / "d.jsonl").read_text())
    assert (line["who"], line["sample"], line["from"], line["to"], line["why"]) == (
        "ann",
        "s1",
        "fear",
        ["anger", "joy"],
        made.why,
    )
    assert line["at"].endswith("+00:00") and read(tmp_path / "d.jsonl") == ([made], [])


def test_after_a_cut_the_next_decision_stands_on_a_line_of_its_own_and_the_cut_one_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    for sample in ("s1", "s2"):
        append(path, Decision("ann", sample, to=("fear",)))
    path.write_bytes(path.read_bytes()[:-9])
    assert "the last line was cut off" in read(path)[1][0]
    append(path, Decision("ann", "s3", to=("fear",)))
    found, problems = read(path)
    assert [decision.sample for decision in found] == ["s1", "s3"]
    assert len(problems) == 1 and "line 2: not whole" in problems[0]


def add_many(path: str, who: str, count: int) -> None:
    for number in range(count):
        append(decisions.Path(path), Decision(who, f"s{number}", to=("fear",)))


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "d.jsonl"
    fork = multiprocessing.get_context("forkserver")
    people = [fork.Process(target=add_many, args=(str(path), who, 150)) for who in ("ann", "bo")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    found, problems = read(path)
    assert problems == [] and len(found) == 300
    for who in ("ann", "bo"):
        assert [decision.sample for decision in found if decision.who == who] == [f"s{number}" for number in range(150)]


def test_what_could_not_be_written_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="This decision was not kept"):
        append(tmp_path, Decision("ann", "s1"))  # a folder
    monkeypatch.setattr(decisions.os, "write", lambda number, line: len(line) // 2)
    with pytest.raises(RunError, match="the disk is full"):
        append(tmp_path / "d.jsonl", Decision("ann", "s1"))
    with pytest.raises(RunError, match="no such file"):
        read(tmp_path / "other.jsonl")


def test_a_decision_is_on_the_disk_before_it_is_acknowledged(tmp_path, monkeypatch):
    calls, write, fsync = [], os.write, os.fsync
    monkeypatch.setattr(decisions.os, "write", lambda *given: (calls.append("write"), write(*given))[1])
    monkeypatch.setattr(decisions.os, "fsync", lambda number: (calls.append("fsync"), fsync(number))[1])
    append(tmp_path / "d.jsonl", Decision("ann", "s1"))
    assert calls == ["write", "fsync", "fsync"]  # the line, and once the folder that has the new file's name
    append(tmp_path / "d.jsonl", Decision("ann", "s2"))
    assert calls[3:] == ["write", "fsync"]


def test_one_who_follows_the_file_sees_what_others_add_and_what_was_forgotten(tmp_path):
    path = tmp_path / "d.jsonl"
    followed = Followed(path)
    assert followed.now().standing == {}
    for number in range(3):
        append(path, Decision("ann", f"s{number}", to=("fear",)))
        assert len(followed.now().standing) == number + 1
    assert followed.version == 1
    with path.open("ab") as file:
        file.write(Decision("bo", "s9").to_line()[:30])  # still under way
    assert len(followed.now().standing) == 3
    decisions.forget(path, ["s1"])
    assert set(followed.now().standing) == {"s0", "s2"} and followed.version == 2
    append(path, Decision("ann", "s4", to=("joy",)))
    assert set(followed.now().standing) == {"s0", "s2", "s4"} and followed.version == 2


# ---------------------------------------------------------------------- what stands


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from(["fear", "joy", "undo"])), max_size=25)
)
def test_what_stands_is_what_a_list_per_reviewer_and_face_ends_with(made):
    stacks: dict = {}
    for who, sample, what in made:
        stack = stacks.setdefault((sample, who), [])
        if what != "undo":
            stack.append(what)
        elif stack:
            stack.pop()
    found = states(Decision(w, s, to=() if t == "undo" else (t,), how="undo" if t == "undo" else "sure") for w, s, t in made)
    standing = {(s, w): one.to[0] for s, people in found.standing.items() for w, one in people.items()}
    assert standing == {key: stack[-1] for key, stack in stacks.items() if stack}
    differing = {s for s, _ in standing if len({standing[s, w] for w in "ab" if (s, w) in standing}) > 1}
    assert set(found.conflicts()) == differing


def test_those_who_are_unsure_or_skip_contradict_nobody():
    said = [Decision("ann", "s", to=("fear",)), Decision("bo", "s", to=("joy",), how="unsure"), Decision("cy", "s", how="skip")]
    assert states(said).conflicts() == []
    assert states([*said, Decision("di", "s", to=("joy",))]).conflicts() == ["s"]


# ---------------------------------------------------------------------- apply


def test_each_kind_of_decision_does_to_the_table_what_the_rules_say(table):
    said = [
        Decision("ann", "s0", "anger", ("fear",)),  # one class
        Decision("ann", "s1", "fear", ("anger", "fear")),  # several: the label is one of them
        Decision("ann", "s2", "joy", ("anger", "fear")),  # several: the label is none
        Decision("ann", "s3", "anger", (), "unsure"),
        Decision("ann", "s4", "fear", ("joy",), "unsure"),
        Decision("ann", "s5", "joy", (), "skip"),
        Decision("ann", "s6", "anger", ("not-a-face",)),
        Decision("ann", "s7", None, ("joy",)),
        Decision("bo", "s0", "anger", ("joy",)),  # in conflict
    ]
    new, changes = apply(table, states(said))
    labels = dict(zip(new.samples, new.values("label_reviewed"), strict=True))
    assert labels == {"s0": None, "s1": "fear", "s2": None, "s3": "anger", "s4": "fear", "s5": "joy", "s6": None, "s7": "joy"}
    sets = ["".join(name[0] for name, there in zip(new.classes, row, strict=True) if there) for row in new.candidates]
    assert sets == ["fj", "af", "af", "a", "fj", "j", "", "j"]
    assert new.values("reviewed").tolist() == [True] * 5 + [False, True, True]
    assert (changes.conflicts, changes.faces, changes.unsure, changes.skipped, changes.changed) == (["s0"], 7, 2, 1, 6)
    assert changes.moves["joy", "anger or fear"] == changes.moves["no label", "joy"] == changes.moves["anger", "conflict"] == 1
    assert table.values("label").tolist() == new.values("label").tolist() and new.how[-1]["conflicts"] == 1


def test_a_table_without_sets_starts_from_its_labels_and_forgotten_faces_leave_it(table):
    bare = SampleTable.from_columns({name: table.values(name) for name in ("sample", "label")}, classes=table.classes)
    found = states([Decision("ann", "s1", "fear", ("joy",)), Decision("", decisions.hashed("s2"), how="forget")])
    new, changes = apply(bare, found)
    assert new.samples == ["s0", "s1", "s3", "s4", "s5", "s6", "s7"] and changes.forgotten == 1
    assert new.candidates.argmax(1).tolist()[:3] == [0, 2, 0] and not new.candidates[-1].any()


def test_a_table_that_changed_since_is_told_in_a_sentence(table):
    said = [Decision("ann", f"s{row}", table.values("label")[row], ("joy",), table=fingerprint(table)) for row in range(4)]
    assert what_changed(table, states(said)) is None
    labels = table.values("label")
    labels[1] = "joy"
    other = table.with_column("label", labels).take(np.arange(1, 8))
    sentence = what_changed(other, states(said))
    assert "4 of 4 decisions" in sentence and "1 of their faces are gone, 1 have another label" in sentence
    assert apply(other, states(said))[1].missing == 1
    with pytest.raises(TableError, match="none of the reviewed faces"):
        apply(table.take(np.arange(5, 8)), states(said))
    with pytest.raises(TableError, match=r"ann decided 'awe', which is no answer of the table\. Expected: anger"):
        apply(table, states([Decision("ann", "s1", to=("awe",))]))


def test_the_fingerprint_follows_what_reviewers_see_and_nothing_else(table):
    assert fingerprint(table) == fingerprint(table.with_column("own", np.arange(8)))
    assert len({fingerprint(one) for one in (table, table.take(np.arange(7)), table.with_column("label", ["joy"] * 8))}) == 3
    more = table.votes.copy()
    more[0, 0] += 1
    assert fingerprint(table.with_column("votes", more)) != fingerprint(table)


# ---------------------------------------------------------------------- for other programs


def test_decisions_become_a_spreadsheet_in_which_nothing_is_computed(tmp_path):
    said = [Decision("=1+1", "-s1", "fear", ("anger", "joy"), why="@x"), Decision("bo", "-s1", "fear", ("fear",))]
    assert export(states(said), tmp_path / "d.csv") == 2
    with (tmp_path / "d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["reviewer"], rows[0]["sample"], rows[0]["why"], rows[0]["to"]) == ("'=1+1", "'-s1", "'@x", "anger; joy")
    assert rows[0]["conflict"] == "True"


def test_decisions_become_cleanlab_s_issues_and_tasks_that_label_studio_takes(tmp_path):
    table = drawn.read(faces=4, size=16).with_column("path", [f"{row}.png" for row in range(4)])
    said = [
        Decision("ann", "drawn_00000", "fear", ("anger",)),
        Decision("bo", "drawn_00001", "fear", ("fear", "anger")),
        Decision("bo", "drawn_00002", "fear", how="skip"),
    ]
    assert export(states(said), tmp_path / "c.csv", kind="cleanlab") == 2
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[1:] == ["drawn_00000,True,fear,anger", "drawn_00001,False,fear,"]
    assert export(states(said), tmp_path / "d.json", kind="label-studio", table=table) == 2
    tasks = json.loads((tmp_path / "d.json").read_text())
    assert tasks[1]["annotations"][0]["result"][0]["value"] == {"choices": ["fear", "anger"]}
    assert all(task["data"]["image"].startswith("data:image/png;base64,") for task in tasks), "not opened from a path"
    assert tasks[0]["data"]["reviewers"] == ["ann"] and "completed_by" not in tasks[0]["annotations"][0]
    tasks[0]["annotations"][0]["completed_by"] = 7  # as it comes back from there
    (tmp_path / "back.json").write_text(json.dumps(tasks[:1]))
    assert read_answers(tmp_path / "back.json", key="k")["answer"].to_pylist() == ["anger"]
    with pytest.raises(TableError, match="Label Studio needs --table"):
        export(states(said), tmp_path / "d.csv", kind="label-studio", table=table)


# ---------------------------------------------------------------------- forget, and the commands


def test_a_forgotten_face_leaves_decisions_table_and_disk_and_it_is_said_what_stays(tmp_path, capsys):
    table = drawn.read(faces=6, size=16)
    for row, name in enumerate("aabcde"):
        (tmp_path / f"{name}.png").write_bytes(table.values("image")[row])
    paths = [f"{name}.png" for name in "aabcde"]
    SampleTable.from_columns(
        {"sample": table.samples, "path": paths, "label": ["fear"] * 6}, classes=table.classes, root=tmp_path
    ).write(tmp_path / "t.parquet")
    path = tmp_path / "d.jsonl"
    for sample in table.samples:
        append(path, Decision("ann", sample, "fear", ("joy",)))
    path.write_bytes(path.read_bytes() + b'{"sample": "drawn_00002"')
    files = ["--decisions", str(path), "--table", str(tmp_path / "t.parquet")]
    gone = ["drawn_00000", "drawn_00002"]
    assert cli.main(["audit", "forget", *gone, *files, "--pictures", "--out", str(tmp_path / "new.parquet")]) == 0
    said = capsys.readouterr().err
    assert (
        "faces forgotten: 2; decisions removed: 2;" in said and "whose they were: 1" in said and "models that learned" in said
    )
    assert "a.png stays: other faces are in it" in said and "b.png is deleted" in said
    assert (tmp_path / "a.png").exists() and not (tmp_path / "b.png").exists()
    assert not any(name.encode() in path.read_bytes() for name in gone)
    assert set(states(read(path)[0]).standing) == set(table.samples) - set(gone)
    assert SampleTable.read(tmp_path / "new.parquet").samples == [one for one in table.samples if one not in gone]
    assert "no decision was about" not in said
    assert "warning: no decision was about 1 of them, the first s9. Check the ids" in " ".join(
        forget(["s9", table.samples[1]], path)[1]
    )
    before = path.read_bytes()
    with pytest.raises(TableError, match="s9 is not in the table"):
        forget(["s9"], path, table)
    assert path.read_bytes() == before
    assert cli.main(["audit", "forget", "s", "--decisions", str(path), "--pictures"]) == 2


def test_the_commands_apply_and_export_and_say_what_is_wrong(table, tmp_path, capsys):
    table.write(tmp_path / "t.parquet")
    path = tmp_path / "d.jsonl"
    append(path, Decision("ann", "s0", "anger", ("fear",), table="other"))
    append(path, Decision("bo", "s0", "anger", ("joy",), table="other"))
    path.write_bytes(path.read_bytes() + b"{")
    assert cli.main(["audit", "apply", str(tmp_path / "t.parquet"), str(path), "--out", str(tmp_path / "n.parquet")]) == 0
    shown = capsys.readouterr()
    assert "the last line was cut off" in shown.err and "the table changed since it was reviewed" in shown.err
    assert "conflict" in shown.out and "whose sets are the union: s0" in shown.out
    assert SampleTable.read(tmp_path / "n.parquet").candidates[0].tolist() == [False, True, True]
    assert cli.main(["audit", "decisions", str(path), "--out", str(tmp_path / "d.csv")]) == 0
    assert "2 rows" in capsys.readouterr().out
