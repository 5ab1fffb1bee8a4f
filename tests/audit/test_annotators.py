import json

import numpy as np
import pyarrow as pa
import pytest

from mien import cli
from mien.audit.agreement import alpha, describe, entropy, pair_agreement
from mien.audit.annotators import judge
from mien.audit.dawid_skene import dawid_skene
from mien.data.readers.answers_file import read_kept
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.files import write_parquet
from mien.predict.predictions import Predictions

# Twelve faces by four annotators, and what crowd-kit 1.4.2 believes after one round: DawidSkene(n_iter=1, tol=-1).
FACES = ("2220", "1121", "1120", "0000", "0000", "2002", "0002", "0000", "1000", "2222", "1111", "2212")
ANSWERS = np.array([[int(answer) for answer in face] for face in FACES])
CROWD_KIT = np.array([
    [0.007364, 0.008663, 0.983973], [0.0, 0.995513, 0.004487], [0.01194, 0.948174, 0.039886], [0.998888, 0.0, 0.001112],
    [0.998888, 0.0, 0.001112], [0.637257, 0.00085, 0.361894], [0.990624, 0.0, 0.009376], [0.998888, 0.0, 0.001112],
    [0.983115, 0.008675, 0.00821], [0.000879, 0.001172, 0.99795], [0.0, 0.9985, 0.0015], [0.0, 0.003509, 0.996491],
])  # fmt: skip


def spread(answers):
    faces, annotators = np.indices(answers.shape).reshape(2, -1)
    return faces, annotators, answers.ravel()


def crowd(seed=0, faces=400):
    """Truth and answers of good, middling and careless annotators."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, faces)
    right = random.random((faces, 5)) < [0.95, 0.8, 0.8, 0.7, 0.34]
    return truth, np.where(right, truth[:, None], random.integers(0, 3, (faces, 5)))


def test_one_round_is_that_of_crowd_kit():
    found = dawid_skene(*spread(ANSWERS), num_faces=12, num_classes=3, pseudo=0, rounds=1)
    np.testing.assert_allclose(found.probs, CROWD_KIT, atol=2e-6)


def test_rounds_are_the_equations_of_dawid_and_skene():
    one = np.eye(3)[ANSWERS]  # (N, A, K)
    probs = one.mean(1)
    for _ in range(4):
        errors = np.einsum("nk,nav->akv", probs, one)
        errors /= errors.sum(2, keepdims=True)
        probs = probs.mean(0) * np.exp(np.einsum("nav,akv->nk", one, np.log(errors + 1e-15)))
        probs /= probs.sum(1, keepdims=True)
    found = dawid_skene(*spread(ANSWERS), num_faces=12, num_classes=3, pseudo=0, rounds=4, tolerance=0)
    np.testing.assert_allclose(found.probs, probs, atol=1e-6)


def test_the_consensus_is_right_more_often_than_the_majority_and_knows_who_is_careless():
    truth, answers = crowd()
    found = dawid_skene(*spread(answers), num_faces=400, num_classes=3)
    majority = np.eye(3)[answers].sum(1).argmax(1)
    assert (found.probs.argmax(1) == truth).mean() > (majority == truth).mean()
    quality = found.confusions[:, range(3), range(3)].mean(1)
    assert quality.argmax() == 0 and quality.argmin() == 4


def test_a_good_model_helps_as_one_more_annotator_and_a_row_without_an_answer_does_not_count():
    truth, answers = crowd()
    model = np.full((400, 3), 0.025) + 0.925 * np.eye(3)[truth]
    model[0] = np.nan
    alone = dawid_skene(*spread(answers), num_faces=400, num_classes=3)
    found = dawid_skene(*spread(answers), num_faces=400, num_classes=3, model=model)
    assert (found.probs.argmax(1) == truth).mean() > (alone.probs.argmax(1) == truth).mean()
    assert np.isfinite(found.probs).all() and found.model is not None and np.trace(found.model) > 2.4


def test_answers_that_are_no_class_tell_about_people_but_are_not_believed():
    faces, annotators, answers = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), np.array([0, 2, 1, 2, 0])
    found = dawid_skene(faces, annotators, answers, num_faces=3, num_classes=2, num_answers=3)
    assert found.probs.shape == (3, 2) and found.confusions.shape == (2, 2, 3)
    np.testing.assert_allclose(found.confusions.sum(2), 1)
    with pytest.raises(TableError, match="none is for a class"):
        dawid_skene(faces, annotators, np.full(5, 2), num_faces=3, num_classes=2, num_answers=3)


def test_people_are_judged_by_how_probably_they_are_right_and_by_their_speed():
    _, answers = crowd()
    faces, people, given = spread(answers)
    names, classes = np.array(["ann", "bo", "cy", "di", "ed"], object), ("x", "y", "z")
    seconds = np.random.default_rng(1).lognormal(1, 0.2, len(faces))
    seconds[people == 4] /= 30
    columns = {"sample": [f"s{face}" for face in faces], "annotator": names[people], "answer": np.array(classes)[given]}
    rows = pa.table({**{name: list(values) for name, values in columns.items()}, "seconds": seconds})
    rows = rows.filter(pa.array((people != 2) | (faces < 100)))  # cy answers least, so stands last
    table = SampleTable.from_columns({"sample": [f"s{face}" for face in range(400)]}, classes=classes)
    found = judge(table, rows)
    assert set(found.names) == set(names) and found.names[-1] == "cy"
    by_name = dict(zip(found.names, found.numbers, strict=True))
    assert by_name["ann"]["quality"] > 0.9 and by_name["ed"]["quality"] < 0.6 and by_name["cy"]["answers"] == 100
    assert [name for name, numbers in by_name.items() if numbers["fast"]] == ["ed"]
    assert judge(table, rows.drop_columns(["seconds"])).numbers[0]["fast"] is None
    with pytest.raises(TableError, match="'w' is no sample or answer"):
        judge(table, pa.table({"sample": ["s0"], "annotator": ["a"], "answer": ["w"]}))


def test_nobody_is_too_fast_for_a_tenth_of_a_second_where_the_others_take_equally_long():
    people = list("abcde")
    rows = pa.table({"sample": ["s"] * 5, "annotator": people, "answer": ["x"] * 5, "seconds": [3, 3, 3, 2.9, 0.5]})
    found = judge(SampleTable.from_columns({"sample": ["s"]}, classes=("x", "y")), rows)
    assert [name for name, numbers in zip(found.names, found.numbers, strict=True) if numbers["fast"]] == ["e"]


@pytest.fixture
def answered(tmp_path):
    """A table of 240 faces, answers about 200 of them as `mien candidates answers` keeps them, and the truth."""
    truth, answers = crowd(faces=240)
    samples, classes, options = [f"s{face}" for face in range(240)], ("x", "y", "z"), np.array(["x", "y", "z", "odd"])
    table = SampleTable.from_columns(
        {"sample": samples, "split": ["report"] * 240, "label": options[(truth + 1) % 3]},
        classes=classes,
        vote_names=tuple(options),
    )
    table.write(tmp_path / "faces.parquet")
    answers[:5, :3], answers[5:10, :2] = 3, 3  # three of five say that it is no class; then two
    faces, people, given = spread(answers[:200])
    kept = {"sample": np.array(samples)[faces], "annotator": np.array(list("abcde"))[people], "answer": options[given]}
    write_parquet(pa.table({name: list(values) for name, values in kept.items()}), tmp_path / "answers.parquet")
    probs = (0.05 + 0.85 * np.eye(3)[truth[50:]]).astype(np.float32)
    Predictions(tuple(samples[50:]), probs, classes).write(tmp_path / "predictions.parquet")
    return table, truth


def annotators(folder, *tokens):
    paths = [str(folder / name) for name in ("faces.parquet", "answers.parquet")]
    return cli.main(["audit", "annotators", *paths, "--out", str(folder / "new.parquet"), *tokens])


def test_the_consensus_is_written_as_labels_of_the_faces_that_people_take_for_a_class(answered, tmp_path, capsys):
    table, truth = answered
    assert annotators(tmp_path) == 0 and "probably right" in capsys.readouterr().out
    made = SampleTable.read(tmp_path / "new.parquet")
    found = judge(table, read_kept(tmp_path / "answers.parquet"))
    labels, probs = made.labels("label_consensus"), made.values("consensus")
    assert (labels[[*range(5), *range(200, 240)]] == -1).all() and (labels[5:200] >= 0).all()
    assert [one is None for one in probs] == list(labels < 0)
    np.testing.assert_array_equal(labels[5:200], found.consensus.probs[5:200].argmax(1))
    np.testing.assert_array_equal(probs[5:200].astype(float), found.consensus.probs[5:200].max(1))
    assert (labels == truth)[10:200].mean() > 0.9
    assert made.how == ({"step": "consensus", "answers": 1000, "annotators": 5, "model": False, "faces": 195},)
    assert made.columns.drop_columns(["label_consensus", "consensus"]).equals(table.columns)


def test_the_consensus_judges_predictions(answered, tmp_path, capsys):
    assert annotators(tmp_path, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 5  # where the table is stands on stderr
    tokens = ["evaluate", str(tmp_path / "predictions.parquet"), "--data", str(tmp_path / "new.parquet"), "--json"]
    assert cli.main([*tokens, "--label", "label_consensus"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["numbers"]["accuracy"]
    assert accuracy["n"] == 150 and accuracy["value"] > 0.9  # by the table's own labels it is 0


def test_a_model_that_answers_about_some_faces_leaves_the_others_their_consensus(answered, tmp_path, capsys):
    assert annotators(tmp_path, "--predictions", str(tmp_path / "predictions.parquet")) == 0
    made = SampleTable.read(tmp_path / "new.parquet")
    assert len(made) == 240 and made.how[-1]["model"] and made.how[-1]["faces"] == 195
    labels = made.labels("label_consensus")
    assert (labels[5:200] >= 0).all() and (labels[200:] == -1).all() and (labels == answered[1])[50:200].all()
    before = (tmp_path / "new.parquet").read_bytes()
    assert annotators(tmp_path) == 2 and "exists. Choose another name or pass --overwrite" in capsys.readouterr().err
    assert (tmp_path / "new.parquet").read_bytes() == before and annotators(tmp_path, "--overwrite") == 0
    (tmp_path / "new.parquet").unlink()
    (tmp_path / "new.parquet").symlink_to(tmp_path / "answers.parquet")
    assert annotators(tmp_path, "--overwrite") == 2 and "would be lost" in capsys.readouterr().err


def test_alpha_is_that_of_krippendorffs_example():
    # Krippendorff 2011, section C: twelve units by four observers, with missing answers; nominal alpha 0.743.
    units = ["111", "2223", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    votes = np.array([[unit.count(str(answer)) for answer in range(1, 6)] for unit in units])
    assert alpha(votes) == pytest.approx(0.743, abs=5e-4)
    assert np.isnan(alpha(np.array([[3, 0], [2, 0]])))


def test_agreement_and_entropy_by_hand():
    votes = np.array([[4, 0], [2, 2], [1, 0], [0, 0]])
    np.testing.assert_allclose(pair_agreement(votes), [1, 1 / 3, np.nan, np.nan])
    np.testing.assert_allclose(entropy(votes), [0, 1, 0, np.nan], atol=1e-12)


def test_a_description_says_which_answers_stand_together():
    votes = np.array([[3, 1, 0], [3, 1, 0], [0, 4, 0], [0, 2, 2], [0, 0, 1]])
    found = describe(votes, ("calm", "glad", "odd"))
    assert found["faces"] == 4 and found["classes"]["calm"]["faces"] == 2 and found["classes"]["odd"]["alpha"] is not None
    assert [pair["answers"] for pair in found["pairs"]] == [["calm", "glad"], ["glad", "odd"]]
    assert sum(pair["share"] for pair in found["pairs"]) == pytest.approx(1)
    assert found["pairs"][0]["share"] == pytest.approx(6 / 10)  # 3 + 3 unlike pairs against 4


@pytest.mark.parametrize("with_model", [False, True])
def test_faces_of_which_nothing_is_said_change_no_consensus(with_model):
    random = np.random.default_rng(0)
    truth, faces, people = random.choice(3, 60, p=[0.8, 0.15, 0.05]), np.repeat(np.arange(60), 5), np.tile(np.arange(5), 60)
    given = np.where(random.random(300) < 0.6, truth[faces], random.integers(0, 3, 300))
    model = random.dirichlet([1, 1, 1], 60) if with_model else None
    wide = None if model is None else np.concatenate([model, np.full((2000, 3), np.nan)])
    alone = dawid_skene(faces, people, given, num_faces=60, num_classes=3, model=model)
    among = dawid_skene(faces, people, given, num_faces=2060, num_classes=3, model=wide)
    np.testing.assert_allclose(among.probs[:60], alone.probs, atol=1e-5)
    np.testing.assert_allclose(among.probs[60:] - alone.shares, 0, atol=1e-5)
