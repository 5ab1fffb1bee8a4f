"""What convolutional encoders share: a normalised convolution, a residual block, and the first layers of a residual network."""

import torch.nn.functional as F
from torch import Tensor, nn

_LARGE = 112  # not stated; ours: from this many pixels on, pictures are quartered before the first block


def convolution(inside: int, outside: int, *, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Returns a convolution, with He's start, and its batch normalisation; a map of h positions becomes one of h / stride."""
    layer = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outside))


class ResidualBlock(nn.Module):
    """Returns (B, outside, h / stride, w / stride): two convolutions, whose output is added to the block's input.

    Args:
        inside: Channels of the input.
        outside: Channels of the output.
        stride: Of the first convolution.
        groups: Independent blocks side by side, each of its share of the channels.
        second: What stands in the second convolution's place.

    Source:
        He et al., Deep Residual Learning, CVPR 2016.
    """

    def __init__(self, inside: int, outside: int, *, stride: int = 1, groups: int = 1, second: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Sequential(convolution(inside, outside, stride=stride, groups=groups), nn.ReLU())
        self.second = convolution(outside, outside, groups=groups) if second is None else second
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else convolution(inside, outside, size=1, stride=stride, groups=groups)

    def forward(self, square: Tensor) -> Tensor:
        """Returns the block's output for (B, inside, h, w)."""
        return F.relu(self.shortcut(square) + self.second(self.first(square)))


def trunk(image_size: int, channels: int, widths: tuple[int, int], blocks: int) -> nn.Sequential:
    """Returns a residual network up to its second layer, whose map `trunk_stride` says the size of.

    Pictures from 112 pixels on pass ResNet's 7 × 7 convolution and pooling, which quarter them; smaller ones two 3 × 3
    convolutions that halve them.

    Args:
        image_size: Side in pixels.
        channels: Of the pixels.
        widths: Channels of each layer.
        blocks: Residual blocks of each layer.
    """
    first, second = widths
    if image_size < _LARGE:
        start = [convolution(channels, first // 2), nn.ReLU(), convolution(first // 2, first, stride=2), nn.ReLU()]
    else:
        start = [convolution(channels, first, size=7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    layers = [ResidualBlock(first, first) for _ in range(blocks)] + [ResidualBlock(first, second, stride=2)]
    return nn.Sequential(nn.Sequential(*start), *layers, *(ResidualBlock(second, second) for _ in range(blocks - 1)))


def trunk_stride(image_size: int) -> int:
    """Returns how many pixels one position of a trunk's map is wide."""
    return 4 if image_size < _LARGE else 8
