import pytest
import torch

from mien.learn.masking import block_mask, random_mask
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
