"""The one file with collective calls: rows of all ranks, sums over them, and what is said when one of them is gone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.errors import RunError


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
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    statistics = [each for layer in layers for each in (layer.running_mean, layer.running_var) if each is not None]
    if statistics:
        means = sum_over_ranks(torch.cat(statistics)) / num_ranks()  # at once: this happens in every step
        lengths = [len(each) for each in statistics]
        torch._foreach_copy_(statistics, means.split(lengths))  # type: ignore[no-untyped-call]


def sum_over_ranks(numbers: Tensor) -> Tensor:
    """Returns the elementwise sum of all ranks' `numbers`."""
    if num_ranks() > 1:
        numbers = numbers.clone()
        dist.all_reduce(numbers)
    return numbers


@contextmanager
def together(where: str) -> Iterator[None]:
    """Says in a sentence that another process is gone, where the backend raises errors of its own.

    Raises:
        RunError: If so.
    """
    try:
        yield
    except RuntimeError as error:
        # NCCL's errors have a class; gloo's name the line of gloo's own code.
        if num_ranks() == 1 or not (isinstance(error, dist.DistError) or "/gloo/" in str(error)):
            raise
        raise RunError(
            f"{where}: process {dist.get_rank()} has lost another of {num_ranks()}, which failed, was killed or cannot be "
            "reached. Go on from the last checkpoint with the same command and --resume."
        ) from None
