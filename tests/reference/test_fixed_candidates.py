import numpy as np
import pytest

from mien.learn.objectives.partial.fixed_candidates import FixedCandidates


def test_the_loss_is_the_mean_negative_log_probability_over_the_candidates(told, random):
    logits, sets = random.normal(0, 3, (4, 5)), [{0}, {1, 4}, {0, 2, 3}, {0, 1, 2, 3, 4}]
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -np.mean([np.mean([log_probs[row, k] for k in members]) for row, members in enumerate(sets)])
    candidates = [[k in members for k in range(5)] for members in sets]
    assert float(told(FixedCandidates(), candidates).loss(logits).total) == pytest.approx(expected, rel=1e-6)
