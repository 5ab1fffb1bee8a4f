import numpy as np
import pytest

from mien.learn.objectives.partial.alim import AdjustedLabelImportance

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize("form", ["onehot", "scale"])
def test_loss_label_weights_and_factor_follow_the_equations_over_several_epochs(told, random, form):
    options = {"noise_share": 0.3, "warmup_epochs": 3, "form": form}
    model, weights, factor = told(AdjustedLabelImportance(**options), CANDIDATES), over(CANDIDATES), 0.0
    for epoch in range(7):
        logits = random.normal(0, 2, (5, 4))
        probs = over(np.exp(logits))
        expected = -np.mean((weights * np.log(probs)).sum(1))
        assert float(model.loss(logits, epoch=epoch).total) == pytest.approx(expected, rel=1e-5)
        adjusted = over(probs * (CANDIDATES + factor * (1 - CANDIDATES)))
        adjusted = np.eye(4)[adjusted.argmax(1)] if form == "onehot" else adjusted
        kept = 0.95 - 0.15 * epoch / 10
        weights = kept * weights + (1 - kept) * adjusted if epoch else weights
        np.testing.assert_allclose(model.visit(logits, epoch=epoch), weights, atol=1e-6)
        with np.errstate(divide="ignore"):
            margins = (probs * CANDIDATES).max(1) / (probs * (1 - CANDIDATES)).max(1)
        factor = min(1.0, np.sort(margins)[1]) if epoch >= 2 else 0.0  # int(0.3 · 5) = 1
        model.objective.epoch_end(model, model.progress)
        assert float(model.objective.factor) == pytest.approx(factor, rel=1e-5)
    assert ((weights > 0) & (CANDIDATES == 0)).any()  # a class outside a set has been heard


def test_without_noise_no_class_outside_a_set_is_ever_heard(told):
    model = told(AdjustedLabelImportance(noise_share=0.0, warmup_epochs=0), [[1, 1, 0]])
    for epoch in range(1, 4):
        assert model.visit([[0.0, -1.0, 9.0]], epoch=epoch)[0, 2] == 0
        model.objective.epoch_end(model, model.progress)
