"""Numbers: the parts a report is made of, and what each is called and means."""

from dataclasses import dataclass
from typing import NamedTuple


class Metric(NamedTuple):
    """How a number is named, shown and explained; `unit` is "%", "nats" or "classes", `faces` says which faces count."""

    title: str
    unit: str
    faces: str
    meaning: str


METRICS = {
    "vote_accuracy": Metric("Vote accuracy", "%", "with class votes", "mean share of a face's class votes given to the answer"),
    "vote_accuracy_ceiling": Metric(
        "Vote accuracy, ceiling", "%", "with class votes", "the most that one answer a face could reach"
    ),
    "accuracy": Metric("Accuracy", "%", "with a label", "answers that are the label"),
    "coverage": Metric("Coverage", "%", "predicted", "faces with an answer; the others count as errors"),
    "mean_class_accuracy": Metric("Mean class accuracy", "%", "with a label", "mean recall over the classes that occur"),
    "macro_f1": Metric("Macro F1", "%", "with a label", "mean F1 over the classes that occur as label or answer"),
    "accuracy_unanimous": Metric(
        "Accuracy, unanimous", "%", "with a label and all votes on one class", "faces that nobody doubts"
    ),
    "accuracy_split": Metric("Accuracy, split", "%", "with a label and divided votes", "faces on which people differ"),
    "cross_entropy": Metric("Cross-entropy to votes", "nats", "answered, with class votes", "lower is better"),
    "kl": Metric("KL from votes", "nats", "answered, with class votes", "cross-entropy less the votes' own entropy; 0 is best"),
    "calibration_error": Metric(
        "Calibration error", "%", "answered, with a label", "confidence against being right; 0 is best"
    ),
    "calibration_error_votes": Metric(
        "Calibration error, votes",
        "%",
        "answered, with class votes",
        "confidence against the answer's share of the votes; 0 is best",
    ),
    "label_set_size": Metric(
        "Label set size", "classes", "answered, with a label set", "classes that cannot be ruled out, on average"
    ),
    "label_set_coverage": Metric("Label set coverage", "%", "with a label set and a label", "label sets that hold the label"),
    "label_set_vote_share": Metric(
        "Label set coverage, votes", "%", "with a label set and class votes", "share of the votes inside the label set"
    ),
}


@dataclass(frozen=True)
class Number:
    """One number over `n` faces with its 95 % interval; all null where no face qualifies. Shares are in [0, 1]."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class ClassNumbers:
    """How one class fares: `count` faces carry it as their label; precision is null for a class never predicted."""

    name: str
    count: int
    recall: Number
    precision: float | None


@dataclass(frozen=True)
class Bin:
    """Faces of like confidence: how many, their mean confidence, and the mean share that came true, in [0, 1]."""

    count: int
    confidence: float
    share: float
