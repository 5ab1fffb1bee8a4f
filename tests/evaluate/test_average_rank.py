"""Average ranks over blocks of faces, and the distance between them that counts."""

import numpy as np
import pytest

from mien.evaluate.average_rank import average_ranks, nemenyi_distance


@pytest.mark.parametrize(("num_methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_distance_has_the_quantiles_of_demsars_table_5(num_methods, q):
    assert nemenyi_distance(num_methods, 12) == pytest.approx(q * np.sqrt(num_methods * (num_methods + 1) / 72), abs=6e-4)


def test_of_three_methods_the_one_ahead_in_every_block_has_rank_one_and_equals_share_theirs():
    samples = [f"face_{place}" for place in range(60)]
    right = np.arange(60) % 3 > 0
    scores = {"equal": right[None] + 0.0, "best": np.ones((2, 60)), "same": np.stack([right, right]) + 0.0}
    found = average_ranks(scores, samples, 5)
    assert found.ranks == {"best": 1.0, "equal": 2.5, "same": 2.5} and found.num_blocks == 5
    assert next(iter(found.ranks)) == "best"


def test_faces_that_do_not_count_change_nothing_and_seeds_are_averaged_before_ranking():
    random = np.random.default_rng(0)
    samples = [f"face_{place}" for place in range(80)]
    scores = {name: random.random((2, 80)) for name in "abc"}
    known = np.arange(80) < 60
    whole = average_ranks({name: each[:, known] for name, each in scores.items()}, samples[:60], 6)
    assert average_ranks({name: np.where(known, each, np.nan) for name, each in scores.items()}, samples, 6) == whole
    assert average_ranks({name: each[:, known].mean(0)[None] for name, each in scores.items()}, samples[:60], 6) == whole


def test_methods_that_are_alike_differ_by_the_distance_in_one_case_of_twenty_at_most():
    random, beyond = np.random.default_rng(1), 0
    samples = [str(place) for place in range(300)]
    for _ in range(200):
        found = average_ranks({str(name): random.random((1, 300)) for name in range(5)}, samples)
        ranks = list(found.ranks.values())
        beyond += ranks[-1] - ranks[0] > found.distance
    assert beyond <= 20
