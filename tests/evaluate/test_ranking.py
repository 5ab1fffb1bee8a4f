import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from mien.evaluate.ranking import auroc, average_precision, ranking

FACES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60)


@given(FACES.filter(lambda faces: 0 < sum(wanted for _, wanted in faces) < len(faces)))
def test_both_are_those_of_scikit_learn_with_ties_too(faces):
    score, wanted = (np.array(values) for values in zip(*faces, strict=True))
    assert auroc(score, wanted) == pytest.approx(roc_auc_score(wanted, score))
    assert average_precision(score, wanted) == pytest.approx(average_precision_score(wanted, score))


def test_intervals_hold_the_value_and_shrink_with_more_faces():
    random = np.random.default_rng(0)
    wanted = random.random(4000) < 0.3
    score = random.normal(size=4000) + wanted
    few, many = ranking(score[:400], wanted[:400], replicates=200), ranking(score, wanted, replicates=200)
    for name in ("auroc", "average_precision"):
        assert few[name].low < few[name].value < few[name].high
        assert many[name].high - many[name].low < 0.6 * (few[name].high - few[name].low)
    assert 0.72 < many["auroc"].value < 0.8  # of two normal distributions one deviation apart: 0.760
    assert many["auroc"].n == 4000
