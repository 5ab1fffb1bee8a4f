"""Every error that mien raises on purpose, as one tree.

MienError
├── RecipeError    a recipe, an override or an argument that cannot be used
├── TableError     a table, its rows, labels, votes or candidate sets
├── ImageError     a picture that cannot be read
├── WeightsError   a model folder or a checkpoint
├── RunError       a run folder: it exists, belongs to another recipe, or cannot go on
│   └── DivergedError   because its loss is no longer finite
└── GateError      a number under the least that was asked for

A message says where it happened, what was expected and found, and what to do.
"""

import difflib
from collections.abc import Iterable


class MienError(Exception):
    """An error with a message meant for the person who reads it; `exit_code` is the command line's."""

    exit_code = 1


class RecipeError(MienError):
    """A recipe, an override or an argument that cannot be used."""

    exit_code = 2


class TableError(MienError):
    """A table, its rows, labels, votes or candidate sets."""

    exit_code = 3


class ImageError(MienError):
    """A picture that cannot be read."""

    exit_code = 3


class WeightsError(MienError):
    """A model folder or a checkpoint that cannot be used."""

    exit_code = 3


class RunError(MienError):
    """A run folder that exists, belongs to another recipe, or cannot go on."""

    exit_code = 2


class DivergedError(RunError):
    """A training whose loss is no longer finite; going on with it ends in the same way."""


class GateError(MienError):
    """A number under the least that was asked for."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a sentence that lists `known` and, where one is close, the name probably meant."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."
