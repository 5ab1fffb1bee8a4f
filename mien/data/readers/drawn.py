"""Drawn faces with simulated annotators: the one data set on which the truth behind every vote is known."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from mien.classes import FERPLUS, FERPLUS_OTHER_ANSWERS
from mien.data.images import as_png
from mien.data.readers.drawing import draw
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

RARE_SHARE = 0.025  # a class is drawn at least this often (before the shares are made to sum to 1); ours
DOMINANT_SHARE = (0.55, 0.8)  # of the first expression in a compound face; ours
REPORT_SHARE = 0.15  # the last samples stand for the owner's PublicTest; ours


def read(*, faces: int = 4000, seed: int = 0, size: int = 48, annotators: int = 10, compound_share: float = 0.3) -> SampleTable:
    """Returns a table of drawn faces: image, votes, and the truth that the votes came from.

    A face shows one of the eight expressions of FERPlus, about as often as it occurs there, or a compound of two, the second
    drawn from what people also see in the first. Each annotator answers by the confusion row of what is shown. The truth stands
    in `label_true` (the dominant expression), `second` (of a compound face, or null) and `share` (of the dominant one).

    Args:
        faces: N. Sample i is the same face with the same votes whatever N is; only the split depends on it.
        seed: Chooses everything.
        size: H and W in pixels.
        annotators: Answers for each face.
        compound_share: Share of the faces that show two expressions, 0…1.

    Raises:
        RecipeError: If an argument is out of range.
    """
    _check(faces, seed, annotators, compound_share)
    rows, shares = _ferplus()
    first, second, share = _truth(rows, shares, faces, seed, compound_share)
    expressions = share * np.eye(len(FERPLUS))[first] + (1 - share) * np.eye(len(FERPLUS))[second]  # (N, 8)
    answers = np.random.default_rng([seed, 3]).random((faces, annotators))
    in_report = np.arange(faces) >= faces - round(REPORT_SHARE * faces)
    names = np.array(FERPLUS, object)
    how = {
        "step": "drawn",
        "faces": faces,
        "seed": seed,
        "size": size,
        "annotators": annotators,
        "compound_share": compound_share,
    }
    return SampleTable.from_columns(
        {
            "sample": [f"drawn_{index:05d}" for index in range(faces)],
            "image": [as_png(picture, compress_level=0) for picture in draw(expressions, seed=seed, size=size)],
            "owner_split": np.where(in_report, "PublicTest", "Training"),
            "split": np.where(in_report, "report", "train"),
            "votes": _vote(expressions @ rows, answers),
            "label_true": names[first],
            "second": pa.array(np.where(share[:, 0] < 1, names[second], None), pa.string()),
            "share": share[:, 0].astype(np.float32),
        },
        classes=FERPLUS,
        vote_names=(*FERPLUS, *FERPLUS_OTHER_ANSWERS),
        source="drawn faces",
        licence="CC0-1.0: drawn by mien, no person is shown",
        how=[how],
    )


def confusions(table: SampleTable) -> np.ndarray:
    """Returns (K, V) how annotators answer to faces of each class; rows sum to 1.

    A face counts for the class that most of its votes name; ties, and faces whose top answer is no class, count for none. A row
    is the mean over its faces of the share of votes each answer got.

    Raises:
        TableError: If the table has no votes, or a class is nowhere the only top answer.
    """
    votes = table.votes
    if votes is None:
        raise TableError("confusions: the table has no votes. Expected a table that counts the answers of annotators.")
    clear = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    shares, top = votes[clear] / votes[clear].sum(1, keepdims=True), votes[clear].argmax(1)
    for place, name in enumerate(table.classes):
        if place not in top:
            raise TableError(f"confusions: {name} is nowhere the only top answer. Expected a face of every class.")
    return np.stack([shares[top == place].mean(0) for place in range(len(table.classes))])


def _ferplus() -> tuple[np.ndarray, np.ndarray]:
    """Returns FERPlus' confusion rows (8, 10) and how often a class is drawn (8,); both sum to 1 along the last axis."""
    found = json.loads(Path(__file__).with_name("ferplus_confusions.json").read_text("utf-8"))
    rows = np.array([found["rows"][name] for name in FERPLUS])
    counts = np.array([found["faces"][name] for name in FERPLUS])
    shares = np.maximum(counts / counts.sum(), RARE_SHARE)
    return rows / rows.sum(1, keepdims=True), shares / shares.sum()


def _truth(
    rows: np.ndarray, shares: np.ndarray, faces: int, seed: int, compound_share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what N faces show: dominant class (N,), second class (N,), share of the dominant one (N, 1), 1 where pure."""
    # Streams 0 and 1 of the seed are the drawing's, 3 the annotators'; each is filled face by face.
    uniform = np.random.default_rng([seed, 2]).random((faces, 4))
    first = _choose(shares, uniform[:, 0])
    beside = rows[:, : len(FERPLUS)] * (1 - np.eye(len(FERPLUS)))
    second = _choose((beside / beside.sum(1, keepdims=True))[first], uniform[:, 2])
    low, high = DOMINANT_SHARE
    share = np.where(uniform[:, 1] < compound_share, low + (high - low) * uniform[:, 3], 1.0)
    return first, second, share[:, None]


def _choose(shares: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Returns (…) places in the last axis of `shares` (…, C), drawn by numbers `uniform` (…) in [0, 1)."""
    places: np.ndarray = (uniform[..., None] >= shares.cumsum(-1)[..., :-1]).sum(-1)
    return places


def _vote(shares: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Returns (N, V) counts of answers given by `shares` (N, V) and one number of `uniform` (N, annotators) each."""
    answers = _choose(shares[:, None], uniform)  # (N, annotators)
    return np.stack([(answers == place).sum(1) for place in range(shares.shape[1])], 1)


def _check(faces: int, seed: int, annotators: int, compound_share: float) -> None:
    """Raises RecipeError for the first argument out of range."""
    for name, value, least in (("faces", faces, 1), ("seed", seed, 0), ("annotators", annotators, 1)):
        if value < least:
            raise RecipeError(f"drawn faces: {name} is {value}. Expected {least} or more.")
    if not 0 <= compound_share <= 1:
        raise RecipeError(f"drawn faces: compound_share is {compound_share}. Expected a share between 0 and 1.")
