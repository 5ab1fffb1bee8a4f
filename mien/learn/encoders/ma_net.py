"""MA-Net: a network for each quarter of a face, beside one that sees the whole at several scales."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.convolution import ResidualBlock, convolution, trunk, trunk_stride
from mien.learn.model import Features

_QUARTERS = 4
_SQUEEZE = 16  # official code: CBAM's reduction
_SCALES = 4  # official code


class MANet(nn.Module):
    """Returns the features of a face's quarters, half of the width, and those of the whole face, the other half.

    A residual trunk; then each quarter of its map has two layers of its own with attention (CBAM) in every block, after which
    the four are put together again and averaged to the other half's grid; and the whole map has two layers of multi-scale
    blocks. Head `halves` classifies each half, objective `branches` teaches both.

    Args:
        image_size: Side in pixels, a multiple of 8, from 112 on of 16.
        channels: 1 or 3.
        widths: Channels of the trunk's two layers and of the two after it, the last two multiples of 16; D is twice the last.
        blocks: Residual blocks of each layer. 2, with widths 64, 128, 256 and 512 and 224 pixels, make the official network.

    Source:
        Zhao et al., Learning Deep Global Multi-Scale and Local Attention Features for Facial Expression Recognition in the
        Wild, TIP 2021, and its code; Woo et al., CBAM, ECCV 2018.
    Differs:
        The quarters' four networks are computed as groups of the same convolutions. Narrower and shallower by default.
    """

    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        widths: tuple[int, int, int, int] = (32, 64, 128, 256),
        blocks: int = 1,
    ) -> None:
        super().__init__()
        multiple = 2 * trunk_stride(image_size)
        if image_size % multiple:
            raise RecipeError(
                f"model.image_size is {image_size}. Encoder ma_net quarters a map and expects a multiple of {multiple}."
            )
        if widths[2] % _SQUEEZE or widths[3] % _SQUEEZE:
            raise RecipeError(f"encoder.widths is {list(widths)}. Expected the last two to be multiples of {_SQUEEZE}.")
        self.width = 2 * widths[3]
        self.trunk = trunk(image_size, channels, widths[:2], blocks)
        quartered = [_QUARTERS * width for width in widths[1:]]
        self.quarters = _two_layers(quartered, blocks, (2, 1), _AttentiveConvolution, groups=_QUARTERS)
        self.whole = _two_layers(widths[1:], blocks, (2, 2), _MultiScale, groups=1)

    def forward(self, pixels: Tensor) -> Features:
        square = self.trunk(pixels)
        local = put_together(self.quarters(take_apart(square)))
        square = torch.cat([F.avg_pool2d(local, 2), self.whole(square)], 1)  # (B, D, h, w)
        return Features(square.flatten(2).transpose(1, 2), square, square.mean((2, 3)))


def take_apart(square: Tensor) -> Tensor:
    """Returns (B, 4 · C, h / 2, w / 2): the quarters of (B, C, h, w) side by side, row by row."""
    half = square.shape[2] // 2
    rows = (square[:, :, :half], square[:, :, half:])
    return torch.cat([part for row in rows for part in (row[..., :half], row[..., half:])], 1)


def put_together(quarters: Tensor) -> Tensor:
    """Returns (B, C, 2 · h, 2 · w) from (B, 4 · C, h, w)."""
    parts = quarters.chunk(_QUARTERS, 1)
    return torch.cat([torch.cat(parts[:2], 3), torch.cat(parts[2:], 3)], 2)


def _two_layers(
    widths: Sequence[int], blocks: int, strides: tuple[int, int], second: Callable[[int], nn.Module], groups: int
) -> nn.Sequential:
    """Returns two layers of residual blocks whose second convolution is of a kind of its own."""
    layers: list[nn.Module] = []
    for inside, outside, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        layers.append(ResidualBlock(inside, outside, stride=stride, groups=groups, second=second(outside)))
        layers += [ResidualBlock(outside, outside, groups=groups, second=second(outside)) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


class _AttentiveConvolution(nn.Module):
    """A convolution whose output is weighed by channel and then by place, for each quarter apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve = convolution(width, width, groups=_QUARTERS)
        self.squeeze = nn.Conv2d(width, width // _SQUEEZE, 1, groups=_QUARTERS)
        self.excite = nn.Conv2d(width // _SQUEEZE, width, 1, groups=_QUARTERS)
        self.place = convolution(2 * _QUARTERS, _QUARTERS, size=7, groups=_QUARTERS)

    def forward(self, square: Tensor) -> Tensor:
        square = self.convolve(square)
        average, largest = square.mean((2, 3), keepdim=True), square.amax((2, 3), keepdim=True)
        weighed = square * (self._channels(average) + self._channels(largest)).sigmoid()
        parts = weighed.reshape(-1, _QUARTERS, weighed.shape[1] // _QUARTERS, *weighed.shape[2:])  # (B, 4, C, h, w)
        seen = torch.stack([parts.amax(2), parts.mean(2)], 2).flatten(1, 2)  # (B, 8, h, w)
        weight: Tensor = self.place(seen).sigmoid()  # (B, 4, h, w)
        return (parts * weight[:, :, None]).flatten(1, 2)

    def _channels(self, pooled: Tensor) -> Tensor:
        return self.excite(F.relu(self.squeeze(pooled)))  # type: ignore[no-any-return]


class _MultiScale(nn.Module):
    """The sum of two cascades over four groups of channels: each group also sees its predecessor's output, there and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // _SCALES
        self.there = nn.ModuleList(convolution(part, part) for _ in range(_SCALES))
        self.back = nn.ModuleList(convolution(part, part) for _ in range(_SCALES))

    def forward(self, square: Tensor) -> Tensor:
        parts = square.chunk(_SCALES, 1)
        there, back = _cascade(self.there, parts), _cascade(self.back, parts[::-1])
        return torch.cat(there, 1) + torch.cat(back[::-1], 1)


def _cascade(layers: nn.ModuleList, parts: Sequence[Tensor]) -> list[Tensor]:
    seen: list[Tensor] = []
    for layer, part in zip(layers, parts, strict=True):
        seen.append(layer(part + F.relu(seen[-1]) if seen else part))
    return seen
