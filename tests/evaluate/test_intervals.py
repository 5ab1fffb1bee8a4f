import numpy as np
import pytest

from mien.evaluate import intervals, metrics


def index_replicates(metric, num_faces, replicates, seed=7):
    """Returns a metric of brute-force resamples: rows drawn one by one."""
    rng = np.random.default_rng(seed)
    return np.array([metric(rng.integers(0, num_faces, num_faces)) for _ in range(replicates)])


def test_interval_of_a_share_is_near_the_normal_approximation():
    values = (np.arange(2000) < 600).astype(float)
    low, high = intervals.mean_interval(values, seed=0, replicates=4000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 2000)
    assert (low, high) == (pytest.approx(0.3 - half, abs=0.002), pytest.approx(0.3 + half, abs=0.002))


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(200):
        low, high = intervals.mean_interval((rng.random(150) < 0.4).astype(float), seed=seed, replicates=300)
        hits += low <= 0.4 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_mean_of_real_numbers_has_the_spread_of_index_resampling():
    values = np.random.default_rng(4).gamma(0.7, 1.0, 900)  # a long tail, as losses have
    brute = index_replicates(lambda rows: values[rows].mean(), 900, 3000)
    ours = intervals.resampled_sums(values, seed=0, replicates=3000)[:, 0] / 900
    assert ours.mean() == pytest.approx(values.mean(), abs=0.005)
    assert ours.std() == pytest.approx(brute.std(), rel=0.06)
    np.testing.assert_allclose(intervals.percentile_interval(ours), np.percentile(brute, (2.5, 97.5)), atol=0.01)


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.mean_class_accuracy, metrics.macro_f1])
def test_resampled_confusion_counts_are_distributed_as_index_resampling(metric):
    rng = np.random.default_rng(5)
    label = rng.choice(4, 300, p=[0.6, 0.3, 0.08, 0.02])
    predicted = np.where(rng.random(300) < 0.7, label, rng.integers(-1, 4, 300))
    brute = index_replicates(lambda rows: metric(metrics.confusion(label[rows], predicted[rows], 4)), 300, 2000)
    ours = metric(intervals.resampled_counts(metrics.confusion(label, predicted, 4), seed=0, replicates=2000))
    assert ours.mean() == pytest.approx(brute.mean(), abs=0.006)
    assert ours.std() == pytest.approx(brute.std(), rel=0.1)


def test_every_resample_has_as_many_faces_and_no_new_cells():
    counts = np.array([[3, 0], [0, 9]])
    drawn = intervals.resampled_counts(counts, seed=0, replicates=50)
    assert drawn.shape == (50, 2, 2)
    assert (drawn.sum((1, 2)) == 12).all() and (drawn[:, counts == 0] == 0).all()


def test_sums_stay_within_their_groups():
    values, groups = np.array([1.0, 1.0, 5.0, 5.0]), np.array([0, 0, 2, 2])
    drawn = intervals.resampled_sums(values, groups, 3, seed=0, replicates=200)
    assert drawn.shape == (200, 3) and (drawn[:, 1] == 0).all()
    np.testing.assert_allclose(drawn[:, 0] + drawn[:, 2] / 5, 4)


def test_calibration_interval_takes_off_what_resampling_adds():
    rng = np.random.default_rng(6)
    confidence = rng.uniform(0.4, 1, 3000)
    gaps = confidence - (rng.random(3000) < confidence)  # calibrated: all error is noise, and resampling doubles it
    bins = metrics.confidence_bin(confidence)
    drawn = np.abs(intervals.resampled_sums(gaps, bins, 15, seed=0, replicates=1000)).sum(1) / 3000
    error = np.abs(np.bincount(bins, weights=gaps)).sum() / 3000
    low, high = intervals.gap_interval(gaps, bins, 15, seed=0, replicates=1000)
    assert (low + high) / 2 == pytest.approx(error, abs=0.002)
    assert drawn.mean() > error + 0.003


def test_wilson_interval_of_a_class_that_is_never_found_does_not_end_at_zero():
    low, high = intervals.wilson_interval(0, 13)
    assert low == 0 and high == pytest.approx(0.2281, abs=1e-4)  # z² / (n + z²)
    low, high = intervals.wilson_interval(40, 80)
    assert (low, high) == (pytest.approx(0.3930, abs=1e-3), pytest.approx(0.6070, abs=1e-3))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(8).random(100)
    first, again, other = (intervals.mean_interval(values, seed=seed, replicates=200) for seed in (0, 0, 1))
    assert first == again != other
