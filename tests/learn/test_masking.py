import pytest
import torch

from mien.learn.masking import block_mask, patch_pixels, random_mask
from mien.learn.randomness import keys

KEYS = keys(0, 0, torch.arange(300))
KINDS = pytest.mark.parametrize("draw", [block_mask, random_mask])


@KINDS
@pytest.mark.parametrize(("grid", "share", "count"), [(6, 0.4, 14), (14, 0.4, 78), (14, 0.75, 147), (3, 0.1, 1), (6, 0.95, 34)])
def test_every_row_hides_exactly_the_share_asked_for(draw, grid, share, count):
    mask = draw(KEYS, grid, share)
    assert mask.shape == (300, grid * grid) and mask.dtype == torch.bool
    assert mask.sum(1).unique().tolist() == [count]


@KINDS
def test_every_patch_can_be_hidden_and_none_always_is(draw):
    often = draw(KEYS, 6, 0.4).float().mean(0)  # (36,)
    assert often.min() > 0.1 and often.max() < 0.8
    corners = often[[0, 5, 30, 35]]
    assert corners.max() - corners.min() < 0.15  # first and last row and column alike


@KINDS
def test_a_key_hides_the_same_patches_in_whatever_batch(draw):
    whole = draw(KEYS, 6, 0.4)
    assert torch.equal(draw(KEYS[[9, 2]], 6, 0.4), whole[[9, 2]])
    assert len(whole.unique(dim=0)) > 200


def test_blocks_hang_together_more_than_single_patches():
    def touching(mask):
        square = mask.reshape(-1, 14, 14)
        return float((square[:, 1:] & square[:, :-1]).sum() + (square[:, :, 1:] & square[:, :, :-1]).sum())

    assert touching(block_mask(KEYS, 14, 0.4)) > 1.5 * touching(random_mask(KEYS, 14, 0.4))


@pytest.mark.parametrize(
    ("grid", "unit", "share", "count"), [(6, 2, 0.6, 5), (12, 2, 0.6, 22), (6, 3, 0.5, 2), (6, 1, 0.6, 22)]
)
def test_squares_are_hidden_whole_and_exactly_their_share(grid, unit, share, count):
    mask = random_mask(KEYS, grid, share, unit=unit)
    squares = (
        mask.reshape(300, grid // unit, unit, grid // unit, unit).transpose(2, 3).flatten(3)
    )  # (300, rows, columns, unit²)
    assert mask.shape == (300, grid * grid) and torch.equal(squares.any(3), squares.all(3))
    assert squares.all(3).sum((1, 2)).unique().tolist() == [count]
    assert torch.equal(squares[..., 0].flatten(1), random_mask(KEYS, grid // unit, share))


def test_pixels_of_patches_are_listed_row_by_row():
    pixels = torch.randn(2, 3, 8, 12)
    found = patch_pixels(pixels, 4)
    assert found.shape == (2, 6, 48)
    for patch in range(6):
        row, column = 4 * (patch // 3), 4 * (patch % 3)
        assert torch.equal(found[:, patch], pixels[:, :, row : row + 4, column : column + 4].flatten(1))
