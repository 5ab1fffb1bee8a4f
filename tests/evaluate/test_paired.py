import json
from math import comb

import numpy as np
import pytest

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import evaluate
from mien.evaluate.comparison import tables, to_html, to_latex, to_markdown
from mien.evaluate.paired import COMPARED, compare, mcnemar, read_arms
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")
N = 300


@pytest.fixture(scope="module")
def table():
    votes = np.random.default_rng(0).multinomial(10, [0.4, 0.3, 0.2, 0.1], N)
    votes[:60] = [10, 0, 0, 0]
    votes[60:90] = [0, 0, 0, 10]  # no vote for a class
    label = [CLASSES[row[:3].argmax()] if row.max() > 4 and row.argmax() < 3 else None for row in votes]
    columns = {"sample": [f"face_{row}" for row in range(N)], "votes": votes, "label": label}
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=(*CLASSES, "unknown"))


def predictions(table, seed, skill):
    """Probabilities that lean towards the votes by `skill`."""
    shares = (table.class_votes + 0.5) / (table.class_votes + 0.5).sum(1, keepdims=True)
    noise = np.random.default_rng(seed).dirichlet([1, 1, 1], N)
    probs = (skill * shares + (1 - skill) * noise).astype(np.float32)
    return Predictions(tuple(table.samples), probs, CLASSES)


@pytest.fixture(scope="module")
def arms(table):
    return {
        "poor": {0: predictions(table, 0, 0.3), 1: predictions(table, 1, 0.3)},
        "good": {0: predictions(table, 2, 0.7), 1: predictions(table, 3, 0.7), 2: predictions(table, 4, 0.7)},
        "other": {7: predictions(table, 5, 0.7)},
    }


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (1, 6), (10, 2), (0, 9)])
def test_mcnemar_is_the_exact_binomial_test_of_the_faces_on_which_two_methods_differ(first, second):
    here = np.array([True] * first + [False] * second + [True, False] * 5)
    baseline = np.array([False] * first + [True] * second + [True, False] * 5)
    total, fewer = first + second, min(first, second)
    expected = min(1.0, 2 * sum(comb(total, k) for k in range(fewer + 1)) / 2**total)
    found = mcnemar(here, baseline)
    assert (found.only_here, found.only_baseline) == (first, second) and found.p == pytest.approx(expected, rel=1e-9)


def test_levels_are_the_means_over_seeds_of_what_the_report_says(table, arms):
    found = {arm.name: arm for arm in compare(arms, table, "poor", replicates=50).arms}
    for name, runs in arms.items():
        reports = [evaluate(each, table, replicates=2).numbers for each in runs.values()]
        assert found[name].seeds == tuple(runs)
        for metric in COMPARED:
            values = [numbers[metric].value for numbers in reports]
            assert found[name].by_seed[metric] == pytest.approx(values, abs=1e-6)
            assert found[name].numbers[metric].value == pytest.approx(np.mean(values), abs=1e-6)
            assert found[name].numbers[metric].n == reports[0][metric].n


def test_differences_are_paired_over_faces_and_common_seeds(table, arms):
    found = {arm.name: arm for arm in compare(arms, table, "poor").arms}
    good, poor = found["good"], found["poor"]
    for metric in COMPARED:
        common = np.mean(good.by_seed[metric][:2]) - np.mean(poor.by_seed[metric])
        assert good.differences[metric].value == pytest.approx(common, abs=1e-9)
    assert not poor.differences and not found["other"].differences and not found["other"].mcnemar
    known = table.labels() >= 0
    for seed, test in enumerate(good.mcnemar):
        right = [(arms[name][seed].positions == table.labels())[known] for name in ("good", "poor")]
        assert test == mcnemar(*right)


def test_an_interval_over_faces_agrees_with_the_plain_paired_bootstrap(table, arms):
    one = {name: {0: arms[name][0]} for name in ("poor", "good")}
    found = compare(one, table, "poor", replicates=2000).arms[1].differences["accuracy"]
    known = table.labels() >= 0
    gap = sum(
        (sign * (one[name][0].positions == table.labels())[known] for name, sign in (("good", 1), ("poor", -1))),
        0 * known[known],
    )
    random = np.random.default_rng(3)
    drawn = [gap[random.integers(0, len(gap), len(gap))].mean() for _ in range(2000)]
    np.testing.assert_allclose([found.low, found.high], np.percentile(drawn, [2.5, 97.5]), atol=0.02)


def test_seeds_that_differ_widen_the_interval(table, arms):
    alike = {"poor": {seed: arms["poor"][0] for seed in range(3)}}
    apart = {"poor": {0: arms["poor"][0], 1: arms["poor"][1], 2: predictions(table, 9, 0.9)}}
    widths = []
    for each in (alike, apart):
        number = compare(each, table, "poor").arms[0].numbers["accuracy"]
        widths.append(number.high - number.low)
    assert widths[1] > 1.3 * widths[0]


def test_a_method_compared_with_itself_differs_by_nothing(table, arms):
    found = compare({"poor": arms["poor"], "twin": dict(arms["poor"])}, table, "poor").arms[1]
    assert all((number.value, number.low, number.high) == (0, 0, 0) for number in found.differences.values())
    assert all(test == (0, 0, 1.0) for test in found.mcnemar)


def test_without_a_baseline_there_are_levels_alone(table, arms):
    found, beside = compare(arms, table, None, replicates=50), compare(arms, table, "poor", replicates=50)
    assert [arm.by_seed for arm in found.arms] == [arm.by_seed for arm in beside.arms]
    assert not any(arm.differences or arm.mcnemar for arm in found.arms) and len(tables("All", found)) == 1


def test_the_order_of_the_faces_in_a_file_does_not_matter(table, arms):
    first, other = arms["poor"][0], arms["good"][0]
    turned = {"poor": {0: first}, "good": {4: other.take(np.arange(len(other))[::-1])}}
    assert compare(turned, table, "poor") == compare({"poor": {0: first}, "good": {4: other}}, table, "poor")


def test_predictions_of_other_faces_or_classes_are_refused_with_what_differs(table, arms):
    first = arms["poor"][0]
    fewer = first.of(table.samples[:-1])
    words = r"good \(seed 4\) \(299 faces\) and of poor \(seed 0\) \(300\).*'face_299' is in one of them"
    with pytest.raises(TableError, match=words):
        compare({"poor": {0: first}, "good": {4: fewer}}, table, "poor")
    renamed = Predictions(first.samples, first.probs, ("calm", "glad", "cross"))
    with pytest.raises(TableError, match="have classes"):
        compare({"poor": {0: first}, "good": {0: renamed}}, table, "poor")
    with pytest.raises(TableError, match="not in the table"):
        compare({"poor": {0: first}}, table.take(np.arange(10)), "poor")


def test_the_tables_say_what_was_published_and_what_was_not_measured(table, arms):
    comparison = compare(arms, table, "poor", replicates=50)
    found = tables("Two & a half_methods", comparison, paper={"good": "91.1 (Table I)"}, missing=["later"])
    levels, gaps = found
    assert [row[0] for row in levels.rows] == ["poor", "good", "other", "later"]
    assert levels.rows[1][1] == "0, 1, 2" and levels.rows[1][-1] == "91.1 (Table I)" and "not measured" in levels.rows[3]
    assert f"{100 * comparison.arms[1].numbers['accuracy'].value:.1f} (" in levels.rows[1][3]
    assert [row[0] for row in gaps.rows] == ["good − poor"] and gaps.rows[0][-1].count(",") == 1
    assert all(len(row) == len(each.header) for each in found for row in each.rows)
    assert "| good | 0, 1, 2 |" in to_markdown(found)
    assert "Two &amp; a half_methods" in to_html(found, "t") and r"Two \& a half\_methods" in to_latex(found)
    assert json.loads(comparison.to_json())["arms"][1]["mcnemar"][0][2] == comparison.arms[1].mcnemar[0].p


def test_files_are_methods_and_seeds_by_their_names(table, arms, tmp_path):
    for name, seed in (("poor", 0), ("poor", 1), ("good", 2)):
        arms[name][seed].write(tmp_path / f"{name}-s{seed}.parquet")
    arms["other"][7].write(tmp_path / "other.parquet")
    found = read_arms(sorted(tmp_path.iterdir()))
    assert {name: list(runs) for name, runs in found.items()} == {"good": [2], "other": [0], "poor": [0, 1]}
    (tmp_path / "again").mkdir()
    arms["poor"][1].write(tmp_path / "again" / "poor-s1.parquet")
    with pytest.raises(TableError, match="seed 1 of poor is there already"):
        read_arms([tmp_path / "poor-s1.parquet", tmp_path / "again" / "poor-s1.parquet"])
    with pytest.raises(TableError, match=r"baseline 'pore' is not among them\. Did you mean poor\?"):
        compare(arms, table, "pore")


def test_with_votes_alone_nothing_is_tested_and_the_json_is_json(table, arms):
    votes = SampleTable(table.columns.drop_columns(["label"]), table.classes, table.vote_names)
    found = compare(arms, votes, "poor", replicates=20)
    read = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert read["arms"][1]["by_seed"]["accuracy"] == [None] * 3 and read["arms"][1]["by_seed"]["vote_accuracy"][0] > 0
    assert found.arms[1].mcnemar == () and tables("Votes", found)[1].rows[0][-1] == "–"


def test_divergences_are_paired_over_the_faces_that_all_methods_answer(table, arms):
    one = arms["good"][0]
    status = tuple("broken" if row < 150 else "ok" for row in range(N))
    probs = np.where(np.arange(N)[:, None] < 150, np.nan, one.probs).astype(np.float32)
    fewer = Predictions(one.samples, probs, CLASSES, status=status)
    found = compare({"all": {0: one}, "fewer": {0: fewer}}, table, "all", replicates=20).arms
    for metric in ("kl", "calibration_error_votes"):
        assert found[1].differences[metric].value == 0  # their answers to the others are equal
        assert [arm.numbers[metric].n for arm in found] == [150, 150]
    assert found[1].differences["accuracy"].value < 0  # where no answer is an error


def test_no_interval_of_a_calibration_error_reaches_below_zero():
    random = np.random.default_rng(0)
    lows = []
    for _ in range(40):
        share = random.uniform(0.5, 1, 40)
        probs = np.stack([share, 1 - share], 1)
        votes = np.array([random.multinomial(2, row) for row in probs])
        columns = {"sample": [str(row) for row in range(40)], "votes": votes}
        table = SampleTable.from_columns(columns, classes=("a", "b"), vote_names=("a", "b"))
        runs = {"one": {0: Predictions(tuple(table.samples), probs.astype(np.float32), ("a", "b"))}}
        lows.append(compare(runs, table, None, replicates=60).arms[0].numbers["calibration_error_votes"].low)
    assert min(lows) == 0
