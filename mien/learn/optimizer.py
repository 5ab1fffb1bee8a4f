"""AdamW or SGD with layer decay, the learning rate of each step, and the average of weights."""

import math
import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import nn

from mien.learn.objective import Objective
from mien.recipe import Optimizer

_BLOCK = re.compile(r"encoder\.(?!stem\.).*?blocks\.\d+\.")
_FIRST_LAYER = ("stem", "patch_embed", "pos_embed", "cls_token", "reg_token")


def make_optimizer(model: nn.Module, objective: Objective, section: Optimizer, *, fused: bool) -> torch.optim.Optimizer:
    """Returns AdamW, or SGD with Nesterov momentum, over the trained parameters of model and objective.

    Vectors and biases do not decay. A parameter's rate is multiplied by `layer_decay` to the power of its distance from
    the head, and by the objective's `lr_scale`; each group keeps that factor as `scale`.
    """
    blocks = block_layers(model)
    last = max(blocks.values(), default=0) + 1
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for prefix, module in (("model", model), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = layer_of(name, blocks) if prefix == "model" else last
            scale = section.layer_decay ** (last - layer) * objective.lr_scale(f"{prefix}.{name}")
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


def block_layers(model: nn.Module) -> dict[str, int]:
    """Returns the layer of each of the encoder's blocks, from 1, by what the names of its parameters begin with.

    Blocks in stages, as Swin's and ConvNeXt's, are counted through from stage to stage.
    """
    prefixes = dict.fromkeys(found[0] for name, _ in model.named_parameters() if (found := _BLOCK.match(name)))
    counts: Counter[str] = Counter()
    layers = {}
    for prefix in prefixes:
        network = re.sub(r"\.\d+(?=\.)", "", prefix)  # without the numbers of stage and block
        counts[network] += 1
        layers[prefix] = counts[network]
    return layers


def layer_of(name: str, blocks: Mapping[str, int]) -> int:
    """Returns a parameter's layer: 0 for stem, patches and positions, that of its block, one more than the last for all else.

    What leads from one stage of blocks to the next belongs to the first block there.
    """
    if found := _BLOCK.match(name):
        return blocks[found[0]]
    if stage := re.match(r"encoder\..*?\.\d+\.", name):
        within = [layer for prefix, layer in blocks.items() if prefix.startswith(stage[0])]
        if within:
            return min(within)
    first = name.startswith("encoder.") and any(part in name.split(".") for part in _FIRST_LAYER)
    return 0 if first else max(blocks.values(), default=0) + 1


def learning_rate(section: Optimizer, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Returns the rate of optimizer step `step` (from 0): a linear rise, then half a cosine down to `min_lr`."""
    warmup = section.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(section.lr, section.lr * (step + 1) / warmup)  # part of a step at its end
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
