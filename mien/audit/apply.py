"""Apply: what reviewers decided becomes a new version of the table, and what that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table

from mien.audit.decisions import Decision, States, differ, fingerprint, hashed
from mien.data.rules import most_votes
from mien.data.table import SampleTable
from mien.errors import TableError

STAYS = "unsure, stays"


@dataclass
class Changes:
    """What `apply` did.

    Attributes:
        moves: How many faces went from which label to which answer, both in words.
        conflicts: Samples on which two who are sure differ.
        faces: Reviewed.
        unsure: Of them by people who are all unsure.
        skipped: Faces that were only skipped; they stay as they are.
        forgotten: Faces that were left out.
        missing: Reviewed faces that the table lacks.
    """

    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)
    faces: int = 0
    unsure: int = 0
    skipped: int = 0
    forgotten: int = 0
    missing: int = 0

    @property
    def changed(self) -> int:
        """Faces whose answer is another one than their label was."""
        return sum(count for (old, new), count in self.moves.items() if new not in (old, STAYS))

    def count(self, given: Sequence[Decision], label: str | None) -> None:
        """Counts a face with that label and all decisions on it that are no skips."""
        self.faces += 1
        self.unsure += all(decision.how == "unsure" for decision in given)
        if differ(given):
            self.conflicts.append(given[0].sample)
        self.moves[label or "no label", _in_words(given)] += 1

    def to_json(self) -> dict[str, int]:
        """Returns the counts by name."""
        counts = {"faces": self.faces, "changed": self.changed, "unsure": self.unsure, "conflicts": len(self.conflicts)}
        return counts | {"skipped": self.skipped, "forgotten": self.forgotten, "missing": self.missing}


def present_labels(table: SampleTable, label: str = "label") -> np.ndarray:
    """Returns (N,) positions in the classes, -1 for none: the column; for `label`, where it is not there, the most votes."""
    if label == "label" and label not in table and (votes := table.class_votes) is not None:
        return most_votes(votes, len(table.classes))
    return table.labels(label)


def apply(table: SampleTable, found: States, *, label: str = "label") -> tuple[SampleTable, Changes]:
    """Returns the table with what was decided in `label_reviewed`, `reviewed` and the candidate sets, and what that changed.

    - Whoever is sure puts the chosen classes in the set (none for an answer that is no class); whoever is unsure puts the
      present set there, and the classes leant to. The new set is the union over all reviewers, so people who differ keep
      what either says.
    - `label_reviewed` is the class of a set of one; else the present label if it is in the set; else null.
    - Faces that nobody decided on, or where all skip or are unsure without leaning to a class, stay as they are.
    - Faces that were forgotten are left out. A table without candidate sets starts with the labels alone.

    Args:
        table: N faces.
        found: What stands.
        label: Column of the labels.

    Raises:
        TableError: If no decision is about a face of the table, one names an answer that it lacks, or the column is not there.
    """
    changes = Changes()
    kept = np.array([hashed(sample) not in found.forgotten for sample in table.samples], bool)
    changes.forgotten = int((~kept).sum())
    table = table.take(kept) if changes.forgotten else table
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    if found.standing and not row_of.keys() & found.standing.keys():
        raise TableError("apply: none of the reviewed faces is in the table. Pass the table that was reviewed.")
    labels, sets = present_labels(table, label), table.candidates
    if sets is None:
        sets = np.eye(len(table.classes), dtype=bool)[labels] & (labels >= 0)[:, None]
    reviewed, new_labels, new_sets = np.zeros(len(table), bool), labels.copy(), sets.copy()
    for sample, by_person in found.standing.items():
        row = row_of.get(sample)
        given = [decision for decision in by_person.values() if decision.how != "skip"]
        if row is None:
            changes.missing += 1
        elif not given:
            changes.skipped += 1
        else:
            _refuse_unknown(given, table)
            reviewed[row] = True
            changes.count(given, table.classes[labels[row]] if labels[row] >= 0 else None)
            new_labels[row], new_sets[row] = _decided(given, table.classes, labels[row], sets[row])
    names = np.array([*table.classes, None], object)
    new = table.with_column("label_reviewed", names[new_labels]).with_column("reviewed", reviewed)
    return new.with_candidates(new_sets, name="reviewed", **changes.to_json()), changes


def _decided(given: Sequence[Decision], classes: Sequence[str], label: int, present: np.ndarray) -> tuple[int, np.ndarray]:
    """Returns the new label and (K,) candidate set of one face."""
    if all(decision.how == "unsure" and not decision.to for decision in given):
        return label, present
    chosen = np.isin(classes, [name for decision in given for name in decision.to])
    if any(decision.how == "unsure" for decision in given):
        chosen |= present
    if chosen.sum() == 1:
        return int(chosen.argmax()), chosen
    return label if label >= 0 and chosen[label] else -1, chosen


def _refuse_unknown(given: Sequence[Decision], table: SampleTable) -> None:
    known = {*table.classes, *table.vote_names}
    for decision in given:
        if strange := set(decision.to) - known:
            raise TableError(
                f"apply {decision.sample}: {decision.who} decided {min(strange)!r}, which is no answer of the table. Expected: "
                f"{', '.join(sorted(known))}."
            )


def _in_words(given: Sequence[Decision]) -> str:
    """Returns what a face was decided to be."""
    if differ(given):
        return "conflict"
    sure = [decision for decision in given if decision.how == "sure"]
    if sure:
        return " or ".join(sorted(sure[0].to))
    return "unsure, leaning" if any(decision.to for decision in given) else STAYS


def what_changed(table: SampleTable, found: States, label: str = "label") -> str | None:
    """Returns in a sentence how the table differs from the one that was reviewed; null where it does not."""
    decisions = [decision for by_person in found.standing.values() for decision in by_person.values()]
    now = fingerprint(table)
    others = [decision for decision in decisions if decision.table != now]
    if not others:
        return None
    label_of = dict(zip(table.samples, np.array([*table.classes, None], object)[present_labels(table, label)], strict=True))
    gone = {decision.sample for decision in others} - label_of.keys()
    relabelled = {one.sample for one in others if one.sample in label_of and label_of[one.sample] != one.label}
    return (
        f"the table changed since it was reviewed: {len(others):,} of {len(decisions):,} decisions were made on another "
        f"version of it; {len(gone):,} of their faces are gone, {len(relabelled):,} have another label than the reviewer saw."
    )


def show_changes(changes: Changes, console: Console) -> None:
    """Prints how many faces went from which label to which answer, and on which ones people differ."""
    table = Table("label", "reviewed", "faces", title=f"{changes.faces:,} faces reviewed, {changes.changed:,} not as labelled")
    for (old, new), count in sorted(changes.moves.items(), key=lambda move: (-move[1], move[0])):
        table.add_row(old, new, f"{count:,}")
    console.print(table)
    if changes.conflicts:
        first = ", ".join(changes.conflicts[:10])
        more = f" and {len(changes.conflicts) - 10:,} more" if len(changes.conflicts) > 10 else ""
        console.print(f"conflicts, whose sets are the union: {first}{more}", markup=False)
