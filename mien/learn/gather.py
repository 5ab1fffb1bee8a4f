"""The one file with collective calls: rows of all ranks, and sums over them."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def num_ranks() -> int:
    """Returns how many processes train together, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Returns the rows of all ranks, (sum of B, …), in rank order; the ranks' B may differ. No gradient flows."""
    if num_ranks() == 1:
        return rows
    rows = rows.detach().contiguous()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(num_ranks())]
    dist.all_gather(counts, count)
    longest = int(torch.stack(counts).max())
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.zeros_like(padded) for _ in range(num_ranks())]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered, counts, strict=True)])


@torch.no_grad()
def average_running_statistics(module: nn.Module) -> None:
    """Makes the running statistics of batch normalisation equal on all ranks: their mean."""
    if num_ranks() == 1:
        return
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
            for statistic in (layer.running_mean, layer.running_var):
                statistic.copy_(sum_over_ranks(statistic) / num_ranks())


def sum_over_ranks(numbers: Tensor) -> Tensor:
    """Returns the elementwise sum of all ranks' `numbers`."""
    if num_ranks() > 1:
        numbers = numbers.clone()
        dist.all_reduce(numbers)
    return numbers
