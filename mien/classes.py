"""Class names and their order: the one place where either is written down."""

from collections.abc import Iterable, Sequence
from typing import Literal

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# Answers that FERPlus' annotators could give and that are no expression.
FERPLUS_OTHER_ANSWERS = ("unknown", "not-a-face")

# RAF-DB numbers its basic emotions from 1 in this order.
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")

# AffectNet numbers its expressions from 0 in this order, the answers that are none after them. Seven classes: without the last.
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
AFFECTNET_OTHER_ANSWERS = ("none", "uncertain", "not-a-face")

Preset = Literal["ferplus", "rafdb", "affectnet7", "affectnet8"]
PRESETS: dict[str, tuple[str, ...]] = {
    "ferplus": FERPLUS,
    "rafdb": RAFDB,
    "affectnet7": AFFECTNET[:-1],
    "affectnet8": AFFECTNET,
}

# Other words for the very same class; calm is not neutral.
_SYNONYMS = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "contemptuous": "contempt",
}


def of_preset(classes: Sequence[str]) -> Sequence[str]:
    """Returns the classes that one word alone stands for, if it is the name of a preset; others as they are."""
    return PRESETS.get(classes[0], classes) if len(classes) == 1 else classes


def to_preset(names: Iterable[str], preset: str) -> dict[str, str]:
    """Returns the preset's name for each that is another word for it, in any case, such as happiness for Happy."""
    meant = {name: _SYNONYMS.get(name.lower(), name.lower()) for name in names}
    return {name: new for name, new in meant.items() if new != name and new in PRESETS[preset]}
