import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression

from mien.audit import scores
from mien.audit.belief import believe, calibrate
from mien.evaluate.ranking import average_precision


@pytest.fixture(scope="module")
def planted():
    """Truth, labels of which some are wrong, and probabilities of a model that names rare classes too often."""
    random = np.random.default_rng(0)
    truth = random.choice(4, 1500, p=[0.6, 0.25, 0.1, 0.05])
    logits = 2.5 * np.eye(4)[truth] + random.normal(size=(1500, 4)) + [0, 0.5, 1.5, 2]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = random.random(1500) < 0.1
    labels = np.where(wrong, (truth + 1 + (truth == 0)) % 4, truth)
    return truth, labels, probs


def test_simple_scores_are_those_of_cleanlab(planted):
    _, labels, probs = planted
    kinds = {"self_confidence": scores.self_confidence, "normalized_margin": scores.margin}
    for method, score in kinds.items():
        theirs = get_label_quality_scores(labels, probs, method=method)
        np.testing.assert_allclose(score(probs, labels), theirs, atol=1e-9)
    theirs = get_label_quality_scores(labels, probs, method="self_confidence", adjust_pred_probs=True)
    np.testing.assert_allclose(scores.confident_learning(probs, labels), theirs, atol=1e-6)


def test_the_combined_score_removes_a_quarter_of_what_self_confidence_leaves(planted):
    truth, labels, probs = planted
    lost = [
        1 - average_precision(-score, labels != truth)
        for score in (scores.self_confidence(probs, labels), scores.combined(probs, labels))
    ]
    assert lost[1] < 0.75 * lost[0]


def test_votes_that_all_say_the_label_change_nothing(planted):
    _, labels, probs = planted
    one = np.eye(4)[labels]
    np.testing.assert_allclose(scores.combined(probs, labels, 3 * one), scores.combined(probs, labels), atol=1e-9)


def test_belief_learns_a_bias_and_who_is_taken_for_whom(planted):
    truth, labels, probs = planted
    belief = believe(probs, np.eye(4)[labels], tied=0.01)
    np.testing.assert_allclose(belief.confusions.sum(1), 1)
    assert belief.confusions[0].argsort()[-2] == 2 and belief.confusions[1].argsort()[-2] == 2  # as the fixture errs
    assert (belief.calibrated(probs).argmax(1) == truth).mean() > (probs.argmax(1) == truth).mean() + 0.1


def test_a_posterior_is_prior_times_chances_of_the_leader_and_of_the_other_votes():
    belief = believe(np.array([[0.7, 0.2, 0.1]] * 3), np.array([[3, 1, 0], [0, 1, 0], [1, 1, 3]]), rounds=3)
    probs, votes = np.array([[0.5, 0.3, 0.2]] * 2), np.array([[4, 2, 1], [0, 0, 0]])
    logs = np.log(probs[0]) - np.log(probs[0]).mean()
    wrong, right = belief.patterns[:, 5]  # three of seven votes are for others: five tenths, rounded up
    others = np.array([right * np.prod(belief.beside[0, 1:] ** [2 / 3, 1 / 3])] + [wrong] * 2)
    others[1:] *= belief.rival ** np.array([2 / 3, 1 / 3]) * (1 - belief.rival) ** np.array([1 / 3, 2 / 3])
    raw = np.exp(np.append(logs, 1) @ belief.weights)
    asked = raw * belief.confusions[:, 0] * others
    np.testing.assert_allclose(belief.posterior(probs, votes), [asked / asked.sum(), raw / raw.sum()])


def test_classes_with_equally_many_votes_are_believed_alike():
    belief = believe(np.array([[0.7, 0.2, 0.1]] * 4), np.array([[3, 1, 0], [1, 3, 0], [0, 0, 2], [2, 2, 0]]))
    level = belief._replace(weights=np.zeros((4, 3)), confusions=np.full((3, 3), 1 / 3), beside=np.full((3, 3), 1 / 3))
    found = level.posterior(np.full((1, 3), 1 / 3), np.array([[2, 2, 1]]))[0]
    assert found[0] == pytest.approx(found[1]) and found[0] != pytest.approx(found[2])


def test_other_votes_count_where_they_go_along_with_the_models_doubt_and_not_where_they_are_by_chance(planted):
    truth, labels, probs = planted
    random, rows = np.random.default_rng(1), np.arange(1500)
    stray = np.where(random.random(1500) < 0.95, labels, random.integers(0, 4, 1500))
    lost = {}
    for name, third in (("none", labels), ("stray", stray), ("own", truth)):
        votes = 2 * np.eye(4)[labels]
        votes[rows, third] += 1
        lost[name] = 1 - average_precision(-scores.combined(probs, labels, votes), labels != truth)
    assert lost["own"] < 0.1 * lost["none"] and lost["stray"] < 1.25 * lost["none"]


def test_models_that_were_trained_on_wrong_labels_are_hardly_made_worse():
    lost = []
    for seed in range(3):  # heavy tails and rare classes, whose labels are mostly wrong
        random = np.random.default_rng(seed)
        truth = random.choice(6, 1500, p=[0.5, 0.3, 0.17, 0.01, 0.01, 0.01])
        features = random.normal(size=(6, 12))[truth] + 1.6 * random.standard_t(3, size=(1500, 12))
        labels = np.where(random.random(1500) < 0.1, random.integers(0, 6, 1500), truth)
        probs, even = np.zeros((1500, 6)), np.arange(1500) % 2 == 0
        for part in (even, ~even):
            probs[part] = LogisticRegression(C=0.1).fit(features[~part], labels[~part]).predict_proba(features[part])
        found = (scores.self_confidence(probs, labels), scores.combined(probs, labels))
        lost.append([1 - average_precision(-score, labels != truth) for score in found])
    theirs, ours = np.mean(lost, 0)
    assert ours < 1.1 * theirs


def test_calibration_foretells_the_shares_of_the_votes_and_leaves_unknown_faces_unknown():
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(3), 4000)
    votes = np.array([random.multinomial(5, row) for row in shares])
    votes[2000:] = 0
    sharp = shares**2 * [1, 2, 4]
    sharp[0] = np.nan
    found = calibrate(sharp / sharp.sum(1, keepdims=True), votes, rounds=200)
    assert np.abs(found[1:] - shares[1:]).mean() < 0.01 and np.isnan(found[0]).all()


def test_unknown_labels_and_faces_without_an_answer_have_no_score(planted):
    _, labels, probs = planted
    labels, probs = labels.copy(), probs.copy()
    labels[0], probs[1] = -1, np.nan
    for score in (scores.combined, scores.self_confidence, scores.margin, scores.confident_learning):
        found = score(probs, labels)
        assert np.isnan(found[:2]).all() and ((found[2:] >= 0) & (found[2:] <= 1)).all()


def test_votes_are_as_fine_as_the_model_finds_them_probable():
    found = scores.votes_likelihood(np.array([[0.5, 0.25, 0.25]] * 3), np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(found, [0.5, np.sqrt(0.125), np.nan])


def test_the_truth_is_in_the_set_as_probably_as_its_classes_are():
    found = scores.inside_candidates(np.array([[0.7, 0.2, 0.1]] * 2), np.array([[0, 1, 1], [0, 0, 0]], bool))
    np.testing.assert_allclose(found, [0.3, np.nan])


def test_a_face_is_settled_if_one_class_leads_early_and_far():
    early, late, never = [1, 0], [0, 1], [0.5, 0.5]
    epochs = [np.array([early, early, never]), np.array([early, late, never]), np.array([early, early, never])]
    np.testing.assert_allclose(scores.settled(epochs), [1, 1 / 3, 0])
    np.testing.assert_allclose(scores.seeds_agree(epochs[:2]), [1, 0, 1])


def test_the_epoch_of_settling_is_the_first_after_the_last_in_which_another_class_or_none_led():
    faces = ["aaaa", "abaa", "aabb", "aaab", "-aaa", "aa-a", "aaa-", "----"]  # who led in each epoch; -: two alike
    of = {"a": [0.6, 0.4], "b": [0.4, 0.6], "-": [0.5, 0.5]}
    epochs = [np.array([of[face[epoch]] for face in faces]) for epoch in range(4)]
    np.testing.assert_array_equal(scores.settled_epoch(epochs), [1, 3, 3, 4, 2, 4, np.nan, np.nan])


def test_when_a_face_settled_does_not_depend_on_the_order_of_the_classes():
    epochs = [np.full((3, 3), 1 / 3), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])]
    np.testing.assert_allclose(scores.settled(epochs), [0.35] * 3)


def test_votes_for_no_class_say_that_it_is_no_face():
    np.testing.assert_allclose(scores.face(np.array([[3, 0, 1], [0, 0, 2], [0, 0, 0]]), 2), [0.75, 0, np.nan])


def test_twins_are_fine_where_they_have_the_same_label():
    labels = np.array([0, 0, 1, 2, 2, -1, 1])
    twins = np.array([7, 7, 7, 9, 9, 9, 0], np.uint64)
    np.testing.assert_allclose(scores.twins_agree(labels, twins), [0.5, 0.5, 0, 1, 1, np.nan, np.nan])
