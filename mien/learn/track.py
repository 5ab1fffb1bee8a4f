"""What a run logs, sent on to TensorBoard, MLflow or Weights & Biases as it comes, to those that are named and no other."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from mien.doctor import install
from mien.errors import MienError, RecipeError, RunError, did_you_mean
from mien.learn.run import Run
from mien.log import say
from mien.recipe import Recipe

Send = Callable[[int, Mapping[str, float]], Any]  # the step, and numbers by name


def check_trackers(names: Sequence[str]) -> None:
    """Checks that trackers are known and installed.

    Raises:
        RecipeError: For an unknown name.
        MienError: If the package is missing, naming the extra.
    """
    for name in names:
        if name not in _OPEN:
            raise RecipeError(f"track: there is no tracker {name!r}. {did_you_mean(name, _OPEN)}")
        if find_spec(name) is None:
            raise MienError(f"tracker {name} is not installed. Get it with: {install('track')}")


@contextmanager
def tracked(names: Sequence[str], run: Run, recipe: Recipe) -> Iterator[None]:
    """Sends the numbers that a run logs to trackers as well; a run that goes on is the same run there.

    TensorBoard's files lie in the run's folder; where the others keep theirs is set as their own documentation says
    (MLFLOW_TRACKING_URI, WANDB_MODE and others). A tracker that fails later is left out: no training is lost for it.

    Args:
        names: Of the trackers.
        run: The run, whose folder is made.
        recipe: Its recipe, which MLflow and Weights & Biases keep beside the numbers.

    Raises:
        RecipeError: For an unknown name.
        MienError: If a tracker's package is missing, naming the extra.
        RunError: If a tracker cannot be opened.
    """
    check_trackers(names)
    path = run.folder / "trackers.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    with ExitStack() as stack:
        for name in names:
            try:
                send, known[name] = stack.enter_context(_OPEN[name](run, recipe, known.get(name)))
            except Exception as error:  # of whatever kind its client raises
                raise RunError(f"tracker {name}: {_reason(error)}. Set it up, or train without it.") from None
            run.listeners.append(_guarded(name, send, run))
        if names:
            run.write_json(path.name, known)
        try:
            yield
        finally:
            run.listeners.clear()
            try:
                stack.close()
            except Exception as error:
                say(f"tracker: {_reason(error)}; its last numbers may be missing there")


def _guarded(name: str, send: Send, run: Run) -> Send:
    """Returns `send`, which leaves the run at its first failure."""

    def listener(step: int, numbers: Mapping[str, float]) -> None:
        try:
            send(step, numbers)
        except Exception as error:
            run.listeners.remove(listener)
            say(f"tracker {name}: {_reason(error)}; the training goes on without it, metrics.jsonl has all numbers")

    return listener


@contextmanager
def _tensorboard(run: Run, recipe: Recipe, known: str | None) -> Iterator[tuple[Send, str]]:
    from torch.utils.tensorboard import SummaryWriter

    folder = known or "tensorboard"
    with SummaryWriter(str(run.folder / folder)) as writer:
        yield lambda step, numbers: [writer.add_scalar(name, value, step) for name, value in numbers.items()], folder


@contextmanager
def _mlflow(run: Run, recipe: Recipe, known: str | None) -> Iterator[tuple[Send, str]]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell its makers of each use
    import mlflow

    with mlflow.start_run(run_id=known, run_name=None if known else run.folder.name) as there:
        if known is None:
            mlflow.log_dict(recipe.model_dump(mode="json"), "recipe.json")
        yield lambda step, numbers: mlflow.log_metrics(dict(numbers), step=step), there.info.run_id


@contextmanager
def _wandb(run: Run, recipe: Recipe, known: str | None) -> Iterator[tuple[Send, str]]:
    import wandb

    own = known or uuid.uuid4().hex
    quiet = wandb.Settings(console="off", disable_code=True, disable_git=True, silent=True)
    with wandb.init(
        id=own, resume="allow", name=run.folder.name, dir=run.folder, config=recipe.model_dump(mode="json"), settings=quiet
    ) as there:
        yield lambda step, numbers: there.log(dict(numbers), step=step), own


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


_OPEN: dict[str, Callable[..., Any]] = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
