import json

import numpy as np
import pytest

from mien import cli
from mien.data.corrupt import corrupt, read_confusions
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("a", "b", "c")


def table(**columns):
    """Returns 300 labelled faces, 150 of a, 100 of b and 50 of c; the last thirty are held out, every tenth has no label."""
    labels = np.array(["a"] * 150 + ["b"] * 100 + ["c"] * 50, object)[np.random.default_rng(0).permutation(300)]
    labels[::10] = None
    made = {
        "sample": [f"s{row:03}" for row in range(300)],
        "split": ["train"] * 270 + ["select"] * 30,
        "label": labels,
        "votes": np.ones((300, 3), np.int16),
        **columns,
    }
    return SampleTable.from_columns(made, classes=CLASSES, vote_names=CLASSES, label_rule="majority")


def changed(before, after):
    return np.flatnonzero(before.values("label") != after.values("label"))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 1.0])
def test_the_share_of_each_class_is_met_in_train_alone(rate):
    clean = table()
    noisy = corrupt(clean, rate=rate)
    labels, moved = clean.labels(), changed(clean, noisy)
    for k in range(3):
        members = (labels == k) & (clean.splits == "train")
        assert (labels[moved] == k).sum() == round(rate * members.sum())
    assert (clean.splits[moved] == "train").all() and (labels[moved] >= 0).all()
    assert noisy.values("label_clean").tolist() == clean.values("label").tolist()
    assert noisy.votes.tolist() == clean.votes.tolist()


def test_symmetric_noise_reaches_all_other_classes():
    clean, noisy = table(), corrupt(table(), rate=1.0)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (clean.labels()[:270], noisy.labels()[:270]), clean.labels()[:270] >= 0)
    assert (np.diag(counts) == 0).all() and (counts[~np.eye(3, dtype=bool)] >= 10).all()


def test_noise_depends_on_seed_and_ids_alone_and_grows_from_a_lower_rate():
    clean = table()
    turned = np.arange(300)[::-1]
    one, other = corrupt(clean, rate=0.3), corrupt(clean.take(turned), rate=0.3)
    assert other.take(turned).values("label").tolist() == one.values("label").tolist()
    assert other.how[-1]["hash"] == one.how[-1]["hash"] != corrupt(clean, rate=0.3, seed=1).how[-1]["hash"]
    less = corrupt(clean, rate=0.1)
    assert set(changed(clean, less)) < set(changed(clean, one))
    assert (less.values("label") == one.values("label"))[changed(clean, less)].all()


def test_labels_follow_the_given_confusions_and_stay_where_there_is_none():
    clean = table()
    noisy = corrupt(clean, rate=0.5, along={"a": {"a": 99, "b": 3, "c": 1}, "b": {"c": 2, "a": 0}})
    pairs = [(clean.values("label")[row], noisy.values("label")[row]) for row in changed(clean, noisy)]
    assert {pair for pair in pairs if pair[0] != "a"} == {("b", "c")}
    to_b, to_c = pairs.count(("a", "b")), pairs.count(("a", "c"))
    assert to_b > to_c > 0 and to_b + to_c == round(0.5 * ((clean.labels() == 0) & (clean.splits == "train")).sum())


def test_the_history_tells_what_was_done_and_no_rule_made_the_labels(tmp_path):
    noisy = corrupt(table(), rate=0.2, along={"a": {"b": 1}}, seed=7)
    noisy.write(tmp_path / "noisy.parquet")
    found = SampleTable.read(tmp_path / "noisy.parquet")
    step = dict(found.how[-1])
    assert len(step.pop("hash")) == 16 and found.label_rule is None
    members = int(((table().labels() == 0) & (table().splits == "train")).sum())
    about = {"step": "corrupt", "rate": 0.2, "kind": "confusions", "seed": 7, "along": {"a": {"b": 1}}, "of": 243}
    assert step == {**about, "changed": round(0.2 * members)}


def test_noise_on_noise_is_refused_unless_asked_for_and_the_clean_labels_stay():
    clean = table()
    once = corrupt(clean, rate=0.2, seed=3)
    with pytest.raises(TableError, match=r"have noise already \(rate 0\.2, seed 3\).*--again"):
        corrupt(once, rate=0.1)
    twice = corrupt(once, rate=0.5, seed=4, again=True)
    assert twice.values("label_clean").tolist() == clean.values("label").tolist()
    assert [step["rate"] for step in twice.how] == [0.2, 0.5]


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(RecipeError, match="Expected a share of the labels, from 0 to 1"):
        corrupt(table(), rate=rate)


@pytest.mark.parametrize(
    ("along", "message"),
    [
        ({"a": {"bee": 1}}, "'bee', which is no class"),
        ({"d": {"a": 1}}, "'d', which is no class"),
        ({"a": {"b": -1}}, "confusions of a with b are -1"),
    ],
)
def test_confusions_that_do_not_fit_are_refused(along, message):
    with pytest.raises(RecipeError, match=message):
        corrupt(table(), rate=0.1, along=along)


@pytest.mark.parametrize("columns", [{"label": [None] * 300}, {"split": ["test"] * 300}])
def test_a_table_without_labels_to_corrupt_is_refused(columns):
    with pytest.raises(TableError, match="of 300 rows none has split train and a label"):
        corrupt(table(**columns), rate=0.1)


def test_confusions_are_read_from_a_mapping_and_from_a_report(tmp_path):
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"a": {"b": 2}}))
    assert read_confusions(path) == {"a": {"b": 2.0}}
    path.write_text(json.dumps({"a": {"b": 2}}), encoding="utf-8-sig")
    assert read_confusions(path) == {"a": {"b": 2.0}}
    report = {"classes": ["a", "b"], "answers": ["a", "b"], "confusion": [[5, 1, 9], [0, 4, 1]]}
    path.write_text(json.dumps(report))
    assert read_confusions(path) == {"a": {"a": 5, "b": 1}, "b": {"a": 0, "b": 4}}


def test_answers_that_a_report_s_model_alone_has_are_no_confusions(tmp_path):
    path = tmp_path / "report.json"
    report = {"classes": CLASSES, "answers": [*CLASSES, "d"], "confusion": [[5, 1, 2, 9, 0], [0, 4, 0, 3, 1], [1, 1, 1, 1, 1]]}
    path.write_text(json.dumps(report))
    found = read_confusions(path)
    assert found["a"] == {"a": 5, "b": 1, "c": 2}
    assert len(changed(table(), corrupt(table(), rate=0.1, along=found)))


@pytest.mark.parametrize("text", [None, "fear,surprise", "[1, 2]", '{"a": "b"}', '{"a": {"b": "often"}}'])
def test_files_that_hold_no_confusions_are_refused(text, tmp_path):
    path = tmp_path / "found.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=r"confusions .*found\.json: .*Expected a JSON file"):
        read_confusions(path)


def test_the_command_writes_the_noisy_table_and_refuses_a_wrong_rate(tmp_path, capsys):
    faces, out, along = tmp_path / "faces.parquet", tmp_path / "noisy.parquet", tmp_path / "along.json"
    table().write(faces)
    along.write_text('{"a": {"c": 1}}')
    command = ["data", "corrupt", str(faces), "--out", str(out)]
    assert cli.main([*command, "--rate", "1.5"]) == RecipeError.exit_code and not out.exists()
    assert "rate is 1.5" in capsys.readouterr().err
    assert cli.main([*command, "--rate", "0.1", "--seed", "2", "--along", str(along)]) == 0
    noisy = SampleTable.read(out)
    assert {noisy.values("label")[row] for row in changed(table(), noisy)} == {"c"}
    again = ["data", "corrupt", str(out), "--out", str(out), "--rate", "0.1", "--overwrite"]
    assert cli.main(again) == TableError.exit_code
    assert cli.main([*again, "--again"]) == 0 and len(SampleTable.read(out).how) == 2
