import math

import numpy as np
import pytest
import skimage.feature
import torch

from mien.learn.hog import hog, patch_targets


def plain_hog(picture, cell, bins):
    """Returns (bins, h, w) by methods.md's steps: Sobel, arc tangent, hard votes, unit cells."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture.astype(float), 1, mode="reflect"), (3, 3))
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    gx, gy = (windows * kernel).sum((2, 3)), (windows * kernel.T).sum((2, 3))
    place = np.floor(bins * np.arctan2(gx, gy) / np.pi).astype(int) % bins
    votes = np.zeros((bins, picture.shape[0] // cell, picture.shape[1] // cell))
    for row, column in np.ndindex(picture.shape):
        votes[place[row, column], row // cell, column // cell] += np.hypot(gx[row, column], gy[row, column])
    return votes / np.maximum(np.linalg.norm(votes, axis=0), 1e-12)


@pytest.mark.parametrize(
    ("gradient", "place"),
    [((1, 0), 4), ((-1, 0), 4), ((0, 1), 0), ((0, -1), 0), ((1, 1), 2), ((-1, -1), 2), ((1, -1), 6), ((-1, 1), 6)],
)
def test_a_gradient_votes_for_the_bin_of_its_direction(gradient, place):
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    ramp = -(gradient[0] * columns + gradient[1] * rows)  # the kernel takes left minus right and upper minus lower
    histogram = hog(ramp[None, None])[0, 0, :, 1, 1]  # a cell that the border does not touch
    np.testing.assert_allclose(histogram, np.eye(9)[place], atol=1e-6)


@pytest.mark.parametrize(("cell", "bins"), [(8, 9), (4, 9), (6, 7)])
def test_histograms_equal_those_by_arc_tangents(random, cell, bins):
    pictures = random.integers(0, 256, (2, 3, 24, 48), dtype=np.uint8)
    expected = [[plain_hog(channel, cell, bins) for channel in picture] for picture in pictures]
    np.testing.assert_allclose(hog(torch.from_numpy(pictures), cell=cell, bins=bins), expected, atol=1e-5)


def test_histograms_equal_those_of_scikit_image_where_both_gradients_agree(random):
    """Scikit-image takes central differences, we take Sobel's, which also smooth across.

    On a sum of a function of the row and one of the column, smoothing across changes nothing, so Sobel's gradient is four
    times the central difference, in every direction. The transposed picture makes its angle ours. What is left are its
    1e-5 under the square root, and float32.
    """
    picture = random.uniform(0, 100, (40, 1)) + random.uniform(0, 100, (1, 56))
    theirs = skimage.feature.hog(
        picture.T, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(1, 1), block_norm="L2", feature_vector=False
    )  # (w, h, 1, 1, bins)
    ours = hog(torch.from_numpy(picture)[None, None])[0, 0]  # (bins, h, w)
    np.testing.assert_allclose(ours, theirs[:, :, 0, 0].transpose(2, 1, 0), atol=1e-4)
    assert (ours > 0.05).float().mean() > 0.7  # all directions occur


def test_cells_have_unit_length_and_flat_ones_are_zero(random):
    picture = np.full((1, 1, 32, 32), 77, np.uint8)
    picture[..., 16:] = random.integers(0, 256, (32, 16))
    lengths = hog(torch.from_numpy(picture)).norm(dim=2)[0, 0]  # (4, 4)
    np.testing.assert_allclose(lengths[:, 2:], 1, atol=1e-5)
    assert (lengths[:, 0] == 0).all()


def test_adding_to_a_channel_or_multiplying_it_changes_nothing(random):
    pictures = torch.from_numpy(random.integers(0, 256, (2, 3, 16, 16))).float()
    factor, constant = torch.tensor([2.0, 0.5, -3.0])[:, None, None], torch.tensor([5.0, -40.0, 7.0])[:, None, None]
    torch.testing.assert_close(hog(pictures * factor + constant), hog(pictures), atol=1e-5, rtol=0)


def test_pictures_taken_a_few_at_a_time_give_the_same_histograms(random, monkeypatch):
    pictures = torch.from_numpy(random.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8))
    together = hog(pictures)
    monkeypatch.setattr("mien.learn.hog._PIXELS_AT_ONCE", 2 * 3 * 16 * 16)
    torch.testing.assert_close(hog(pictures), together, atol=1e-6, rtol=0)


def test_a_patch_of_16_at_224_pixels_in_colour_has_108_targets():
    targets = patch_targets(hog(torch.randint(0, 256, (1, 3, 224, 224), generator=torch.manual_seed(0))), 2)
    assert targets.shape == (1, 196, 108)


def test_targets_are_ordered_by_channel_bin_and_cell_and_patches_row_by_row():
    histograms = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(1, 2, 3, 4, 6)
    found = patch_targets(histograms, 2)  # (1, 6, 24): 2 rows of 3 patches
    for patch, number in np.ndindex(6, 24):
        channel, direction, down, across = np.unravel_index(number, (2, 3, 2, 2))
        row, column = 2 * (patch // 3) + down, 2 * (patch % 3) + across
        assert found[0, patch, number] == histograms[0, channel, direction, row, column]


def test_bins_of_half_a_turn_share_opposite_directions():
    angles = torch.linspace(0, 2 * math.pi, 33)[:-1] + 0.01
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    ramps = angles.sin()[:, None, None] * columns + angles.cos()[:, None, None] * rows
    histograms = hog(ramps[:, None])[:, 0, :, 1, 1]  # (32, 9)
    assert (histograms.argmax(1)[:16] == histograms.argmax(1)[16:]).all()
