"""Every objective keeps the contract, each by each check; objectives that break one law are found by its check."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mien import methods
from mien.learn.build import find_class
from mien.learn.memory import SampleMemory
from mien.learn.objective import Loss, Objective, cross_entropy_to, softmax_inside, uniform_over

_spec = importlib.util.spec_from_file_location("contract_checks", Path(__file__).with_name("checks.py"))
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)


def pytest_generate_tests(metafunc):
    """Every objective on the shelf, found by its file, and those that --objective names."""
    if "objective_class" in metafunc.fixturenames:
        shelf = [method.name for method in methods.shelf() if method.learns_from]
        names = [*shelf, *metafunc.config.getoption("objective")]
        metafunc.parametrize("objective_class", [find_class("objective", name) for name in names], ids=names)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_the_objective_keeps_the_contract(objective_class, check):
    check(objective_class)


def test_the_shelf_has_the_methods_of_each_kind():
    kinds = {method.kind for method in methods.shelf() if method.learns_from}
    assert kinds == {"pretrain", "partial", "supervised"}


# ---------------------------------------------------------------------- the checks find what they forbid


class Good(Objective):
    """Cross-entropy to label weights that follow the model.

    Source:
        Nobody.
    Differs:
        Nothing known.
    """

    learns_from = "candidates"

    def bind(self, model, data):
        self.weights = SampleMemory(uniform_over(data.targets))

    def forward(self, model, batch, progress):
        logits = model(batch.views["weak"]).logits
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model, batch, loss, progress):
        self.weights.write(batch.index, softmax_inside(loss.logits, batch.targets))


def changed(loss, **fields):
    return loss._replace(**{name: change(loss) for name, change in fields.items()})


class MakesInTheConstructor(Good):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(2, 2)


class TakesPositions(Good):
    def __init__(self, share=0.1):
        super().__init__()


class SaysNoDifference(Good):
    """Cross-entropy.

    Source:
        Nobody.
    """


class WantsAViewThatNobodyMakes(Good):
    views = ("upside_down",)


class LearnsBackwards(Good):
    def lr_scale(self, name):
        return -1.0


class LosesItsGradient(Good):
    def forward(self, *given):
        return changed(super().forward(*given), total=lambda loss: loss.total.detach().requires_grad_())


class IsNotFinite(Good):
    def forward(self, *given):
        return changed(super().forward(*given), total=lambda loss: loss.total / 0)


class Sums(Good):
    def forward(self, *given):
        return changed(super().forward(*given), total=lambda loss: loss.total * len(loss.logits))


class ThrowsDice(Good):
    def forward(self, *given):
        return changed(super().forward(*given), total=lambda loss: loss.total * torch.rand(()))


class ChangesItsTargets(Good):
    def update(self, model, batch, loss, progress):
        super().update(model, batch, loss, progress)
        batch.targets.mul_(0.5)


class ChangesTheData(Good):
    def bind(self, model, data):
        super().bind(model, data)
        self.kept = data.targets

    def update(self, model, batch, loss, progress):
        super().update(model, batch, loss, progress)
        self.kept[batch.index] = 1


class LeavesTheSimplex(Good):
    def update(self, model, batch, loss, progress):
        self.weights.write(batch.index, loss.logits.sigmoid() * batch.targets)


class WeighsAllClasses(Good):
    def update(self, model, batch, loss, progress):
        self.weights.write(batch.index, loss.logits.softmax(1))


class CarriesTheGraph(Good):
    def forward(self, *given):
        return changed(super().forward(*given), carry=lambda loss: {"logits": loss.logits})


class CountsInSecret(Good):
    count = 1

    def forward(self, *given):
        return changed(super().forward(*given), total=lambda loss: loss.total * self.count)

    def update(self, *given):
        super().update(*given)
        self.count += 1


class ResetsTheHead(Good):
    def bind(self, model, data):
        super().bind(model, data)
        nn.init.ones_(model.head.classify.weight)


class PullsAtTheModel(Good):
    def update(self, model, batch, loss, progress):
        super().update(model, batch, loss, progress)
        model.head.classify.bias.add_(0.1)


class KeepsTheModel(Good):
    def bind(self, model, data):
        super().bind(model, data)
        self.kept = [lambda: model.encoder]


class KeepsTheModelInAList(Good):
    def bind(self, model, data):
        super().bind(model, data)
        self.kept = [model]


class SharesAParameter(Good):
    def bind(self, model, data):
        super().bind(model, data)
        self.kept = model.head.classify.weight


class KeepsAParameterInAList(Good):
    def bind(self, model, data):
        super().bind(model, data)
        self.kept = [model.head.classify.weight]


class LeavesAHook(Good):
    def bind(self, model, data):
        super().bind(model, data)
        model.head.register_forward_hook(print)


BAD = {
    MakesInTheConstructor: checks.constructor_stores_only,
    TakesPositions: checks.constructor_stores_only,
    SaysNoDifference: checks.docstring_has_source_and_differences,
    WantsAViewThatNobodyMakes: checks.names_its_data_and_its_views,
    LearnsBackwards: checks.rates_are_scaled_by_positive_numbers,
    LosesItsGradient: checks.loss_and_gradients_are_finite,
    IsNotFinite: checks.loss_and_gradients_are_finite,
    Sums: checks.loss_is_a_mean_over_rows_unless_batches_are_coupled,
    ThrowsDice: checks.random_numbers_come_from_the_keys,
    ChangesItsTargets: checks.inputs_stay_as_they_are,
    ChangesTheData: checks.inputs_stay_as_they_are,
    LeavesTheSimplex: checks.label_weights_stay_on_the_simplex,
    WeighsAllClasses: checks.label_weights_stay_on_the_simplex,
    CarriesTheGraph: checks.update_remembers_without_gradients,
    CountsInSecret: checks.state_survives_a_round_trip,
    ResetsTheHead: checks.binding_and_updating_change_nothing_in_the_model,
    PullsAtTheModel: checks.binding_and_updating_change_nothing_in_the_model,
    KeepsTheModel: checks.never_stores_the_model,
    KeepsTheModelInAList: checks.never_stores_the_model,
    SharesAParameter: checks.never_stores_the_model,
    KeepsAParameterInAList: checks.never_stores_the_model,
    LeavesAHook: checks.model_works_alone_after_training,
}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.__name__)
def test_a_broken_law_is_found_by_its_check(bad, capsys):
    with pytest.raises((AssertionError, checks.RecipeError)):
        BAD[bad](bad)


@pytest.mark.parametrize("check", dict.fromkeys(BAD.values()), ids=lambda check: check.__name__)
def test_a_method_that_keeps_the_laws_passes(check):
    check(Good)


OUTSIDE = """
from mien.learn.objective import Loss, Objective, cross_entropy_to

class Fine(Objective):
    '''Cross-entropy.'''
    learns_from = "label"

    def forward(self, model, batch, progress):
        logits = model(batch.views["weak"]).logits
        return Loss(cross_entropy_to(batch.targets, logits), logits)

class Broken(Fine):
    def forward(self, model, batch, progress):
        return super().forward(model, batch, progress)._replace(total=batch.targets.sum())
"""


def test_methods_outside_the_package_are_judged_by_name(tmp_path):
    (tmp_path / "outside.py").write_text(OUTSIDE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    command += ["--objective", "outside:Fine", "--objective", "outside:Broken", "-k", "outside: and gradients_are_finite"]
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=surroundings, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout and "outside:Broken" in done.stdout, done.stdout + done.stderr
