import numpy as np
import pytest

from mien.learn.objectives.partial.pop import ProgressivePurification

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


def test_loss_label_weights_and_sets_follow_the_equations_over_several_epochs(told, random):
    options = {"warmup_epochs": 2, "window": 2, "threshold": 0.1, "growth": 0.5}
    model, weights, sets, threshold = told(ProgressivePurification(**options), CANDIDATES), over(CANDIDATES), CANDIDATES, 0.1
    history, grown = [], 0
    for epoch in range(9):
        logits = random.normal([0, 0.4, 0.8, 1.2], 1.0, (5, 4))
        expected = -np.mean((weights * np.log(over(np.exp(logits)))).sum(1))
        assert float(model.loss(logits, epoch=epoch).total) == pytest.approx(expected, rel=1e-5)
        weights = over(np.exp(logits) * sets)
        np.testing.assert_allclose(model.visit(logits, epoch=epoch), weights, atol=1e-6)
        history = [*history, weights][-2:]
        if epoch >= 2 and epoch % 2 == 0:
            average, before = np.mean(history, 0), sets
            sets = sets * (average / average.max(1, keepdims=True) >= threshold)
            weights = over(average * sets)
            if (sets == before).all():
                threshold, grown = threshold * 1.5, grown + 1
        model.objective.epoch_end(model, model.progress)
        np.testing.assert_allclose(model.weights, weights, atol=1e-6)
        assert (model.objective.candidates.values.numpy() == sets).all()
        assert float(model.objective.threshold_now) == pytest.approx(threshold)
    assert grown > 0 and len(over(CANDIDATES)) < sets.sum() < CANDIDATES.sum()  # some candidates are gone, not all


def test_a_purified_candidate_never_comes_back(told):
    model = told(ProgressivePurification(warmup_epochs=0, window=1, threshold=0.1), [[1, 1, 0]])
    model.visit([[5.0, 0.0, 0.0]])
    model.objective.epoch_end(model, model.progress)
    assert model.visit([[0.0, 9.0, 0.0]], epoch=1).tolist() == [[1, 0, 0]]
