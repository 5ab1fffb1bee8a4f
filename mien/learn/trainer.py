"""The training loop: one for pre-training, partial-label and supervised methods."""

from __future__ import annotations

import copy
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import lightning_fabric
import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import DivergedError, RunError
from mien.evaluate.metrics import approximated_accuracy, covering_rate, vote_accuracy
from mien.learn import checkpoint
from mien.learn.batch import Batch
from mien.learn.gather import average_running_statistics, sum_over_ranks
from mien.learn.loader import Faces, MicroBatch, Plan, classes_of
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress
from mien.learn.optimizer import EMA, learning_rate, make_optimizer
from mien.learn.randomness import mix
from mien.learn.run import Run
from mien.log import Progress as ProgressLine
from mien.log import say
from mien.recipe import Recipe

_EVALUATION_BATCH = 512  # not stated; ours


class Step(nn.Module):
    """Model and objective as the one module that is wrapped for ranks and precision."""

    def __init__(self, model: FaceModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Callable[[], Batch], progress: Progress) -> Loss:
        """Returns the objective's loss. The batch comes by a call: Fabric would round pictures and targets that it sees."""
        return self.objective(self.model, batch(), progress)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class EvaluationFaces:
    """Faces that are predicted after each epoch and never learned from.

    Attributes:
        samples: M ids.
        images: (M, C, H, W) uint8.
        label: (M,) int64, -1 where there is none, or null.
        votes: (M, K) int64 or null.
        candidates: (M, K) bool, no class in rows without a set, or null.
    """

    samples: list[str]
    images: np.ndarray
    label: np.ndarray | None
    votes: np.ndarray | None
    candidates: np.ndarray | None = None

    def score(self, probs: np.ndarray) -> dict[str, float]:
        """Returns what (M, K) probabilities are worth by votes, labels and candidate sets, where there are such."""
        predicted, scores = probs.argmax(1), {}
        if self.votes is not None and (voted := self.votes.sum(1) > 0).any():
            scores["vote_accuracy"] = float(vote_accuracy(self.votes[voted], predicted[voted]))
        if self.label is not None and (known := self.label >= 0).any():
            scores["accuracy"] = float((predicted[known] == self.label[known]).mean())
        if self.candidates is not None and (has := self.candidates.any(1)).any():
            scores["covering_rate"] = covering_rate(self.candidates[has], predicted[has])
            scores["approximated_accuracy"] = approximated_accuracy(self.candidates[has], probs[has])
        return scores


class Trainer:
    """Trains a model by an objective, writes what happens into a run, and can stop and go on at any step.

    Args:
        recipe: The resolved recipe.
        run: Where to write.
        fabric: Devices, ranks and precision; launched.
        model: What is trained.
        objective: What is minimised, already bound.
        faces: The training list on its way to the device.
        rows: (M,) rows of the training list whose picture can be read.
        samples: N ids of the training list.
        held_out: Faces of the splits `select` and `report`, by split.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        fabric: lightning_fabric.Fabric,
        model: FaceModel,
        objective: Objective,
        faces: Faces,
        rows: Tensor,
        samples: list[str],
        held_out: dict[str, EvaluationFaces],
    ) -> None:
        self.recipe, self.run, self.fabric, self.faces = recipe, run, fabric, faces
        self.samples, self.held_out = samples, held_out
        train = recipe.train
        say_slow_precision(train.precision, fabric.device)
        self.plan = Plan(
            rows,
            train.seed,
            train.batch_size,
            train.accumulate,
            fabric.global_rank,
            fabric.world_size,
            classes_of(faces.targets)[rows] if train.sampler == "class_balanced" and faces.targets is not None else None,
        )
        self.model, self.objective = model, objective
        fused = fabric.device.type in ("cpu", "cuda") and not train.precision.startswith("16")
        step = Step(model, objective).to(fabric.device)
        if self.plan.smallest == 1:
            try_one_face(step, recipe, faces, fabric.device)
        self.step, self.optimizer = fabric.setup(step, make_optimizer(model, objective, recipe.optimizer, fused=fused))
        self.ema = EMA(model, train.ema) if train.ema is not None else None
        self.step_done = 0
        self.sums: dict[str, Tensor] = {}  # of the numbers of the present epoch's steps, on this rank
        self.best = -math.inf
        self.logged: str | None = None

    # ------------------------------------------------------------------ the loop

    def fit(self) -> None:
        """Trains from where the run stands to the last epoch.

        Raises:
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once the run is saved.
            DivergedError: If the loss is no longer finite.
        """
        epochs, steps = self.recipe.train.epochs, self.plan.steps
        if self.fabric.is_global_zero:
            self.run.forget_after(self.step_done)
            self.run.check_log(self.logged)
        with (
            _interruption() as interrupted,
            ProgressLine(epochs * steps, str(self.run.folder), done=self.step_done) as line,
        ):
            for epoch in range(self.step_done // steps, epochs):
                first, begun = self.step_done % steps, perf_counter()
                for place, parts in enumerate(self.plan.epoch(epoch, first_step=first), first):
                    self._one_step(parts, epoch)
                    self.step_done = epoch * steps + place + 1
                    line.label = f"{self.run.folder} epoch {epoch + 1}/{epochs}"
                    # All ranks stop at the same step, whichever was told.
                    told = self.sums["loss"].new_tensor(float(interrupted()))
                    stop, loss = sum_over_ranks(torch.stack([told, self.sums["loss"]])).tolist()
                    line.update(self.step_done, loss=loss / (place + 1))
                    if place + 1 == steps:
                        self._log_cost(epoch, (perf_counter() - begun) * steps / (steps - first))
                        self._end_epoch(epoch)
                    elif stop or self.step_done % self.recipe.train.checkpoint_steps == 0:
                        self._save()
                    if stop:
                        self.fabric.barrier()  # the first rank may still be writing
                        say(f"stopped at step {self.step_done}; go on with --resume")
                        raise KeyboardInterrupt

    def _one_step(self, parts: list[MicroBatch], epoch: int) -> None:
        """Does one optimizer step from this rank's micro-batches."""
        progress = self._progress(epoch)
        _set_training(self.step, self.model, self.recipe)
        rate = learning_rate(self.recipe.optimizer, self.step_done, self.plan.steps, self.recipe.train.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        seen: list[tuple[Batch, Loss]] = []
        for place, part in enumerate(parts):
            self._seed(place)
            batch = self.faces.batch(part, epoch, self.fabric.device)
            with self.fabric.no_backward_sync(self.step, enabled=place + 1 < len(parts)):
                loss = self.step(lambda batch=batch: batch, progress)
                # Gradients are averaged over ranks; the share makes them the mean over the step's faces.
                self.fabric.backward(loss.total * part.share * self.fabric.world_size)
            self._add({"loss": loss.total, **loss.parts}, part.share)
            seen.append((batch, loss))
        if not torch.isfinite(self.sums["loss"]):
            raise DivergedError(
                f"run {self.run.folder}, step {self.step_done}: the loss is no longer finite. "
                "Lower optimizer.lr or set optimizer.clip."
            )
        if self.recipe.optimizer.clip is not None:
            # In float16 gradients overflow now and then: that step is left out and the loss scaled less.
            strict = not self.recipe.train.precision.startswith("16")
            self.fabric.clip_gradients(
                self.step, self.optimizer, max_norm=self.recipe.optimizer.clip, error_if_nonfinite=strict
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for batch, loss in seen:
                self.objective.update(self.model, batch, loss, progress)
        average_running_statistics(self.step)  # after the passes of `update`, before they are copied: equal on all ranks
        if self.ema is not None:
            self.ema.update(self.model, self.step_done)

    def _log_cost(self, epoch: int, seconds: float) -> None:
        """Notes what the steps of an epoch took; of an epoch that was interrupted, the later part stands for all of it."""
        if self.fabric.is_global_zero:
            numbers = {"cost/seconds": seconds, "cost/memory_gb": _peak_memory(self.fabric.device) / 1e9}
            self.run.log(self.step_done, epoch, numbers, "costs.jsonl")

    def _end_epoch(self, epoch: int) -> None:
        """Ends an epoch: objective, log, label weights, held-out faces, checkpoint."""
        progress = self._progress(epoch)
        with torch.no_grad():
            self.objective.epoch_end(self.model, progress)
        names = sorted(self.sums)
        means = sum_over_ranks(torch.stack([self.sums[name] for name in names])) / self.plan.steps
        numbers = {f"train/{name}": float(mean) for name, mean in zip(names, means, strict=True)}
        numbers["train/rate"] = max(group["lr"] for group in self.optimizer.param_groups)
        weights = getattr(self.objective, "weights", None)
        if isinstance(weights, SampleMemory):
            numbers["train/settled_share"] = float((weights.values.amax(1) > 0.9).float().mean())
            if self.fabric.is_global_zero:
                self.run.write_label_weights(epoch, self.samples, self.model.classes, weights.values.cpu().numpy())
        self.sums = {}
        # Shipped, evaluated and saved weights are the averaged ones; all ranks hold the same.
        if self.fabric.is_global_zero:
            scores = self._predict_held_out(epoch)
            numbers |= {f"{split}/{name}": value for split, found in scores.items() for name, value in found.items()}
            self.run.log(self.step_done, epoch, numbers)
            self._keep_best(epoch, scores.get("select", {}))
        self._save()

    def _predict_held_out(self, epoch: int) -> dict[str, dict[str, float]]:
        """Returns the scores of the held-out splits and writes their probabilities to curves/."""
        if self.model.head is None or not self.held_out:
            return {}
        scores = {}
        with self.averaged():
            for split, faces in self.held_out.items():
                probs = torch.from_numpy(predict_logits(self.model, faces.images, self.fabric.device)).softmax(1).numpy()
                self.run.write_curve(split, epoch, faces.samples, self.model.classes, probs)
                scores[split] = faces.score(probs)
        return scores

    def _keep_best(self, epoch: int, scores: dict[str, float]) -> None:
        """Keeps the weights if this epoch is the best so far by what the recipe chooses by; looks at `select` alone."""
        by = self.recipe.choose.by
        score = float(epoch) if by == "last" else scores[by]
        if score > self.best:
            self.best = score
            with self.averaged():
                checkpoint.save(self.run.best, {"model": self.model.state_dict(), "epoch": epoch, "by": by, "score": score})

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for evaluation and saving."""
        if self.ema is None:
            yield
            return
        present = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema.values)
        try:
            yield
        finally:
            self.model.load_state_dict(present)

    # ------------------------------------------------------------------ small parts

    def _progress(self, epoch: int) -> Progress:
        epochs = self.recipe.train.epochs
        return Progress(self.step_done, epoch, epochs, self.step_done / (epochs * self.plan.steps))

    def _seed(self, micro_batch: int) -> None:
        """Seeds torch for dropout and drop-path from (seed, step, micro-batch, rank)."""
        place = (
            (self.recipe.train.seed * 0x10001 + self.step_done) * 0x10001 + micro_batch
        ) * 0x10001 + self.fabric.global_rank
        torch.manual_seed(int(mix(torch.tensor(place % 2**63))) & 0x7FFFFFFFFFFFFFFF)  # int64 holds 63 bits

    def _add(self, numbers: dict[str, float | Tensor], share: float) -> None:
        for name, value in numbers.items():
            value = torch.as_tensor(value, dtype=torch.float64, device=self.fabric.device).detach() * share
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    # ------------------------------------------------------------------ stopping and going on

    def _save(self) -> None:
        """Writes the checkpoint: weights, average, optimizer, scale of float16's loss, memories, step, the epoch's sums."""
        sums = {name: sum_over_ranks(self.sums[name]) for name in sorted(self.sums)}
        if not self.fabric.is_global_zero:
            return
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "ema": self.ema.values if self.ema is not None else None,
            "step": self.step_done,
            "sums": sums,
            "best": self.best,
            "logged": self.run.hash_of_log(),
        }
        checkpoint.save(self.run.checkpoint, state)

    def resume(self) -> None:
        """Takes up the run's last checkpoint.

        Raises:
            WeightsError: If it is missing or damaged.
        """
        state = checkpoint.load(self.run.checkpoint, self.fabric.device)
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("precision"):  # float16 alone has a scale to keep
            self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.ema is not None:
            self.ema.values = state["ema"]
        self.step_done, self.best, self.logged = state["step"], state["best"], state.get("logged")
        # The sums of all ranks were saved; one rank takes them up.
        self.sums = state["sums"] if self.fabric.is_global_zero else {name: value * 0 for name, value in state["sums"].items()}


def _set_training(step: nn.Module, model: FaceModel, recipe: Recipe) -> None:
    step.train()
    if recipe.start is not None and recipe.start.freeze:
        model.encoder.eval()  # running statistics and dropout stand still as well


def say_slow_precision(precision: str, device: torch.device) -> None:
    """Says that bfloat16 is slow on a processor without wide instructions for it, where torch falls back without a word."""
    if precision == "bf16-mixed" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        say("train.precision bf16-mixed is many times slower than 32-true on this processor. Pass --train.precision 32-true.")


@torch.no_grad()
def try_one_face(step: Step, recipe: Recipe, faces: Faces, device: torch.device) -> None:
    """Checks that a micro-batch of one face can be learned from, on a copy of what would learn.

    Raises:
        RunError: If batch normalisation has a single number of that face to normalise, as behind pooling.
    """
    step = copy.deepcopy(step)
    _set_training(step, step.model, recipe)
    batch = faces.batch(MicroBatch(torch.tensor([0]), torch.tensor([0]), 1.0), 0, device)
    try:
        step(lambda: batch, Progress(0, 0, recipe.train.epochs, 0.0))
    except ValueError as error:  # so torch says it
        if "more than 1 value per channel" not in str(error):
            raise
        raise RunError(
            f"train.batch_size {recipe.train.batch_size} leaves micro-batches of one face, over which "
            f"{recipe.model.encoder.name} or {recipe.objective.name} cannot normalise. Lower train.accumulate or "
            "raise the batch size."
        ) from None


@torch.no_grad()
def predict_logits(model: FaceModel, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Returns (M, K) float32 logits of (M, C, H, W) uint8 faces, in evaluation mode."""
    training = model.training
    model.eval()
    parts = [np.zeros((0, len(model.classes)), np.float32)]  # all there is where no picture can be read
    for start in range(0, len(images), _EVALUATION_BATCH):
        batch = torch.from_numpy(images[start : start + _EVALUATION_BATCH]).to(device)
        parts.append(model(batch).logits.float().cpu().numpy())
    model.train(training)
    return np.concatenate(parts)


def _peak_memory(device: torch.device) -> float:
    """Returns the most bytes held so far by this process, on a GPU its tensors' alone; NaN where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return math.nan
    import resource  # Unix alone has it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def _interruption() -> Iterator[Any]:
    """Yields a function that says whether Ctrl-C or SIGTERM has come; a second one ends the process as usual."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever runs us handles signals
        pass
    try:
        yield lambda: bool(asked)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
