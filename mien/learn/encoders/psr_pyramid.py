"""PSR's pyramid: a face at half its size, the same enlarged by super-resolution, and as it is, side by side."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.convolution import convolution
from mien.learn.model import Features


class PSRPyramid(nn.Module):
    """Returns the features of three scales of a face: the map of the full one, and the mean of what all three pool.

    A spatial transformer sets the face straight; then the face at half its size, that enlarged again by super-resolution, and
    the face at its own size each have their own first stages of a VGG network, and share its last ones. A linear head's logits
    are the mean of the scales' logits.

    Args:
        image_size: Side in pixels, a multiple of 4.
        channels: 1 or 3.
        widths: Channels of each stage; each halves the map. D is the last.
        depths: Convolutions of each stage.
        own: How many first stages each scale has of its own; the official code has 3 of 5.
        sr_width: Channels of the super-resolution; the official code has 64.
        sr_blocks: Residual blocks of the super-resolution; the official code has 16.

    Source:
        Vo et al., Pyramid With Super Resolution for In-the-Wild Facial Expression Recognition, IEEE Access 2020, and its code;
        Jaderberg et al., Spatial Transformer Networks, 2015; Lim et al., EDSR, CVPRW 2017.
    Differs:
        The super-resolution was trained on other pictures before; here it is what is added to each pixel repeated, at first
        nothing, and learns from the expressions alone. Scales share the loss of their mean logits, where the official code
        averages their losses and probabilities. Its classifier has a hidden layer. Narrower and shallower by default.
    """

    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        own: int = 2,
        sr_width: int = 16,
        sr_blocks: int = 2,
    ) -> None:
        super().__init__()
        if image_size % 4:
            raise RecipeError(f"encoder psr_pyramid: image_size is {image_size}. Expected a multiple of 4.")
        if len(widths) != len(depths) or not 0 < own < len(widths):
            raise RecipeError(
                f"encoder.widths is {list(widths)}, depths {list(depths)} and own {own}. "
                f"Expected a depth for each width, and own from 1 to {len(widths) - 1}."
            )
        self.width = widths[-1]
        self.straighten = _SpatialTransformer(image_size, channels)
        self.enlarge = _SuperResolution(channels, sr_width, sr_blocks)
        stages = list(zip((channels, *widths), widths, depths, strict=False))
        self.first = nn.ModuleList(nn.Sequential(*(_stage(*stage) for stage in stages[:own])) for _ in range(3))
        self.last = nn.Sequential(*(_stage(*stage) for stage in stages[own:]))
        self.to(memory_format=torch.channels_last)  # a training step takes 28 % less of a CPU's time so

    def forward(self, pixels: Tensor) -> Features:
        full = self.straighten(pixels)
        half = F.avg_pool2d(full, 2)
        scales = zip(self.first, (half, self.enlarge(half), full), strict=True)
        squares = [self.last(first(scale)) for first, scale in scales]
        pooled = torch.stack([square.mean((2, 3)) for square in squares]).mean(0)
        return Features(squares[-1].flatten(2).transpose(1, 2), squares[-1], pooled)


def _stage(inside: int, outside: int, depth: int) -> nn.Sequential:
    """Returns convolutions and a pooling that halves the map; a last row or column that has no partner stays."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inside, *(outside for _ in range(depth)))):
        layers += [convolution(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))


class _SuperResolution(nn.Module):
    """Returns (B, C, 2 · H, 2 · W): each pixel four times, and what residual blocks without normalisation add."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.start, self.end = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        pairs = ((nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)) for _ in range(blocks))
        self.body = nn.ModuleList(nn.Sequential(first, nn.ReLU(), second) for first, second in pairs)
        self.spread = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.finish = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.finish.weight)
        nn.init.zeros_(self.finish.bias)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        start = square = self.start(pixels)
        for block in self.body:
            square = square + block(square)
        added: Tensor = self.finish(self.spread(start + self.end(square)))
        return F.interpolate(pixels, scale_factor=2.0, mode="nearest") + added


class _SpatialTransformer(nn.Module):
    """Returns pixels moved, turned and scaled by an affine map that is read from them; at first as they are."""

    def __init__(self, image_size: int, channels: int) -> None:
        super().__init__()
        # Sizes of PyTorch's example of such a network, which keeps no border.
        self.look = nn.Sequential(
            *(nn.Conv2d(channels, 8, 7, padding=3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(8, 10, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()),
        )
        self.decide = nn.Sequential(nn.Linear(10 * (image_size // 4) ** 2, 32), nn.ReLU(), nn.Linear(32, 6))
        nn.init.zeros_(self.decide[2].weight)  # type: ignore[arg-type]
        with torch.no_grad():
            self.decide[2].bias.copy_(torch.eye(2, 3).flatten())  # type: ignore[operator]

    def forward(self, pixels: Tensor) -> Tensor:
        affine = self.decide(self.look(pixels).flatten(1)).unflatten(1, (2, 3))
        with torch.autocast(pixels.device.type, enabled=False):  # places need more than bfloat16's eight bits
            grid = F.affine_grid(affine.float(), list(pixels.shape), align_corners=False)
            return F.grid_sample(pixels.float(), grid, align_corners=False)
