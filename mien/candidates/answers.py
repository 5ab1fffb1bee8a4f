"""Answers with identities become votes and candidate sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mien.candidates.votes import votes as by_votes
from mien.data.readers.answers_file import ANSWERED, answer_ids, note_answers, noted_answers
from mien.data.readers.row_files import sample_of
from mien.data.table import SampleTable


def answers(table: SampleTable, given: pa.Table, *, at_least: int = 2, add: bool = False) -> SampleTable:
    """Returns the table with the answers as votes, and each class with enough of them as a candidate.

    Args:
        table: N faces; answers that are no class must be among its vote names.
        given: As `mien.data.readers.answers_file.read_answers` returns; a sample may be written with its picture's suffix.
        at_least: Votes that a candidate needs; the top one needs none.
        add: Count them as further votes, but for those that were counted before with the same key: platforms export all
            answers anew each time. Without it they take the place of the votes that the table has.

    Raises:
        TableError: For an unknown sample or answer, or someone who answers twice about one face.
    """
    others = table.vote_names[len(table.classes) :]
    known = set(table.samples)
    named = [one if one in known or sample_of(one) not in known else sample_of(one) for one in given["sample"].to_pylist()]
    given = given.set_column(given.column_names.index("sample"), "sample", pa.array(named, pa.string()))
    if not add and ANSWERED in table:
        table = replace(table, columns=table.columns.drop_columns(ANSWERED))
    earlier = {number for numbers in noted_answers(table) for number in numbers}
    new = [number not in earlier for number in answer_ids(given)]
    given = given.filter(pa.array(new, pa.bool_()))
    counted = SampleTable.from_answers(
        given, classes=table.classes, other_answers=others, columns={"sample": table.samples}
    ).votes
    assert counted is not None
    before = table.votes if add else None
    votes = counted if before is None else before + counted
    people = len(set(given["annotator"].to_pylist()))
    how = {"answers": len(given), "annotators": people, "faces": int(counted.any(1).sum()), "added": before is not None}
    if known_already := len(new) - len(given):
        how["counted_before"] = known_already
    kept = table if table.vote_names else replace(table, vote_names=table.classes)
    return by_votes(note_answers(kept, given).with_column("votes", np.asarray(votes), step="answers", **how), at_least=at_least)


def only_known(given: pa.Table, known: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Returns the answers of people who stand in `known`, and how many answers each other hash gave.

    Args:
        given: As `read_answers` returns.
        known: The same of an earlier file, read with the same key.
    """
    people = set(known["annotator"].to_pylist())
    who = given["annotator"].to_pylist()
    return given.filter(pa.array([one in people for one in who])), Counter(one for one in who if one not in people)
