import sys

import pytest

from mien.errors import RecipeError
from mien.learn.build import check_arguments, find, find_class
from mien.learn.heads.linear import Linear
from mien.learn.objectives.partial.revision import Revision

OUTSIDE = '''
from __future__ import annotations
from typing import Literal
from mien.learn.objective import Objective

class Mine(Objective):
    """Mine."""
    learns_from = "label"

    def __init__(self, *, share: float, kind: Literal["a", "b"] = "a") -> None:
        super().__init__()
        self.share, self.kind = share, kind
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "mine_outside.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine_outside:Mine"
    sys.modules.pop("mine_outside", None)


def test_a_name_is_the_class_in_the_file_of_that_name():
    assert find_class("objective", "revision") is Revision and find_class("head", "linear") is Linear


def test_arguments_are_stored_and_converted_to_their_types():
    objective = find("objective", {"name": "revision", "threshold": "0.5", "warmup_epochs": 2, "reversible": True})
    assert (objective.threshold, objective.warmup_epochs, objective.reversible) == (0.5, 2, True)


def test_what_the_model_gives_need_not_and_may_not_be_written():
    assert find("head", "linear", width=4, num_classes=3).classify.weight.shape == (3, 4)
    with pytest.raises(RecipeError, match=r"head\.width is not an argument of Linear"):
        find("head", {"name": "linear", "width": 9}, width=4, num_classes=3)


def test_an_unknown_name_is_refused_with_a_hint():
    with pytest.raises(RecipeError, match=r"objective\.name 'revison' is not on the shelf\. Did you mean revision\?"):
        find("objective", "revison")
    with pytest.raises(RecipeError, match=r"head\.name 'liner' is not on the shelf\. Did you mean linear\?"):
        find("head", "liner", width=4, num_classes=3)


def test_an_unknown_argument_is_refused_with_a_hint():
    with pytest.raises(RecipeError, match=r"objective\.treshold is not an argument of Revision\. Did you mean threshold\?"):
        find("objective", {"name": "revision", "treshold": 0.3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": "high"}, r"objective\.threshold is 'high'\. .*number.*\(Revision\)"),
        ({"confidence": "tanh"}, r"objective\.confidence is 'tanh'\. .*'sigmoid' or 'softmax'"),
        ({"warmup_epochs": 1.5}, r"objective\.warmup_epochs is 1\.5\. .*integer"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_with_what_was_expected(arguments, message):
    with pytest.raises(RecipeError, match=message):
        find("objective", {"name": "revision", **arguments})


def test_a_class_outside_is_found_by_module_and_name_and_its_arguments_are_checked(outside):
    objective = find("objective", {"name": outside, "share": 0.2, "kind": "b"})
    assert (objective.share, objective.kind) == (0.2, "b")
    with pytest.raises(RecipeError, match=r"objective\.kind is 'c'"):
        find("objective", {"name": outside, "share": 0.2, "kind": "c"})
    with pytest.raises(RecipeError, match=r"objective\.share is missing\. .*\(Mine\)"):
        find("objective", outside)


@pytest.mark.parametrize("name", ["no_such_module:Mine", "mien.learn.objectives.partial.revision:Revison"])
def test_a_class_outside_that_cannot_be_imported_is_refused_by_name(name):
    with pytest.raises(RecipeError, match=rf"objective\.name '{name}': .* Expected an importable module:Class"):
        find("objective", name)


def test_arguments_of_a_function_are_checked_alike():
    def builder(table, *, at_least: int = 2): ...

    assert check_arguments(builder, "candidates.", {"at_least": "3"}, {"table"}) == {"at_least": 3}
    with pytest.raises(RecipeError, match=r"candidates\.at_last is not an argument of builder\. Did you mean at_least\?"):
        check_arguments(builder, "candidates.", {"at_last": 3}, {"table"})
