"""Prints how well doubtful labels are found, how many votes are saved, and how long a million scores take.

python benchmarks/audit.py labels TABLE PREDICTIONS [START]   wrong labels planted in faces that people agree on
python benchmarks/audit.py votes TABLE PREDICTIONS            few votes beside a model against many alone
python benchmarks/audit.py doubts TABLE PREDICTIONS           which score of votes against the model ranks best
python benchmarks/audit.py speed                              1,000,000 faces, 8 classes

TABLE has all votes; PREDICTIONS are out of fold (`mien candidates scores`). With START, a pre-training that saw no label,
linear models on its frozen features are trained on the planted labels in five folds; theirs stand in for those of the file.
"""

import resource
import sys
import time
import warnings

import numpy as np

from mien.audit import scores
from mien.audit.belief import calibrate
from mien.audit.budget import ALONE, PLACED, UNIFORM, simulate
from mien.audit.run import beside
from mien.data.corrupt import corrupt
from mien.data.readers.drawn import confusions
from mien.data.table import SampleTable
from mien.evaluate.ranking import average_precision
from mien.predict.predictions import Predictions

AGREED = 0.9  # share of all votes for one class: people nearly agree
SEEDS = 5
T_95 = 2.776  # 97.5 % quantile of Student's distribution with 4 degrees of freedom
CLEANLAB = [
    ("self_confidence", False),
    ("self_confidence", True),
    ("normalized_margin", False),
    ("normalized_margin", True),
    ("confidence_weighted_entropy", False),
]


def read(table_file, predictions_file):
    """Returns the predicted faces of a table and their probabilities."""
    return beside(SampleTable.read(table_file), Predictions.read(predictions_file))


def labels(table_file, predictions_file, start=None):
    """Prints 1 − AP of planted labels: of cleanlab's best score, a calibration that knows the truth, and the combined score."""
    whole, probs = read(table_file, predictions_file)
    confused = confusions(whole)
    along = {
        name: {other: float(confused[row, place]) for place, other in enumerate(whole.classes)}
        for row, name in enumerate(whole.classes)
    }
    agreed = whole.class_votes.max(1) >= AGREED * whole.votes.sum(1)
    table, probs, votes = whole.take(agreed), probs[agreed], whole.class_votes[agreed].astype(int)
    truth = votes.argmax(1)
    table = table.with_column("label", np.array(table.classes, object)[truth])
    features = frozen(table, start) if start else None
    print(f"{len(table):,} faces with {AGREED:.0%} of their votes for one class; {SEEDS} seeds")
    print("| votes shown | wrong labels | cleanlab's best | 1 − AP | calibrated | to the truth | combined | removed |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, errors in (("at random", None), ("along confusions", along)):
        for rate in (0.05, 0.1, 0.2):
            found = {}
            for seed in range(SEEDS):
                planted = corrupt(table, rate=rate, along=errors, seed=seed).labels()
                mine = probs if features is None else trained(features, planted, seed)
                without = {**scores_of_labels(mine, planted), "to the truth": knowing(mine, truth, planted)}
                for shown, drawn in shown_votes(votes, truth, planted, seed):
                    for name, score in {**without, **scores_of_votes(mine, planted, drawn)}.items():
                        lost = 1 - average_precision(-score, planted != truth)
                        found.setdefault(shown, {}).setdefault(name, []).append(lost)
            for shown, lost in found.items():
                line(shown, f"{rate:.0%} {kind}", {name: np.array(values) for name, values in lost.items()})


def line(shown, planted, lost):
    """Prints one row: cleanlab's best by its mean over the seeds, and the share of it that is removed with its interval."""
    combined, calibrated, limit = lost.pop("combined"), lost.pop("calibrated"), lost.pop("to the truth")
    best = min(lost, key=lambda name: lost[name].mean())
    removed = 100 * (1 - combined / lost[best])
    half = T_95 * removed.std(ddof=1) / np.sqrt(SEEDS)
    print(
        f"| {shown} | {planted} | {best} | {lost[best].mean():.4f} | {calibrated.mean():.4f} | {limit.mean():.4f} "
        f"| {combined.mean():.4f} | {removed.mean():.0f} % ({removed.mean() - half:.0f} – {removed.mean() + half:.0f}) |",
        flush=True,
    )


def scores_of_labels(probs, planted):
    """Returns cleanlab's scores by name, self-confidence once the model is calibrated to the labels, and the combined one."""
    from cleanlab.rank import get_label_quality_scores

    found = {
        method + (" adjusted" if adjusted else ""): get_label_quality_scores(
            planted, probs, method=method, adjust_pred_probs=adjusted
        )
        for method, adjusted in CLEANLAB
    }
    found["calibrated"] = scores.self_confidence(calibrate(probs, np.eye(probs.shape[1])[planted]), planted)
    return {**found, "combined": scores.combined(probs, planted)}


def knowing(probs, truth, planted):
    """Returns self-confidence after calibration to the truth of the other folds: about what a calibration can reach."""
    from sklearn.linear_model import LogisticRegression

    inputs, folds, found = np.log(probs.clip(1e-4)), np.arange(len(probs)) % 5, np.zeros(probs.shape)
    for fold in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # five faces of disgust: the last digits of its weights are slow to come
            model = LogisticRegression(max_iter=500).fit(inputs[folds != fold], truth[folds != fold])
        found[np.ix_(folds == fold, model.classes_)] = model.predict_proba(inputs[folds == fold])
    return scores.self_confidence(found, planted)


def scores_of_votes(probs, planted, drawn):
    """Returns the combined score and cleanlab's for several annotators; none where no vote adds to the label."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    if drawn is None or drawn.sum(1)[0] == 1:
        return {}
    people = np.stack([np.repeat(np.arange(drawn.shape[1]), row) for row in drawn]).astype(float)
    people = np.random.default_rng(0).permuted(people, axis=1)  # no annotator is better than another
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quality = get_label_quality_multiannotator(
            people, probs, verbose=False, return_detailed_quality=False, return_annotator_stats=False
        )["label_quality"]
    agrees = quality["consensus_label"].to_numpy() == planted
    sure = quality["consensus_quality_score"].to_numpy()
    return {"CROWDLAB": np.where(agrees, sure, 1 - sure), "combined": scores.combined(probs, planted, drawn)}


def shown_votes(votes, truth, planted, seed):
    """Yields what is shown of the votes: none; one, two, three whose majority is the planted label.

    A crowd that errs alike: the face's own votes, in which the truth and the planted class have changed places. By chance: the
    majority is wrong, the third vote is one of the face's own.
    """
    yield "none", None
    rows, random = np.arange(len(votes)), np.random.default_rng([seed, 5])
    alike = votes.copy()
    alike[rows, truth], alike[rows, planted] = votes[rows, planted], votes[rows, truth]
    one = np.zeros_like(votes)
    one[rows, planted] = 1
    yield "one", one
    yield "two", 2 * one
    for name, source in (("three, alike", np.maximum(alike - 2 * one, 0)), ("three, by chance", votes)):
        third = np.array([random.multinomial(1, row / row.sum()) for row in source])
        yield name, 2 * one + third


def frozen(table, start):
    """Returns (N, D) standardised features of an encoder that saw no label."""
    import torch

    from mien.data.images import load_images
    from mien.learn.export import read_model

    torch.set_num_threads(1)
    model = read_model(start)[0].eval()
    images, _ = load_images(table, channels=model.config["channels"], size=model.config["image_size"])
    with torch.inference_mode():
        found = torch.cat([model.encode(batch).pooled.float() for batch in torch.from_numpy(images).split(32)]).numpy()
    return (found - found.mean(0)) / found.std(0).clip(1e-6)


def trained(features, planted, seed):
    """Returns (N, K) probabilities of linear models that were trained on the other folds' planted labels."""
    from sklearn.linear_model import LogisticRegression

    folds = np.random.default_rng([seed, 7]).integers(0, 5, len(features))
    probs = np.full((len(features), 8), 1e-6)
    for fold in range(5):
        model = LogisticRegression(C=0.01, max_iter=200, tol=1e-3).fit(features[folds != fold], planted[folds != fold])
        probs[np.ix_(folds == fold, model.classes_)] = model.predict_proba(features[folds == fold])
    return probs / probs.sum(1, keepdims=True)


def votes(table_file, predictions_file):
    """Prints the agreement of few votes placed by a model beside that of many alone, by class too."""
    table, probs = read(table_file, predictions_file)
    for amount, many, held_out in ((1, 7, 3), (0.5, 5, 3), (0.5, 5, 5)):
        points = simulate(probs, table.votes, amounts=[amount], held_out=held_out, seeds=SEEDS)
        print(
            f"| {len(probs):,} faces, {held_out} votes held out | votes a face | agreement | "
            + " | ".join(table.classes)
            + " |"
        )
        print("| --- | ---: | ---: |" + " ---: |" * len(table.classes))
        for point in points:
            if (point.way == ALONE and point.votes not in (1, 3, many)) or (point.way == UNIFORM and not point.votes):
                continue
            low_high = f"{100 * point.low:.1f} – {100 * point.high:.1f}"
            by_class = " | ".join(f"{100 * value:.1f}" for value in point.classes)
            print(f"| {point.way} | {point.votes:g} | {100 * point.agreement:.1f} ({low_high}) | {by_class} |")
        few = {point.way: point for point in points if point.votes == amount}[PLACED]
        alone = next(point for point in points if point.way == ALONE and point.votes == many)
        worse = [
            name for name, one, other in zip(table.classes, few.classes, alone.classes, strict=True) if one < other - 0.005
        ]
        print(f"{amount:g} placed − {many} alone: {100 * (few.agreement - alone.agreement):+.1f}; worse: {', '.join(worse)}\n")


def doubts(table_file, predictions_file):
    """Prints the average precision of scores of votes where 5 % of the faces' votes for top and another class change places."""
    table, probs = read(table_file, predictions_file)
    before = table.class_votes.astype(int)
    before, probs = before[before.any(1)], probs[before.any(1)]
    found = {}
    for seed in range(SEEDS):
        random = np.random.default_rng([seed, 9])
        wrong = random.random(len(before)) < 0.05
        top = before.argmax(1)
        other = (top + random.integers(1, 8, len(top))) % 8
        drawn, rows = before.copy(), np.flatnonzero(wrong)
        drawn[rows, top[rows]], drawn[rows, other[rows]] = before[rows, other[rows]], before[rows, top[rows]]
        expected = calibrate(probs, drawn)
        shares = drawn / drawn.sum(1, keepdims=True)
        for name, score in {
            "likelihood, calibrated": scores.votes_likelihood(expected, drawn),
            "likelihood, as the model says": scores.votes_likelihood(probs, drawn),
            "Dirichlet-multinomial, strength 3": dirichlet_multinomial(expected, drawn, 3.0),
            "Dirichlet-multinomial, strength 12": dirichlet_multinomial(expected, drawn, 12.0),
            "shares in common": np.minimum(expected, shares).sum(1),
            "combined score of the top class": scores.combined(probs, drawn.argmax(1), drawn),
        }.items():
            found.setdefault(name, []).append(average_precision(-score, wrong))
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.3f} ± {np.std(values):.3f} |")


def dirichlet_multinomial(expected, counts, strength):
    """Returns the log-probability per vote of votes about these shares."""
    from scipy.special import gammaln

    before = strength * expected.clip(1e-4)
    total = counts.sum(1)
    found = (gammaln(before + counts) - gammaln(before)).sum(1) + gammaln(before.sum(1)) - gammaln(before.sum(1) + total)
    return found / total


def speed(count=1_000_000):
    """Prints the time and the memory of all scores that need no picture."""
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.full(8, 0.3), count)
    planted = random.integers(0, 8, count)
    counts = random.multinomial(3, np.full(8, 1 / 8), count)
    start = time.process_time()
    scores.combined(probs, planted, counts)
    middle = time.process_time()
    for score in (scores.self_confidence, scores.margin, scores.confident_learning):
        score(probs, planted)
    scores.votes_likelihood(probs, counts)
    scores.inside_candidates(probs, counts > 0)
    scores.face(counts, 7)
    end = time.process_time()
    for _ in range(10):
        probs.sum(), counts.sum()
    pass_s = (time.process_time() - end) / 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"audit: {count:,} faces × 8 classes: {end - start:.1f} s, combined alone {middle - start:.1f} s; floor {pass_s:.4f} s "
        f"(one pass over the same bytes), it takes {(end - start) / pass_s:.0f} × it; peak {peak:.0f} MB"
    )


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["speed"]
    {"labels": labels, "votes": votes, "doubts": doubts, "speed": speed}[what](*rest)
