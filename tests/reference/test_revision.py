import numpy as np
import pytest
import torch

from mien.learn.heads.label_query import simplex_etf
from mien.learn.objectives.partial.revision import Revision, uniformity_loss

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]], float)
SURE, UNSURE = [[9.0, -9.0, 0.0]], [[0.1, 0.0, 0.0]]


def over(rows):
    return np.asarray(rows, float) / np.sum(rows, 1, keepdims=True)


def plain(**options):
    """Eq. 1 and eqs. 3 and 4 alone, from the first epoch on."""
    return Revision(**{"uniformity": 0.0, "warmup_epochs": 0, **options})


def confidence(logits, candidates, how):
    return 1 / (1 + np.exp(-logits)) if how == "sigmoid" else over(np.exp(logits) * candidates)


def revised(weights, scores, threshold, normalise):
    """Eqs. 3 and 4, row by row."""
    out = weights.copy()
    for row, products in enumerate(weights * scores):
        first, second = np.argsort(-products)[:2]
        lead = (products[first] - products[second]) / (products.sum() if normalise else 1)
        if lead > threshold:
            out[row] = np.arange(len(products)) == first
    return out


@pytest.mark.parametrize(("normalise", "threshold"), [(False, 0.15), (True, 0.4)], ids=["literal", "normalised"])
@pytest.mark.parametrize("how", ["sigmoid", "softmax"])
@pytest.mark.parametrize("reversible", [False, True])
def test_loss_and_label_weights_follow_the_equations_over_several_updates(told, random, how, normalise, threshold, reversible):
    objective = plain(confidence=how, normalise=normalise, threshold=threshold, reversible=reversible)
    model, weights, decided = told(objective, CANDIDATES), over(CANDIDATES), 0
    for _ in range(5):
        index, logits = random.choice(6, 4, replace=False), random.normal(0, 1.5, (4, 4))
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        expected = -np.mean((weights[index] * log_probs).sum(1))
        assert float(model.loss(logits, index).total) == pytest.approx(expected, rel=1e-5)
        first = over(CANDIDATES[index]) if reversible else weights[index]
        weights[index] = revised(first, confidence(logits, CANDIDATES[index], how), threshold, normalise)
        np.testing.assert_allclose(model.visit(logits, index), weights, atol=1e-6)
        decided += (weights[1:].max(1) == 1).sum()
    assert 0 < decided < 25  # some rows were decided and some were not


def test_the_loss_adds_the_weighted_uniformity_of_the_queries(told, random):
    queries, logits = torch.randn(4, 8, generator=torch.manual_seed(1)), random.normal(0, 1, (6, 4))
    options = {"uniformity": 0.7, "temperature": 0.5}
    whole = told(plain(**options), CANDIDATES, queries=queries).loss(logits)
    alone = told(plain(), CANDIDATES).loss(logits)
    assert float(whole.total) == pytest.approx(float(alone.total) + 0.7 * float(uniformity_loss(queries, 0.5)), rel=1e-6)
    assert float(whole.parts["labelling"]) == pytest.approx(float(alone.total))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_literal_threshold_of_one_over_the_set_never_fires(told, size):
    sets, logits = [[1.0] * size + [0.0]], [[99.0] + [-99.0] * (size - 1) + [0.0]]
    assert told(plain(normalise=False, threshold=1 / size + 1e-6), sets).visit(logits).max() == pytest.approx(1 / size)
    assert told(plain(normalise=False, threshold=1 / size - 1e-2), sets).visit(logits).max() == 1


def test_a_lead_equal_to_the_threshold_decides_nothing(told):
    logits = [[99.0, -99.0, 0.0]]  # a lead of exactly one half
    assert told(plain(normalise=False, threshold=0.5), [[1, 1, 0]]).visit(logits).max() == 0.5


def test_a_decision_stays_for_ever_unless_reversible(told):
    against = [[-9.0, 9.0, 0.0]]
    for reversible, after in ((False, [1, 0, 0]), (True, [0, 1, 0])):
        model = told(plain(reversible=reversible), [[1, 1, 0]])
        assert model.visit(SURE).tolist() == [[1, 0, 0]]
        assert model.visit(against).tolist() == [after]


def test_a_reversible_decision_is_taken_back_when_the_lead_is_gone(told):
    model = told(plain(reversible=True), [[1, 1, 0]])
    model.visit(SURE)
    assert model.visit(UNSURE).tolist() == [[0.5, 0.5, 0]]


def test_a_class_outside_the_set_never_wins(told):
    assert told(plain(), [[1, 1, 0]]).visit([[2.0, -2.0, 50.0]]).tolist() == [[1, 0, 0]]


def test_epoch_granularity_decides_at_the_end_of_the_epoch(told):
    model = told(plain(granularity="epoch"), [[1, 1, 0], [1, 0, 1]])
    before = model.weights
    assert (model.visit(SURE, [0]) == before).all()
    model.objective.epoch_end(model, model.progress)
    assert model.weights.tolist() == [[1, 0, 0], [0.5, 0, 0.5]]


def test_momentum_averages_the_confidence_over_visits_from_the_uniform_start(told, random):
    objective = plain(momentum=0.8, threshold=0.5)
    model, weights, average = told(objective, CANDIDATES), over(CANDIDATES), over(CANDIDATES)
    changes = 0
    for _ in range(12):
        logits = random.normal([4, 0, -4, 0], 0.3, (6, 4))
        average = 0.8 * average + 0.2 * confidence(logits, CANDIDATES, "sigmoid")
        after = revised(weights, average, 0.5, True)
        changes += (after != weights).any()
        weights = after
        np.testing.assert_allclose(model.visit(logits), weights, atol=1e-6)
    assert changes > 1  # decisions come late, one after the other


def test_nothing_is_revised_before_the_warm_up_ends(told):
    model = told(plain(warmup_epochs=2), [[1, 1, 0]])
    assert model.visit(SURE, epoch=1).tolist() == [[0.5, 0.5, 0]]
    assert model.visit(SURE, epoch=2).tolist() == [[1, 0, 0]]


def test_the_average_of_momentum_is_kept_during_the_warm_up(told):
    model = told(plain(warmup_epochs=2, momentum=0.9, threshold=0.9), [[1, 1, 0]])
    for _ in range(60):
        model.visit(SURE, epoch=0)
    assert model.visit(SURE, epoch=2).tolist() == [[1, 0, 0]]


def test_the_start_from_votes_is_in_proportion_to_the_votes_for_candidates(told):
    votes = [[6, 3, 1, 4], [0, 5, 5, 0], [7, 0, 3, 0]]  # the last column is no class
    model = told(plain(start="votes"), [[1, 1, 0], [0, 1, 1], [1, 1, 1]], votes=votes)
    # A candidate that nobody voted for counts as one vote, so that it can still win.
    np.testing.assert_allclose(model.weights, [[6 / 9, 3 / 9, 0], [0, 0.5, 0.5], [7 / 11, 1 / 11, 3 / 11]], atol=1e-6)


def test_confidences_that_all_vanish_change_nothing(told):
    assert told(plain(), [[1, 1, 0]]).visit([[-200.0, -300.0, 5.0]]).tolist() == [[0.5, 0.5, 0]]


# ---------------------------------------------------------------------- eq. 2


def test_uniformity_is_eq_2_without_its_diagonal(random):
    queries, temperature = random.normal(0, 2, (5, 7)), 0.3
    units = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    rows = [sum(np.exp(units[i] @ units[j] / temperature) for j in range(5) if j != i) for i in range(5)]
    assert float(uniformity_loss(torch.tensor(queries), temperature)) == pytest.approx(np.mean(np.log(rows)), rel=1e-9)


@pytest.mark.parametrize("num_classes", [7, 8])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_uniformity_is_smallest_at_the_simplex_frame(num_classes, temperature):
    generator = torch.manual_seed(2)
    frame = simplex_etf(num_classes, 16).double()
    smallest = np.log(num_classes - 1) - 1 / (temperature * (num_classes - 1))
    assert float(uniformity_loss(frame, temperature)) == pytest.approx(smallest, abs=1e-5)
    for size in (0.01, 0.1, 1.0):
        moved = frame + size * torch.randn(frame.shape, generator=generator, dtype=torch.float64)
        assert float(uniformity_loss(moved, temperature)) > smallest


def test_uniformity_at_a_small_temperature_still_has_a_gradient():
    queries = torch.randn(8, 16, generator=torch.manual_seed(4)).requires_grad_()
    uniformity_loss(queries, 0.1).backward()
    assert (queries.grad.norm(dim=1) > 1e-2).all()


def test_a_reversible_run_from_votes_is_judged_from_the_votes_again(told):
    run = told(plain(threshold=0.4, start="votes", reversible=True), [[1, 1, 0, 0]], votes=[[6, 2, 0, 0]])
    for _ in range(2):  # 0.75 against 0.25 decides; the second visit starts from the votes, not from the decision
        np.testing.assert_allclose(run.visit([[0, 0, -9, -9]]), [[1, 0, 0, 0]])
    np.testing.assert_allclose(run.visit([[-1.2, 0, -9, -9]]), [[0.75, 0.25, 0, 0]])


def test_eq_2_as_printed_is_numerically_dead_at_the_papers_temperature():
    queries = torch.randn(8, 32, generator=torch.manual_seed(0), requires_grad=True)
    loss = uniformity_loss(queries, 0.001, diagonal=True)
    loss.backward()
    assert loss.item() == pytest.approx(1000, rel=1e-6)  # 1 / τ, whatever the queries are
    assert float(queries.grad.abs().max()) < 1e-3
    spread = uniformity_loss(queries, 0.5, diagonal=True)
    units = torch.nn.functional.normalize(queries.detach(), dim=1).numpy()
    assert spread.item() == pytest.approx(np.log(np.exp(units @ units.T / 0.5).sum(1)).mean(), rel=1e-5)
