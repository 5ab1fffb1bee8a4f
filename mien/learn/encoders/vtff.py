"""VTFF: a face and its local binary patterns, fused place by place, become the words of a transformer."""

import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.encoders.residual_48 import Residual48
from mien.learn.hybrid import MapTransformer, check_heads, grid_of
from mien.learn.model import Features
from mien.learn.transformer import Block

# Row and column of a pixel's neighbours, clockwise from above left: the first is worth 1, the last 128.
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_REDUCTION = 8  # r of the fusion's attention, as in a count of the method's operations by TransFER's author


class VTFF(nn.Module):
    """Returns the features of faces: two residual networks, attentional selective fusion of their maps, transformer blocks.

    One network sees the pixels, the other their local binary patterns, which are made of the same pixels here: an image is all
    it needs. Each block of the transformer is a level. Patches cannot be hidden.

    Args:
        image_size: Side in pixels.
        channels: 1 or 3.
        widths: Channels of each residual block in both networks. The map halves once before, and again at each change.
        width: D.
        depth: Transformer blocks; the paper's size has 8.
        heads: Attention heads.
        drop_path: Largest probability of leaving out a block's branch, growing linearly with depth.

    Source:
        Ma et al., Facial Expression Recognition With Visual Transformers and Attentional Selective Fusion, TAFFC 2021; what is
        not in its summary after the count of its operations in TransFER's author's repository (youqingxiaozhua/APViT).
    Differs:
        `residual_48`'s blocks instead of ResNet-18's; patterns of each colour channel apart; the mean of all tokens instead of
        a class token. Other people's codes disagree on the last step of the fusion; here the shares of both maps sum to 1, as
        in Dai et al., Attentional Feature Fusion, WACV 2021.
    """

    gives = frozenset({"levels"})

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        widths: tuple[int, ...] = (24, 48, 48, 96),
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.width = width
        self.pixel_network = Residual48(image_size=image_size, channels=channels, widths=widths)
        self.pattern_network = Residual48(image_size=image_size, channels=channels, widths=widths)
        self.fuse = _Fusion(widths[-1])
        blocks = [Block(width, heads, drop_path * i / max(1, depth - 1)) for i in range(depth)]
        self.transformer = MapTransformer(widths[-1], grid_of(image_size, widths), width, blocks)

    def forward(self, pixels: Tensor) -> Features:
        patterns = local_binary_patterns(pixels) / 127.5 - 1  # about as large as pixels are
        fused = self.fuse(self.pixel_network(pixels).map, self.pattern_network(patterns).map)
        return self.transformer(fused)  # type: ignore[no-any-return]


class _Fusion(nn.Module):
    """Returns (B, C, h, w), at each place and channel a share of one map and the rest of the other.

    The share follows from a mixture of both: σ(what its mean says of each channel + what each place says).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix_pixels, self.mix_patterns = nn.Conv2d(width, width, 1, bias=False), nn.Conv2d(width, width, 1, bias=False)
        self.of_channels, self.of_places = _attention(width, width), _attention(width, 1)

    def forward(self, pixels: Tensor, patterns: Tensor) -> Tensor:
        mixed = self.mix_pixels(pixels) + self.mix_patterns(patterns)
        share: Tensor = (self.of_channels(mixed.mean((2, 3), keepdim=True)) + self.of_places(mixed)).sigmoid()  # (B, C, h, w)
        return share * pixels + (1 - share) * patterns


def _attention(inside: int, outside: int) -> nn.Sequential:
    """Returns two linear maps of each position over a bottleneck, both normalised over the batch."""
    narrow = inside // _REDUCTION
    return nn.Sequential(
        *(nn.Conv2d(inside, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()),
        *(nn.Conv2d(narrow, outside, 1, bias=False), nn.BatchNorm2d(outside)),
    )


def local_binary_patterns(pixels: Tensor) -> Tensor:
    """Returns (B, C, H, W) codes from 0 to 255: a bit for each of the eight neighbours that is at least as bright.

    Pixels at the rim have themselves and their neighbours there for those outside. A brighter or flatter light changes nothing.

    Source:
        Ojala et al., A Comparative Study of Texture Measures With Classification Based on Featured Distributions, 1996.
    """
    height, width = pixels.shape[2:]
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    codes = pixels.new_zeros(())
    for bit, (row, column) in enumerate(_NEIGHBOURS):
        neighbour = padded[:, :, 1 + row : 1 + row + height, 1 + column : 1 + column + width]
        codes = codes + (neighbour >= pixels).to(pixels.dtype) * 2**bit
    return codes
