"""Review: what the review page shows of a table and its audit, in which order, and what it keeps of reviewers' decisions."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mien.audit.apply import what_changed
from mien.audit.decisions import Decision, Followed, How, States, append, differ, fingerprint, hashed
from mien.audit.doubts import KINDS
from mien.audit.export import score_names
from mien.data.images import as_png, load_images
from mien.data.table import SampleTable, places_in
from mien.errors import RecipeError, TableError

SMALL, LARGE = 48, 224  # sides of pictures in pixels: in the grid, and of one face; not stated; ours
_PICTURES = 6_000  # small pictures, or a twentieth as many large ones, that stay in memory: about 30 MB; not stated; ours

State = Literal["all", "open", "mine", "unsure", "skipped", "conflict"]


class Review:
    """A table and its audit as the page needs them; to be called by one thread at a time.

    Args:
        table: Faces.
        found: As `mien.audit.export.read_audit` returns; faces that the table lacks are left out.
        decisions: The file of decisions, which others may write to as well.
        who: The reviewer.
        probs: (N, K) of a model in the order of the table, NaN where it has no answer; shown on demand.

    Attributes:
        notes: Sentences about how table and audit differ.

    Raises:
        RecipeError: If the reviewer has no name.
        TableError: If table and audit share no face.
    """

    def __init__(self, table: SampleTable, found: pa.Table, decisions: Path, who: str, probs: np.ndarray | None = None) -> None:
        if not who.strip():
            raise RecipeError("review: the reviewer has no name. Expected --reviewer NAME.")
        places = places_in(found["sample"], table.columns["sample"])
        rows = places[places >= 0]
        if not len(rows):
            raise TableError("review: none of the audited faces is in the table. Pass the table that was audited.")
        self.who, self.path, self.of = who.strip(), decisions, fingerprint(table)
        self.table, self.found = table.take(rows), found.filter(pa.array(places >= 0))
        self.probs = None if probs is None else probs[rows]
        self.labels = [None if name is None else str(name) for name in self.found["label"].to_pylist()]
        self.samples, self.row_of = self.table.samples, {sample: row for row, sample in enumerate(self.table.samples)}
        self.scores = {name: np.asarray(self.found[name], float) for name in score_names(self.found)}
        self.doubts = {
            kind.score: self.scores[kind.score] < (1 / len(table.classes) if kind.below is None else kind.below)
            for kind in KINDS
            if kind.score in self.scores
        }
        self.answers = (*table.classes, *table.vote_names[len(table.classes) :])
        self._hashes = [hashed(sample) for sample in self.samples]
        self._followed, self._pictures = Followed(decisions), _Pictures(self.table)
        self.notes = self._compare(len(found))
        if sentence := what_changed(table, self.states()):
            self.notes.append(sentence)

    def _compare(self, audited: int) -> list[str]:
        notes = []
        if lost := audited - len(self.table):
            notes.append(f"the table changed since the audit: {lost:,} of {audited:,} audited faces are gone.")
        if "label" in self.table:
            now = self.table.values("label")
            if other := sum(one != two for one, two in zip(now, self.labels, strict=True)):
                notes.append(f"the table's labels are not those of the audit: {other:,} differ, and the page shows those.")
        return notes

    # ------------------------------------------------------------------ showing

    def states(self) -> States:
        """Returns what stands now, by everybody."""
        version, found = self._followed.version, self._followed.now()
        if self._followed.version != version:
            self._pictures.clear()
        return found

    def listed(
        self, *, doubt: str = "", label: str = "", split: str = "", below: float = 1.0, state: State = "open", by: str = "score"
    ) -> list[int]:
        """Returns rows, lowest score first and unknown ones last.

        Args:
            doubt: The score of a kind of doubt; empty: any.
            label: Of the audit; empty: any.
            split: Of the table; empty: any.
            below: Highest score, by `by`.
            state: "open" to this reviewer, or decided, or in conflict.
            by: The score to sort by.
        """
        score = self.scores.get(by, self.scores["score"])
        keep = self.doubts[doubt].copy() if doubt in self.doubts else np.ones(len(score), bool)
        if below < 1:
            keep &= score <= below
        if label:
            keep &= np.array(self.labels, object) == label
        if split:
            keep &= self.table.splits == split
        found = self.states()
        keep &= self._in_state(found, state)
        if found.forgotten:
            keep &= [one not in found.forgotten for one in self._hashes]
        rows = np.flatnonzero(keep)
        return [int(row) for row in rows[np.argsort(score[rows], kind="stable")]]

    def _in_state(self, found: States, state: State) -> np.ndarray:
        chosen = np.zeros(len(self.samples), bool)
        for sample, by_person in found.standing.items():
            if (row := self.row_of.get(sample)) is not None:
                mine = by_person.get(self.who)
                how = mine.how if mine else None
                chosen[row] = {
                    "unsure": how == "unsure",
                    "skipped": how == "skip",
                    "conflict": differ(by_person.values()),
                }.get(state, mine is not None)
        return np.ones_like(chosen) if state == "all" else ~chosen if state == "open" else chosen

    def faces(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Returns what the grid shows of each row; a picture that cannot be read is null, with the reason beside it."""
        found = self.states()
        rows = [row for row in rows if self._is_there(row, found)]
        pictures = self._pictures.get(rows, SMALL)
        return [{**self.state(row, found), **picture} for row, picture in zip(rows, pictures, strict=True)]

    def _is_there(self, row: int, found: States) -> bool:
        return 0 <= row < len(self.samples) and self._hashes[row] not in found.forgotten

    def state(self, row: int, found: States | None = None) -> dict[str, Any]:
        """Returns what stands of one face, without its picture.

        What others said is told once this reviewer has decided, so that it does not sway; that they said something, always.
        """
        by_person = (found or self.states()).standing.get(self.samples[row], {})
        mine = by_person.get(self.who)
        others = [
            {"who": one.who, "to": one.to, "how": one.how, "why": one.why} for one in by_person.values() if one.who != self.who
        ]
        return {
            "row": row,
            "sample": self.samples[row],
            "label": self.labels[row],
            "mine": None if mine is None else {"to": mine.to, "how": mine.how, "why": mine.why},
            "others": len(others),
            "said": others if mine is not None else [],
            "conflict": differ(by_person.values()),
        }

    def face(self, row: int, *, model: bool = False) -> dict[str, Any]:
        """Returns all that is shown of one face; what the model says only if asked for.

        Raises:
            TableError: If there is no such face, or it was forgotten.
        """
        found = self.states()
        if not self._is_there(row, found):
            raise TableError(f"review: there is no face {row}. It may have been forgotten; load the page again.")
        one, classes = self.table.take(np.array([row])), self.table.classes
        picture = self._pictures.get([row], LARGE)[0]
        score = float(self.scores["score"][row])
        shown = self.state(row, found) | picture
        shown |= {"split": one.splits[0], "score": None if np.isnan(score) else score}
        shown["doubts"] = [kind.title for kind in KINDS if kind.score in self.doubts and self.doubts[kind.score][row]]
        shown["votes"] = None if one.votes is None else dict(zip(self.table.vote_names, one.votes[0].tolist(), strict=True))
        sets = one.candidates
        shown["candidates"] = None if sets is None else [name for name, is_in in zip(classes, sets[0], strict=True) if is_in]
        if model:
            probs = None if self.probs is None or np.isnan(self.probs[row]).any() else self.probs[row].round(4).tolist()
            shown["suggested"] = self.found["suggested"][row].as_py()
            shown["probs"] = None if probs is None else dict(zip(classes, probs, strict=True))
        return shown

    def counts(self) -> dict[str, int]:
        """Returns how many faces this reviewer has decided on, of how many, and on how many people differ."""
        found = self.states()
        mine = sum(self.who in by_person for sample, by_person in found.standing.items() if sample in self.row_of)
        return {"mine": mine, "all": len(self.samples), "conflicts": len(found.conflicts())}

    # ------------------------------------------------------------------ deciding

    def decide(self, sample: str, to: Sequence[str], how: How, why: str = "") -> dict[str, Any]:
        """Returns the face's new state, once the decision is on the disk.

        Raises:
            TableError: If there is no such face or answer, or the answers do not go together.
            RunError: If it could not be written.
        """
        row = self.row_of.get(sample, -1)
        if not self._is_there(row, self.states()):
            raise TableError("review: there is no such face. It may have been forgotten; load the page again.")
        if strange := set(to) - set(self.answers):
            raise TableError(f"review: {min(strange)!r} is no answer of the table. Expected: {', '.join(self.answers)}.")
        if (how == "sure" and not to) or (how == "skip" and to) or how not in ("sure", "unsure", "skip"):
            raise TableError("review: expected answers if sure, some or none if unsure, and none for a skip.")
        if len(set(to)) > 1 and not set(to) <= set(self.table.classes):
            raise TableError("review: an answer that is no class stands alone. Choose it or classes.")
        chosen = tuple(name for name in self.answers if name in to)
        append(self.path, Decision(self.who, sample, self.labels[row], chosen, how, why, self.of))
        return self.state(row)

    def undo(self) -> dict[str, Any] | None:
        """Returns the state of the face whose decision was taken back, this reviewer's last one; null where there is none."""
        last = self.states().last(self.who, self.row_of)
        if last is None:
            return None
        append(self.path, Decision(self.who, last.sample, last.label, how="undo", table=self.of))
        return self.state(self.row_of[last.sample])


class _Pictures:
    """Faces as base64 PNG, of which the last ones asked for stay in memory."""

    def __init__(self, table: SampleTable) -> None:
        self.table = table
        self._kept: dict[int, OrderedDict[int, dict[str, str | None]]] = {SMALL: OrderedDict(), LARGE: OrderedDict()}

    def clear(self) -> None:
        """Keeps none."""
        for kept in self._kept.values():
            kept.clear()

    def get(self, rows: Sequence[int], size: int) -> list[dict[str, str | None]]:
        """Returns `picture`, or null and a `problem`, for each row."""
        kept = self._kept[size]
        if wanted := [row for row in rows if row not in kept]:
            some = self.table.take(np.array(wanted))
            images, broken = load_images(some, channels=3, size=size)
            for row, sample, image in zip(wanted, some.samples, images, strict=True):
                problem = broken.get(sample)
                kept[row] = {"picture": _shown(image) if problem is None else None, "problem": problem}
        for row in rows:
            kept.move_to_end(row)
        found = [kept[row] for row in rows]
        while len(kept) > (_PICTURES if size == SMALL else _PICTURES // 20):
            kept.popitem(last=False)
        return found


def _shown(image: np.ndarray) -> str:
    """Returns (3, H, W) pixels as base64 PNG, made quickly."""
    return base64.b64encode(as_png(image, compress_level=1)).decode("ascii")
