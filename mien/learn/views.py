"""Views: augmented copies of a batch, drawn per sample and resampled once, on the training device."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.errors import RecipeError
from mien.learn.build import check_arguments
from mien.learn.points import MIRRORED
from mien.learn.randomness import uniform


def make_view(
    images: Tensor,
    keys: Tensor,
    stream: str,
    *,
    crop: float = 1.0,
    flip: float = 0.0,
    rotate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
    randaugment: float = 0.0,
    erase: float = 0.0,
    erase_area: tuple[float, float] = (0.02, 0.25),
    soften: float = 0.0,
    gamma: float = 1.0,
    noise: float = 0.0,
    jpeg: float = 100.0,
    mirror: bool = False,
) -> Tensor:
    """Returns a randomly moved copy of a batch, (B, C, H, W) float32 in 0…255.

    Args:
        images: (B, C, H, W) uint8.
        keys: (B,) keys of the samples; the same keys and stream give the same draw.
        stream: Name of the draw.
        crop: Smallest area, as a share of the picture's, of a crop that is resized to the whole, its sides in a ratio of 3/4
            to 4/3: a random resized crop. 1: none.
        flip: Probability of a horizontal flip.
        rotate: Largest turn to either side, in degrees.
        scale: Smallest and largest magnification.
        shift: Largest shift to either side, as a share of the width.
        randaugment: Strength of torchvision's RandAugment, 0 to 30, two operations a picture; 0: none. Picture by picture, and
            slow: for recipes of the paper's size.
        erase: Probability that one rectangle is painted over with a random grey.
        erase_area: Smallest and largest area of the rectangle, as a share of the image (SCN and EAC use 0.02 to 0.25).
        soften: Largest share of a picture blurred over 5 × 5 pixels, as photos are that were small or out of focus.
        gamma: Largest power, and the inverse of the smallest, that brightness is raised to, as in dark and in faded photos.
        noise: Largest deviation of the noise added to each pixel, in grey levels, as from sensors.
        jpeg: Lowest quality, from 1, of the JPEG that each picture has gone through; 100: none has.
        mirror: Returns the mirror image of the same draw.
    """
    draws = uniform(keys, stream, 19)  # (B, 19)
    moved = (_rand_augment(images, keys, stream, randaugment) if randaugment else images).float()
    if rotate or shift or crop < 1 or tuple(scale) != (1.0, 1.0):
        moved = _move(moved, draws, crop, flip, rotate, scale, shift)
    elif flip:
        moved = torch.where((draws[:, 0] < flip)[:, None, None, None], moved.flip(3), moved)
    if soften:
        share = (draws[:, 11] * soften)[:, None, None, None]
        blurred = F.avg_pool2d(F.pad(moved, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        moved = moved + share * (blurred - moved)
    if gamma != 1.0:
        power = torch.exp((draws[:, 12] * 2 - 1) * math.log(gamma))[:, None, None, None]
        moved = 255 * (moved.clamp(0, 255) / 255) ** power
    if noise:
        spread = (draws[:, 13] * noise * math.sqrt(12))[:, None, None, None]  # a uniform number's deviation is 1/√12
        moved = (moved + spread * (uniform(keys, f"{stream} noise", 1, *moved.shape[2:]) - 0.5)).clamp(0, 255)
    if jpeg < 100:
        moved = _as_jpeg(moved, jpeg + draws[:, 14] * (100 - jpeg))
    if erase:
        moved = _erase(moved, draws, erase, erase_area)
    return moved.flip(3) if mirror else moved


def move_points(
    points: Tensor,
    keys: Tensor,
    stream: str,
    *,
    crop: float = 1.0,
    flip: float = 0.0,
    rotate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
    mirror: bool = False,
    **looks: Any,
) -> Tensor:
    """Returns (B, P, 2) where the points of a batch lie in the view that `make_view` makes by the same arguments.

    In a mirrored face left and right have changed places among its points too.

    Args:
        points: (B, P, 2) right and down, from −1 to 1 inside the picture; NaN stays NaN.
        keys: (B,) keys of the samples.
        stream: Name of the draw.
        crop: As in `make_view`, and so on.
        flip: As there.
        rotate: As there.
        scale: As there.
        shift: As there.
        mirror: As there.
        looks: What moves nothing.
    """
    axes, offset = _warp(uniform(keys, stream, 19), crop, flip, rotate, scale, shift)
    moved = torch.linalg.solve(axes, (points - offset[:, None]).transpose(1, 2)).transpose(1, 2)  # (B, P, 2)
    flipped = torch.linalg.det(axes) < 0
    if mirror:
        moved, flipped = moved * moved.new_tensor([-1.0, 1.0]), ~flipped
    return torch.where(flipped[:, None, None], moved[:, MIRRORED[points.shape[1]]], moved)


def _move(
    images: Tensor, draws: Tensor, crop: float, flip: float, rotate: float, scale: Sequence[float], shift: float
) -> Tensor:
    """Returns the batch cropped, flipped, turned, scaled and shifted by one bilinear resampling; edges are repeated."""
    height, width = images.shape[2:]
    axes, offset = _warp(draws, crop, flip, rotate, scale, shift)
    columns, rows = (
        (torch.arange(length, device=images.device) * 2 + 1) / length - 1 for length in (width, height)
    )  # pixel centres
    across = axes[:, :, 0, None, None] * columns  # (B, 2, 1, W)
    along = axes[:, :, 1, None, None] * rows[:, None] + offset[:, :, None, None]  # (B, 2, H, 1)
    grid = (across + along).permute(0, 2, 3, 1)  # (B, H, W, 2); F.affine_grid takes a CPU twice the time of the sampling
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _warp(
    draws: Tensor, crop: float, flip: float, rotate: float, scale: Sequence[float], shift: float
) -> tuple[Tensor, Tensor]:
    """Returns (B, 2, 2) axes and (B, 2) offset: a place p of the view is axes · p + offset in the picture; sides at ±1."""
    turn = (draws[:, 1] * 2 - 1) * math.radians(rotate)  # (B,)
    size = torch.exp(math.log(scale[0]) + draws[:, 2] * math.log(scale[1] / scale[0]))  # (B,) uniform in the logarithm
    side = torch.where(draws[:, 0] < flip, -1.0, 1.0)  # (B,)
    offset = (draws[:, 3:5] * 2 - 1) * 2 * shift  # (B, 2): the grid is 2 wide
    cos, sin = torch.cos(turn) / size, torch.sin(turn) / size
    wide, tall, middle = _crops(draws, crop) if crop < 1 else (1.0, 1.0, 0.0)
    right = torch.stack([cos * side * wide, sin * side * wide], 1)  # (B, 2): a step to the right of the view, in the picture
    down = torch.stack([-sin * tall, cos * tall], 1)
    return torch.stack([right, down], 2), offset + middle


def _crops(draws: Tensor, smallest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (B,) widths and heights of crops, as shares of the sides, and (B, 2) their middles, where the sides end at ±1."""
    area = smallest + draws[:, 15] * (1 - smallest)
    ratio = torch.exp((draws[:, 16] * 2 - 1) * math.log(4 / 3))  # 3/4 to 4/3 (Szegedy et al., CVPR 2015)
    wide, tall = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    middle = (draws[:, 17:19] * 2 - 1) * torch.stack([1 - wide, 1 - tall], 1)  # inside the picture
    return wide, tall, middle


def _rand_augment(images: Tensor, keys: Tensor, stream: str, magnitude: float) -> Tensor:
    """Returns (B, C, H, W) uint8 after two random operations each (Cubuk et al., RandAugment, NeurIPS 2020)."""
    from torchvision.transforms.v2 import RandAugment  # loads for a second; only recipes of the paper's size need it

    augment = RandAugment(num_ops=2, magnitude=round(magnitude), fill=[128.0] * images.shape[1])
    seeds = (uniform(keys, f"{stream} randaugment", 1)[:, 0] * 2**24).long().tolist()
    made = []
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        for image, seed in zip(images, seeds, strict=True):
            torch.manual_seed(seed)
            made.append(augment(image))
    return torch.stack(made)


# Of brightness, at quality 50 (ITU-T T.81, table K.1).
_QUANTISATION = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def _as_jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Returns a batch after what JPEG of `quality` (B,) loses: blocks of 8 × 8 pixels in rounded cosine coefficients."""
    height, width = images.shape[2:]
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)  # libjpeg's
    steps = (_QUANTISATION.to(images.device) * scale[:, None, None]).round().clamp(1, 255)[:, None, None, :, None]
    place = torch.arange(8, device=images.device)
    cosines = torch.cos(math.pi / 16 * place[:, None] * (2 * place + 1)) / 2  # (frequency, pixel), orthonormal
    cosines[0] = 8**-0.5
    padded = F.pad(images - 128, (0, -width % 8, 0, -height % 8), mode="replicate")
    blocks = padded.reshape(*images.shape[:2], padded.shape[2] // 8, 8, -1, 8)  # (B, C, rows, 8, columns, 8)
    coefficients = torch.einsum("ky,bcryqx,lx->bcrkql", cosines, blocks, cosines)
    rounded = (coefficients / steps).round() * steps  # steps: (B, 1, 1, 8, 1, 8)
    blocks = torch.einsum("ky,bcrkql,lx->bcryqx", cosines, rounded, cosines)
    return (blocks.flatten(4).flatten(2, 3)[:, :, :height, :width] + 128).clamp(0, 255)


def _erase(images: Tensor, draws: Tensor, erase: float, area: Sequence[float]) -> Tensor:
    """Returns the batch with one rectangle of each chosen image painted over."""
    height, width = images.shape[2:]
    share = area[0] + draws[:, 6] * (area[1] - area[0])
    aspect = torch.exp((draws[:, 7] * 2 - 1) * math.log(1 / 0.3))  # 0.3 to 1/0.3 (Zhong et al., Random Erasing, AAAI 2020)
    tall, wide = (share * aspect).sqrt().clamp(max=1.0), (share / aspect).sqrt().clamp(max=1.0)
    top, left = draws[:, 8] * (1 - tall), draws[:, 9] * (1 - wide)
    rows = (torch.arange(height, device=images.device) + 0.5)[None] / height  # (1, H)
    columns = (torch.arange(width, device=images.device) + 0.5)[None] / width
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None]) & (draws[:, 5] < erase)[:, None]  # (B, H)
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])  # (B, W)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]  # (B, 1, H, W)
    return torch.where(inside, (draws[:, 10] * 255)[:, None, None, None], images)


def check_views(names: Sequence[str], sections: Mapping[str, Mapping[str, Any]], *, with_points: bool = False) -> None:
    """Checks that a recipe describes every view that an objective asks for.

    Raises:
        RecipeError: If a view is missing, one of its arguments is unknown, or points are asked for that cannot follow it.
    """
    for section, values in sections.items():
        checked = check_arguments(make_view, f"views.{section}.", values, {"images", "keys", "stream", "mirror"})
        low, high = checked.get("scale", (1.0, 1.0))
        if not 0 < low <= high:
            raise RecipeError(
                f"views.{section}.scale is {[low, high]}. Expected the smallest and largest magnification, above 0."
            )
        for name, least, most in (("crop", 0.01, 1), ("jpeg", 1, 100), ("randaugment", 0, 30)):
            if not least <= (value := checked.get(name, most)) <= most:
                raise RecipeError(f"views.{section}.{name} is {value:g}. Expected {least} to {most}.")
        if with_points and checked.get("randaugment"):
            raise RecipeError(
                f"views.{section}.randaugment moves pictures as points do not follow, which the objective needs. Use 0."
            )
    for name in names:
        if _section(name) not in sections:
            raise RecipeError(f"views.{_section(name)} is missing; the objective asks for the view {name!r}. Add the section.")


def make_views(
    images: Tensor, keys: Tensor, names: Sequence[str], sections: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Returns the views that an objective asks for, by name.

    "weak" is a draw of the section `weak`, "weak_flipped" the mirror image of the same draw, "strong_2" a second draw of
    the section `strong`.
    """
    return {name: make_view(images, keys, **_draw(name, sections)) for name in names}


def points_in_views(
    points: Tensor, keys: Tensor, names: Sequence[str], sections: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Returns where points, (B, P, 2), lie in each of the views of `make_views`, by name."""
    return {name: move_points(points, keys, **_draw(name, sections)) for name in names}


def _draw(name: str, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the arguments that make the view `name`."""
    return {"stream": name.removesuffix("_flipped"), **sections[_section(name)], "mirror": name.endswith("_flipped")}


def _section(name: str) -> str:
    """Returns the recipe's section that describes the view `name`."""
    return name.removesuffix("_flipped").rstrip("0123456789").rstrip("_")
