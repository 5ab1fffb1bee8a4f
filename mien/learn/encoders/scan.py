"""SCAN: attention to patches of a face and to the whole, without landmarks, and a deeper map whose quarters are its context."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.convolution import ResidualBlock, convolution, trunk, trunk_stride
from mien.learn.model import Features


class SCAN(nn.Module):
    """Returns as pooled features what attention finds in patches and in the whole, and as map the next layer's.

    Each patch of the trunk's map, and the whole of it, is weighed by an attention of its own and averaged; the largest over the
    patches beside the whole's, at unit length, are the pooled features. The map is one residual layer deeper, its channels
    weighed by how strong their neighbours are (ECA). Head `regions` reads the pooled features and the map's quarters, objective
    `branches` teaches all five; a head that reads only one of the two leaves the other's layers as they are.

    Args:
        image_size: Side in pixels; any.
        channels: 1 or 3.
        widths: Channels of the trunk's two layers; D is twice the last.
        blocks: Residual blocks of each layer.
        cuts: Patches along a side, at most; the last may be smaller. The official code's 5 of a map of 28 are 6, 6, 6, 6 and 4.

    Source:
        Gera and Balasubramanian, Landmark Guidance Independent Spatio-channel Attention and Complementary Context Information
        based Facial Expression Recognition, Pattern Recognition Letters 2021, and its code.
    Differs:
        The trunk has residual blocks of two convolutions, where it was a ResNet-50.
    """

    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        widths: tuple[int, int] = (32, 64),
        blocks: int = 1,
        cuts: int = 5,
    ) -> None:
        super().__init__()
        inside = widths[1]
        self.width = 2 * inside
        self.trunk = trunk(image_size, channels, widths, blocks)
        side = -(-image_size // trunk_stride(image_size))
        patch = -(-side // cuts)
        spans = [slice(start, start + patch) for start in range(0, side, patch)]
        self.patches = [(rows, columns) for rows in spans for columns in spans]
        self.local = nn.ModuleList(_Attention(inside) for _ in self.patches)
        self.whole = _Attention(inside)
        deeper = [ResidualBlock(inside, self.width, stride=2)]
        self.deeper = nn.Sequential(*deeper, *(ResidualBlock(self.width, self.width) for _ in range(blocks - 1)))
        self.neighbours = nn.Conv1d(1, 1, 5, padding=2, bias=False)  # official code
        self.to(memory_format=torch.channels_last)  # a training step takes 12 % less of a CPU's time so

    def forward(self, pixels: Tensor) -> Features:
        square = self.trunk(pixels)
        patches = (square[:, :, rows, columns] for rows, columns in self.patches)
        local = [attend(patch) for attend, patch in zip(self.local, patches, strict=True)]  # (B, D / 2) each
        pooled = F.normalize(torch.cat([torch.stack(local).amax(0), self.whole(square)], 1), dim=1)
        deep = self.deeper(square)
        gate = self.neighbours(deep.mean((2, 3))[:, None]).sigmoid()[:, 0]  # (B, D)
        deep = deep * gate[:, :, None, None]
        return Features(deep.flatten(2).transpose(1, 2), deep, pooled)


class _Attention(nn.Module):
    """Returns (B, C) the mean over places of (B, C, h, w), each number weighed by how much it matters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convolve, normalise = convolution(width, width)
        self.weigh = nn.Sequential(convolve, nn.PReLU(width), normalise, nn.Sigmoid())

    def forward(self, square: Tensor) -> Tensor:
        weight: Tensor = self.weigh(square)  # (B, C, h, w)
        return (square * weight).mean((2, 3))
