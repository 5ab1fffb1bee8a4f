"""AdamW or SGD with layer decay, the learning rate of each step, and the average of weights."""

import math
import re

import torch
from torch import nn

from mien.learn.objective import Objective
from mien.recipe import Optimizer

_FIRST_LAYER = ("stem", "patch_embed", "pos_embed", "cls_token", "reg_token")


def make_optimizer(model: nn.Module, objective: Objective, section: Optimizer, *, fused: bool) -> torch.optim.Optimizer:
    """Returns AdamW, or SGD with Nesterov momentum, over the trained parameters of model and objective.

    Vectors and biases do not decay. A parameter's rate is multiplied by `layer_decay` to the power of its distance from
    the head, and by the objective's `lr_scale`; each group keeps that factor as `scale`.
    """
    depth = num_blocks(model)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for prefix, module in (("model", model), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = layer_of(name, depth) if prefix == "model" else depth + 1
            scale = section.layer_decay ** (depth + 1 - layer) * objective.lr_scale(f"{prefix}.{name}")
            groups.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    sections = [
        {"params": parameters, "scale": scale, "weight_decay": section.weight_decay if decays else 0.0}
        for (scale, decays), parameters in groups.items()
    ]
    if section.name == "sgd":
        momentum = section.momentum or 0.0
        return torch.optim.SGD(sections, lr=section.lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
    assert section.betas is not None
    return torch.optim.AdamW(sections, lr=section.lr, betas=section.betas, fused=fused)


def num_blocks(model: nn.Module) -> int:
    """Returns how many blocks the encoder has, 0 where nothing is called so."""
    found = [int(m[1]) for name, _ in model.named_parameters() if (m := re.match(r"encoder\..*?blocks\.(\d+)\.", name))]
    return max(found, default=-1) + 1


def layer_of(name: str, depth: int) -> int:
    """Returns a parameter's layer: 0 for stem, patches and positions, i + 1 for block i, depth + 1 for all else."""
    if not name.startswith("encoder."):
        return depth + 1
    if found := re.match(r"encoder\..*?blocks\.(\d+)\.", name):
        return int(found[1]) + 1
    return 0 if any(part in name.split(".") for part in _FIRST_LAYER) else depth + 1


def learning_rate(section: Optimizer, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Returns the rate of optimizer step `step` (from 0): a linear rise, then half a cosine down to `min_lr`."""
    warmup = section.warmup_epochs * steps_per_epoch
    if step < warmup:
        return section.lr * (step + 1) / warmup
    if section.schedule == "constant":
        return section.lr
    share = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
    return section.min_lr + (section.lr - section.min_lr) * (1 + math.cos(math.pi * share)) / 2


class EMA:
    """A moving average of a module's trained parameters, and a copy of its buffers and its frozen parameters.

    Args:
        module: What to average.
        decay: Share that stays at each step; early on it is smaller, (1 + step) / (10 + step), so that the start fades.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves the average towards the module after optimizer step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        present = module.state_dict()
        trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        # All at once: one by one they would take an accelerator as long as a tenth of the step.
        torch._foreach_lerp_([self.values[name] for name in trained], [present[name] for name in trained], 1 - decay)
        for name in present.keys() - set(trained):
            self.values[name].copy_(present[name])
