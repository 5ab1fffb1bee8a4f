"""Sheet: faces of a table with their votes, labels and candidate sets, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.data.check import require_images
from mien.data.images import face_png
from mien.data.table import SPLITS, SampleTable, has_labels
from mien.errors import RecipeError, TableError, did_you_mean
from mien.page import Card, Mark, percent, write_html

PICTURE_SIZE = 72  # ours: pixels; as wide as the card shows it


def write_sheet(
    path: Path | str,
    table: SampleTable,
    *,
    split: str | None = None,
    label: str | None = None,
    num: int = 48,
    seed: int = 0,
    doubtful: bool = False,
) -> int:
    """Writes a contact sheet as one self-contained HTML file, whole or not at all; returns the number of faces on it.

    The page shows faces: on real data it is for the reader's own disk.

    Args:
        path: The file; an older page is replaced.
        table: The faces.
        split: Show this split alone; null shows all but `test`.
        label: Show faces with this label alone.
        num: Faces to show, 1 or more.
        seed: Chooses the faces; of equally doubtful ones too.
        doubtful: Show the faces whose label has the smallest share of their votes, smallest first.

    Raises:
        RecipeError: If the file is not named .html, or an argument is out of range.
        TableError: If no face is left to show, not one picture is where the table says, or what is asked for needs labels
            or votes that the table lacks.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"data show: --out is {path}. Expected a name that ends in .html.")
    rows = choose(table, split=split, label=label, num=num, seed=seed, doubtful=doubtful)
    part = table.take(rows)
    cards = _cards(part)
    if not any(card.picture for card in cards):
        require_images(part)
    write_html(
        path,
        Path(__file__).with_name("sheet.html.j2"),
        table=table,
        cards=cards,
        split=split or "all but test",
        label=label,
        seed=seed,
        doubtful=doubtful,
        rule=table.label_rule,
        with_sets="candidates" in table,
    )
    return len(cards)


def choose(
    table: SampleTable,
    *,
    split: str | None = None,
    label: str | None = None,
    num: int = 48,
    seed: int = 0,
    doubtful: bool = False,
) -> np.ndarray:
    """Returns at most `num` rows of a table: drawn at random, or the most doubtful first; arguments and errors as above."""
    if num < 1:
        raise RecipeError(f"data show: --num is {num}. Expected 1 or more.")
    if label is not None and label not in table.classes:
        raise RecipeError(f"data show: --label {label!r} is not a class of the table. {did_you_mean(label, table.classes)}")
    chosen = np.isin(table.splits.astype(str), [split]) if split else table.splits != "test"
    if label is not None:
        chosen = chosen & (_labels(table) == table.classes.index(label))
    shares = None
    if doubtful:
        shares = label_shares(table)
        chosen = chosen & ~np.isnan(shares)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(chosen))
    if not len(rows):
        splits = ", ".join(name for name in SPLITS if (table.splits == name).any())
        raise TableError(f"data show: no face of {len(table):,} is left to show. The table has the splits: {splits or 'none'}.")
    if shares is not None:
        rows = rows[np.argsort(shares[rows], kind="stable")]
    return rows[:num]


def label_shares(table: SampleTable) -> np.ndarray:
    """Returns (N,) shares of a face's votes, of all answers, that its label got; NaN without label or votes.

    Raises:
        TableError: If the table has no votes or no labels.
    """
    votes = table.votes
    if votes is None:
        raise TableError("data show --doubtful: the table has no votes. Expected a table that counts answers.")
    labels, totals = _labels(table), votes.sum(1)
    shares = votes[np.arange(len(table)), labels] / np.maximum(totals, 1)
    return np.where((labels >= 0) & (totals > 0), shares, np.nan)


def _labels(table: SampleTable) -> np.ndarray:
    if "label" not in table:
        raise TableError("data show: the table has no labels. Expected a column label; leave out --label and --doubtful.")
    return table.labels()


def _cards(table: SampleTable) -> list[Card]:
    """Returns a card for each face: what is known of it, and the answers that it got or that are its label or candidates."""
    names = table.vote_names or table.classes
    nothing = np.zeros((len(table), len(names)), int)
    votes, sets = table.votes, nothing.astype(bool)
    if (candidates := table.candidates) is not None:
        sets[:, : len(table.classes)] = candidates
    counts = nothing if votes is None else votes
    columns = list(filter(has_labels, table.columns.column_names))
    facts = {name: table.values(name) for name in (*columns, "split") if name in table}
    labels = table.labels() if "label" in table else np.full(len(table), -1)
    cards = []
    for row, sample in enumerate(table.samples):
        total = max(int(counts[row].sum()), 1)
        marks = []
        for place in np.argsort(-counts[row], kind="stable"):
            is_label = place == labels[row]
            if counts[row, place] or sets[row, place] or is_label:
                state = ("in" if sets[row, place] else "other") + (" label" if is_label else "")
                count = None if votes is None else int(counts[row, place])
                marks.append(Mark(names[place], count, None if count is None else count / total, state))
        known = [(name.replace("_", " "), str(values[row])) for name, values in facts.items() if values[row] is not None]
        if votes is not None and labels[row] >= 0:
            known.append(("votes for the label", percent(counts[row, labels[row]] / total)))
        cards.append(Card(sample, face_png(table, row, size=PICTURE_SIZE), tuple(known), tuple(marks)))
    return cards
