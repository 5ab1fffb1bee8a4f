"""Prints what PartialLabelClassifier reaches on tables without tuning, beside simpler ways, and how long a large fit takes.

python benchmarks/tabular.py speed              20,000 × 500 with 50 classes
python benchmarks/tabular.py flips [SEEDS]      digits and wine, each wrong class a candidate with probability 0.1 to 0.7
python benchmarks/tabular.py captions [SEEDS [TABLE]]   tables made like real ones; FERPlus' own votes too if TABLE has them
"""

import resource
import sys
from time import perf_counter

import numpy as np
from sklearn.datasets import load_digits, load_wine, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.tabular import PartialLabelClassifier, PartialLabelNeighbors

KERNELS = {
    "auto": {},
    # The bar: one width and strength, no balance between classes, features standardised.
    "sketch": {"scalings": ["standard"], "widths": [1.0], "strengths": [1.0], "rounds": 30, "balances": [0.0]},
    "best fixed": {"scalings": ["standard"], "widths": [0.5], "strengths": [0.3]},  # of all sets together
    "no balance": {"balances": [0.0]},
}


def speed():
    """Prints the time of large fits: classes far apart and small sets; near and large; sizes, for which there are more ways."""
    for name, apart, rate in (("easy", 0.5, 0.05), ("hard", 0.1, 0.3), ("sizes", 0.3, 0.1)):
        random = np.random.default_rng(0)
        labels = random.integers(0, 50, 20_000)
        X = random.normal(size=(20_000, 500)) + apart * random.normal(size=(50, 500))[labels]
        fit_large(name, abs(X) if name == "sizes" else X, labels, flipped(labels, 50, rate, random))


def fit_large(name, X, labels, sets):
    """Prints the time of one fit."""
    started, before = perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    found = PartialLabelClassifier(random_state=0).fit(X, sets)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    took, busy = perf_counter() - started, spent.ru_utime - before.ru_utime
    right = (found.label_weights_.argmax(1) == labels).mean()
    print(
        f"tabular: {name} fit of 20,000 × 500, 50 classes: {took:.0f} s, {busy:.0f} s of one core, peak "
        f"{spent.ru_maxrss / 2**20:.1f} GB, {right:.1%} of the labels found"
    )


def logistic():
    """Returns logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def flipped(labels, num_classes, rate, random):
    """Returns sets of the label and of wrong classes by chance."""
    sets = random.random((len(labels), num_classes)) < rate
    sets[np.arange(len(labels)), labels] = True
    return sets


def halves(X, labels, random):
    """Returns features and labels of four fifths, then of the rest."""
    order = random.permutation(len(X))
    cut = len(X) * 4 // 5
    return X[order[:cut]], labels[order[:cut]], X[order[cut:]], labels[order[cut:]]


def flips(seeds):
    """Accuracy on unseen samples, mean and standard deviation over seeds."""
    print("| set | flips | true labels | auto | neighbours | linear PRODEN | random candidate |\n|---|---|---|---|---|---|---|")
    for name, (X, labels) in {"digits": load_digits(return_X_y=True), "wine": load_wine(return_X_y=True)}.items():
        for rate in (0.1, 0.3, 0.5, 0.7):
            rows = []
            for seed in range(seeds):
                random = np.random.default_rng(seed)
                X_train, train, X_test, test = halves(X, labels, random)
                sets = flipped(train, labels.max() + 1, rate, random)
                lot = (random.random(sets.shape) * sets).argmax(1)
                fits = (
                    logistic().fit(X_train, train),
                    PartialLabelClassifier(random_state=seed).fit(X_train, sets),
                    PartialLabelNeighbors().fit(X_train, sets),
                    PartialLabelClassifier("proden", random_state=seed).fit(X_train, sets),
                    logistic().fit(X_train, lot),
                )
                rows.append([found.score(X_test, test) for found in fits])
            scores = 100 * np.array(rows)
            cells = [f"{mean:.1f} ± {off:.1f}" for mean, off in zip(scores.mean(0), scores.std(0), strict=True)]
            print(f"| {name} | {rate} | " + " | ".join(cells) + " |", flush=True)


def stories(labels, num_classes, random, size, absent=0.3):
    """Samples of one photo share a caption, which names them all and some who are not shown; photos belong to topics."""
    topics = max(3, num_classes // 3)
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    cast = random.dirichlet(np.maximum(0.15 * num_classes * shares, 1e-3), size=topics) + 1e-4  # (topics, K)
    cast /= cast.sum(1, keepdims=True)
    topic = np.array([random.choice(topics, p=cast[:, label] / cast[:, label].sum()) for label in labels])
    sets = np.zeros((len(labels), num_classes), bool)
    for each in range(topics):
        rows = random.permutation(np.flatnonzero(topic == each))
        while len(rows):
            count = 1 + random.poisson(size - 1)
            photo, rows = rows[:count], rows[count:]
            strangers = random.choice(num_classes, random.poisson(absent * count), p=cast[each])
            sets[np.ix_(photo, np.union1d(labels[photo], strangers))] = True
    return sets


def identities(count, num_classes, width, random, apart):
    """Faces of people of whom few are seen often; pose and light move features more than who it is."""
    shares = 1 / np.arange(1, num_classes + 1) ** 0.8
    labels = random.choice(num_classes, count, p=shares / shares.sum())
    decay = 1 / np.sqrt(1 + np.arange(width) / 10)
    pose = random.normal(size=(count, 12)) @ random.normal(size=(12, width))
    return (
        apart * random.normal(size=(num_classes, width))[labels] + 1.2 * pose + random.normal(size=pose.shape)
    ) * decay, labels


def look_alikes(X, labels, num_classes, random):
    """Labels that occur twice among the 15 samples that look most alike, through noise, are candidates."""
    noisy = X + 1.5 * X.std(0) * random.normal(size=X.shape)
    near = NearestNeighbors(n_neighbors=15).fit(noisy).kneighbors(noisy, return_distance=False)
    seen = np.eye(num_classes)[labels[near]].sum(1)
    return (seen >= 2) | np.eye(num_classes, dtype=bool)[labels]


def frequent(labels, num_classes, random):
    """The three most frequent classes are candidates of half of all samples."""
    sets = flipped(labels, num_classes, 0.02, random)
    top = np.argsort(-np.bincount(labels, minlength=num_classes))[:3]
    sets[:, top] |= random.random((len(labels), 3)) < 0.5
    return sets


def crowds(labels, num_classes, random):
    """Small photos; the first class, none of those named, is a candidate of four samples in five."""
    sets = stories(labels, num_classes, random, 2)
    sets[:, 0] |= random.random(len(labels)) < 0.8
    return sets


def words(count, num_classes, width, random):
    """Counts of words: some of a class, more of what is seen around it."""
    shares = 1 / np.arange(1, num_classes + 1) ** 0.7
    labels = random.choice(num_classes, count, p=shares / shares.sum())
    base = random.dirichlet(np.full(width, 0.3))
    own = random.dirichlet(base * width * 0.15 + 0.02, size=num_classes)[labels]
    around = random.dirichlet(base * width * 0.5 + 0.02, size=25)[random.integers(0, 25, count)]
    return np.array([random.multinomial(60, row) for row in 0.3 * own + 0.7 * around]).astype(float), labels


def caption_sets(seed, table):
    """Yields name, features, labels and candidate sets."""
    random = np.random.default_rng(seed)
    X, labels = load_digits(return_X_y=True)
    yield "digits, captions", X, labels, stories(labels, 10, random, 3)
    yield "digits, look-alikes", X, labels, look_alikes(X, labels, 10, random)
    X, labels = identities(1500, 16, 108, random, 0.55)
    yield "people 16, captions", X, labels, stories(labels, 16, random, 2.2)
    X, labels = identities(1500, 60, 150, random, 0.75)
    yield "people 60, captions", X, labels, stories(labels, 60, random, 2.2)
    yield "people 60, frequent", X, labels, frequent(labels, 60, random)
    units = 10 ** random.uniform(-2, 2, X.shape[1])
    yield "people 60, other units", np.sinh(0.7 * X) * units, labels, stories(labels, 60, random, 2.2)
    labels = np.where(random.random(len(X)) < 0.4, 0, labels)  # two in five are nobody who is named, whatever they look like
    yield "people 60, crowds", X, labels, crowds(labels, 60, random)
    X, labels = words(1500, 23, 48, random)
    yield "words 23, captions", X, labels, stories(labels, 23, random, 2.2)
    X, labels = make_classification(
        1500, 60, n_informative=12, n_redundant=10, n_classes=20, n_clusters_per_class=1, class_sep=1.2, random_state=seed
    )
    yield "blobs 20, captions", X, labels, stories(labels, 20, random, 3)
    if table:
        yield from faces(table, random)


def faces(table_file, random):
    """Yields sets of 1,500 faces with votes: those of the votes themselves, and captions."""
    import torch

    from mien.data.images import load_images
    from mien.data.table import SampleTable
    from mien.learn.hog import hog

    table = SampleTable.read(table_file).in_split("train")
    top = np.sort(table.class_votes, 1)
    table = table.take(random.permutation(np.flatnonzero(top[:, -1] > top[:, -2]))[:1500])
    pictures, _ = load_images(table, channels=1, size=48)
    X = hog(torch.from_numpy(pictures)).flatten(1).numpy()
    votes, labels = table.class_votes, table.class_votes.argmax(1)
    yield "faces, two votes or more", X, labels, (votes > 1) | (votes == votes.max(1, keepdims=True))
    yield "faces, any vote", X, labels, votes > 0
    yield "faces, captions", X, labels, stories(labels, votes.shape[1], random, 2.2)


def captions(seeds, table):
    """Accuracy on unseen samples and share of the labels found in training, means over seeds; means over sets last."""
    makers = {name: PartialLabelClassifier(options=options, random_state=0) for name, options in KERNELS.items()}
    makers |= {"neighbours": PartialLabelNeighbors(), "linear PRODEN": PartialLabelClassifier("proden", random_state=0)}
    found = {}
    for seed in range(seeds):
        for name, X, labels, sets in caption_sets(seed, table):
            order = np.random.default_rng(seed).permutation(len(X))
            train, test = order[: len(X) // 2], order[len(X) // 2 :]
            fits = [maker.fit(X[train], sets[train]) for maker in makers.values()]
            scores = [
                (each.score(X[test], labels[test]), (each.label_weights_.argmax(1) == labels[train]).mean()) for each in fits
            ]
            found.setdefault(name, []).append(scores)
            print(f"{name}, seed {seed}: {scores[0][0]:.3f}, sketch {scores[1][0]:.3f}", file=sys.stderr, flush=True)
    print("| set | " + " | ".join(makers) + " |\n" + "|---" * (1 + len(makers)) + "|")
    means = {name: 100 * np.mean(scores, 0) for name, scores in found.items()}
    for name, row in {**means, "mean": np.mean(list(means.values()), 0)}.items():
        print(f"| {name} | " + " | ".join(f"{unseen:.1f} / {kept:.1f}" for unseen, kept in row) + " |")


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["speed"]
    seeds, table = int(rest[0]) if rest else 10, rest[1] if len(rest) > 1 else None
    {"speed": speed, "flips": lambda: flips(seeds), "captions": lambda: captions(seeds, table)}[what]()
