"""Random numbers that belong to a sample: a hash of (seed, epoch, position, stream), never a generator's state."""

import zlib

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as int64: splitmix64's increment (Steele et al., OOPSLA 2014)
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def mix(numbers: Tensor) -> Tensor:
    """Returns splitmix64's finaliser of int64 `numbers`, elementwise; sums and products wrap as the algorithm wants."""
    numbers = (numbers ^ _shift(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shift(numbers, 27)) * _SECOND
    return numbers ^ _shift(numbers, 31)


def _shift(numbers: Tensor, bits: int) -> Tensor:
    """Returns the logical shift to the right: torch's own keeps the sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


def keys(seed: int, epoch: int, positions: Tensor) -> Tensor:
    """Returns (B,) int64 keys of the places `positions` (B,) in an epoch's order."""
    start = mix(torch.tensor(seed * 0x10001 + epoch, dtype=torch.int64) + _GOLDEN)
    return mix(start.to(positions.device) + (positions.to(torch.int64) + 1) * _GOLDEN)


def uniform(keys: Tensor, stream: str, *shape: int) -> Tensor:
    """Returns (B, *shape) float32 numbers in [0, 1) that depend on each row's key and on the stream's name alone."""
    count = 1
    for length in shape:
        count *= length
    name = zlib.crc32(stream.encode())
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device) * _GOLDEN  # (count,)
    numbers = mix(mix(keys + name)[:, None] + counter[None])  # (B, count)
    return (_shift(numbers, 40).to(torch.float32) / (1 << 24)).reshape(len(keys), *shape)


def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Returns (count,) int64: the order of an epoch."""
    return keys(seed, -1 - epoch, torch.arange(count)).argsort(stable=True)
