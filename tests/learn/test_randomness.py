import zlib

import numpy as np
import pytest
import torch

from mien.learn.randomness import keys, mix, permutation, uniform

MASK, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15


def splitmix64(state):
    """Returns the number that splitmix64 gives in this state, after Steele et al., with whole numbers of 64 bits."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def as_int64(numbers):
    return torch.from_numpy(np.array([number & MASK for number in numbers], np.uint64).view(np.int64))


def test_splitmix64_started_at_1234567_gives_its_published_numbers():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    found = mix(as_int64([1234567 + step * GOLDEN for step in range(1, 6)]))
    assert found.tolist() == as_int64(published).tolist()


def test_numbers_equal_those_of_a_second_implementation():
    seed, epoch, positions, stream, count = 7, 3, [0, 5, 10**9], "mask", 4
    start = splitmix64((seed * 0x10001 + epoch + GOLDEN) & MASK)
    expected_keys = [splitmix64((start + (position + 1) * GOLDEN) & MASK) for position in positions]
    found_keys = keys(seed, epoch, torch.tensor(positions))
    assert found_keys.tolist() == as_int64(expected_keys).tolist()
    name = zlib.crc32(stream.encode())
    expected = [
        [(splitmix64((splitmix64((key + name) & MASK) + place * GOLDEN) & MASK) >> 40) / 2**24 for place in range(1, count + 1)]
        for key in expected_keys
    ]
    np.testing.assert_array_equal(uniform(found_keys, stream, count).numpy(), np.array(expected, np.float32))


def test_a_key_gives_the_same_numbers_in_whatever_batch():
    batch = keys(0, 0, torch.arange(20))
    whole = uniform(batch, "weak", 2, 3)
    assert whole.shape == (20, 2, 3)
    assert torch.equal(uniform(batch[[7, 3]], "weak", 2, 3), whole[[7, 3]])
    assert torch.equal(uniform(batch, "weak", 6), whole.flatten(1))


def test_numbers_are_spread_evenly_over_zero_to_one():
    numbers = uniform(keys(1, 2, torch.arange(20_000)), "mask", 5).double()
    counts = torch.histc(numbers, 100, 0, 1)
    chi_square = float(((counts - 1000).square() / 1000).sum())
    assert numbers.min() >= 0 and numbers.max() < 1
    assert 50 < chi_square < 160  # 99 degrees of freedom: 99 ± 14


@pytest.mark.parametrize("other", ["stream", "epoch", "seed", "place", "neighbour"])
def test_streams_epochs_seeds_places_and_neighbours_are_independent(other):
    positions = torch.arange(40_000)
    first = uniform(keys(4, 1, positions), "weak", 2)
    second = {
        "stream": uniform(keys(4, 1, positions), "strong", 2)[:, 0],
        "epoch": uniform(keys(4, 2, positions), "weak", 2)[:, 0],
        "seed": uniform(keys(5, 1, positions), "weak", 2)[:, 0],
        "place": first[:, 1],
        "neighbour": first[:, 0].roll(1),
    }[other]
    correlation = torch.corrcoef(torch.stack([first[:, 0], second]))[0, 1]
    assert abs(float(correlation)) < 0.025  # five standard errors
    assert (first[:, 0] != second).float().mean() > 0.99


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_the_order_of_an_epoch_is_a_permutation(count):
    assert permutation(3, 0, count).sort().values.tolist() == list(range(count))


def test_the_order_differs_by_epoch_and_seed_and_is_repeated_by_both():
    first = permutation(3, 0, 1000)
    assert torch.equal(first, permutation(3, 0, 1000))
    for other in (permutation(3, 1, 1000), permutation(4, 0, 1000), torch.arange(1000)):
        assert (first == other).float().mean() < 0.02
