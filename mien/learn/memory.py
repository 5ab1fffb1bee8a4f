"""SampleMemory: what an objective remembers about each sample."""

import torch
from torch import Tensor, nn

from mien.learn.gather import gather_rows


class SampleMemory(nn.Module):
    """A tensor with one row per training sample, in the checkpoint and equal on all ranks.

    Read rows with `memory[index]`, revise them with `memory.write(index, rows)`; `index` is the batch's.
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.clone())

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    @torch.no_grad()
    def write(self, index: Tensor, rows: Tensor) -> None:
        """Replaces the rows at `index` (B,) on every rank, by this rank's `rows` and by those of the others."""
        self.values[gather_rows(index)] = gather_rows(rows.to(self.values.dtype))
