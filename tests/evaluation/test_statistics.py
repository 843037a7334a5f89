from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, roc_auc_score

from patchshift.evaluation.image_metrics import rank_images
from patchshift.evaluation.ranking import IMAGE_RANKINGS
from patchshift.evaluation.statistics import (
    bca_interval,
    bootstrap_image_ranking,
    draw_images,
    jackknife_image_ranking,
    percentile_interval,
    wilson_interval,
)


def test_draws_keep_the_size_of_each_stratum_and_follow_the_seed() -> None:
    anomalous = np.array([0, 1, 1, 0, 0, 1, 0], bool)
    draws = draw_images(anomalous, 50, seed=1)
    assert (draws[:, anomalous].sum(1) == 3).all()
    assert (draws[:, ~anomalous].sum(1) == 4).all()
    assert (draws == draw_images(anomalous, 50, seed=1)).all()
    assert (draws != draw_images(anomalous, 50, seed=2)).any()


def test_one_stratum_alone_can_be_drawn() -> None:
    assert (draw_images(np.ones(5, bool), 10, seed=0).sum(1) == 5).all()


def test_ranking_resamples_equal_sklearn_on_the_repeated_images() -> None:
    generator = np.random.default_rng(0)
    anomalous = np.arange(30) % 3 == 0
    scores = np.round(generator.normal(size=30) + anomalous, 1).astype(np.float32)
    resampled = bootstrap_image_ranking(anomalous, scores, resamples=20, seed=7)
    draws = draw_images(anomalous, 20, seed=7).astype(int)
    for resample, draw in enumerate(draws):
        labels, repeated = np.repeat(anomalous, draw), np.repeat(scores, draw)
        assert resampled["image_auroc"][resample] == pytest.approx(roc_auc_score(labels, repeated), abs=1e-12)
        assert resampled["image_ap"][resample] == pytest.approx(average_precision_score(labels, repeated), abs=1e-12)


def test_percentile_interval_leaves_out_undefined_resamples() -> None:
    values = np.append(np.linspace(0, 1, 101), np.nan)
    assert percentile_interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert np.isnan(percentile_interval(np.array([np.nan]), 0.9)).all()


def test_auroc_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # scores N(1, 1) against N(0, 1): true AUROC is Phi(1 / sqrt 2)
    generator = np.random.default_rng(5)
    anomalous = np.arange(80) % 2 == 0
    covered = 0
    for seed in range(200):
        scores = generator.normal(size=80) + anomalous
        low, high = percentile_interval(
            bootstrap_image_ranking(anomalous, scores, resamples=200, seed=seed)["image_auroc"], 0.9
        )
        covered += low <= 0.7602 <= high
    assert 0.82 <= covered / 200 <= 0.97


def scipy_bca(
    samples: tuple[npt.NDArray[np.float64], ...],
    statistic: Callable[..., float],
    resamples: npt.NDArray[np.float64],
    confidence: float,
) -> tuple[float, float]:
    """SciPy's BCa interval, of resamples that it is given."""
    known = SimpleNamespace(bootstrap_distribution=resamples)
    interval = scipy.stats.bootstrap(
        samples, statistic, n_resamples=0, bootstrap_result=known, method="BCa", vectorized=False,
        confidence_level=confidence,
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def test_bca_interval_equals_scipy_for_a_mean() -> None:
    generator = np.random.default_rng(0)
    sample = generator.exponential(size=25)
    resamples = np.array([generator.choice(sample, 25).mean() for _ in range(500)])
    left_out = (sample.sum() - sample) / 24
    for confidence in (0.8, 0.95):
        found = bca_interval(sample.mean(), resamples, [left_out], confidence)
        assert found == pytest.approx(scipy_bca((sample,), np.mean, resamples, confidence), abs=1e-12)
        assert found != pytest.approx(percentile_interval(resamples, confidence), abs=1e-3)


@pytest.mark.parametrize("name", IMAGE_RANKINGS)
def test_bca_interval_of_ranked_images_equals_scipy(name: str) -> None:
    generator = np.random.default_rng(3)
    anomalous = np.arange(50) % 3 == 0
    scores = np.round(generator.normal(size=50) + 1.2 * anomalous, 1)
    resamples = bootstrap_image_ranking(anomalous, scores, resamples=300, seed=7)[name]
    value, left_out = rank_images(anomalous, scores)[name], jackknife_image_ranking(anomalous, scores)[name]

    def statistic(normal: npt.NDArray[np.float64], defective: npt.NDArray[np.float64]) -> float:
        labels = np.repeat([0, 1], [len(normal), len(defective)])
        return rank_images(labels, np.concatenate([normal, defective]))[name]

    expected = scipy_bca((scores[~anomalous], scores[anomalous]), statistic, resamples, 0.9)
    assert bca_interval(value, resamples, left_out, 0.9) == pytest.approx(expected, abs=1e-12)


def test_jackknife_values_are_those_of_the_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    anomalous = np.arange(11) % 3 == 0
    scores = generator.integers(0, 5, 11).astype(np.float32)
    whole = jackknife_image_ranking(anomalous, scores)
    monkeypatch.setattr("patchshift.evaluation.statistics._WEIGHTS", 40)  # three images at a time
    assert str(jackknife_image_ranking(anomalous, scores)) == str(whole)
    for name, strata in whole.items():
        for chosen, values in zip((~anomalous, anomalous), strata, strict=True):
            for image, value in zip(np.flatnonzero(chosen), values, strict=True):
                expected = rank_images(np.delete(anomalous, image), np.delete(scores, image))[name]
                assert value == pytest.approx(expected, abs=1e-12), name


@pytest.mark.filterwarnings("error")
def test_bca_interval_falls_back_to_percentiles_where_it_does_not_exist() -> None:
    resamples = np.linspace(0.4, 0.6, 101)
    level = [np.array([0.5, 0.5, 0.5])]
    assert bca_interval(0.5, resamples, level, 0.9) == pytest.approx(percentile_interval(resamples, 0.9))
    # undefined resamples are left out
    assert bca_interval(0.5, np.append(resamples, np.nan), level, 0.9) == bca_interval(0.5, resamples, level, 0.9)
    # a value beyond all resamples, which the interval is extended to
    assert bca_interval(0.9, resamples, level, 0.9) == pytest.approx((0.41, 0.9))
    assert bca_interval(0.1, resamples, level, 0.9) == pytest.approx((0.1, 0.59))
    # a jackknife value that is undefined, and a stratum of one image, which has no jackknife
    undefined = [np.array([0.5, np.nan, 0.6])]
    assert bca_interval(0.52, resamples, undefined, 0.9) == pytest.approx(percentile_interval(resamples, 0.9))
    alone = [*level, np.array([np.nan])]
    assert bca_interval(0.52, resamples, alone, 0.9) == bca_interval(0.52, resamples, level, 0.9)
    # one outlier so strong that a (z0 + z) passes 1
    outlier = [np.append(np.full(400, 0.5), 0.6)]
    low, high = percentile_interval(resamples, 0.99999)
    assert bca_interval(0.4021, resamples, outlier, 0.99999) == pytest.approx((low, high))
    assert bca_interval(0.4021, resamples, outlier, 0.9)[1] < 0.5


def test_bca_interval_of_a_saturated_metric_is_a_point() -> None:
    anomalous, scores = np.repeat([False, True], 5), np.arange(10.0)
    resamples = bootstrap_image_ranking(anomalous, scores, resamples=50, seed=0)
    left_out = jackknife_image_ranking(anomalous, scores)
    for name, value in {"image_auroc": 1.0, "image_ap": 1.0, "image_f1_oracle": 1.0, "fpr_at_95_tpr": 0.0}.items():
        assert bca_interval(value, resamples[name], left_out[name], 0.95) == (value, value), name
    assert np.isnan(bca_interval(0.5, np.full(3, np.nan), [np.ones(3)], 0.95)).all()


def test_bca_auroc_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # scores N(2, 1) against N(0, 1): true AUROC is Phi(sqrt 2); 15 anomalous images make the estimate skew
    generator = np.random.default_rng(5)
    anomalous = np.arange(45) % 3 == 0
    truth = scipy.stats.norm.cdf(np.sqrt(2))
    above = below = 0
    for seed in range(300):
        scores = generator.normal(size=45) + 2 * anomalous
        value, left_out = rank_images(anomalous, scores)["image_auroc"], jackknife_image_ranking(anomalous, scores)
        resamples = bootstrap_image_ranking(anomalous, scores, resamples=200, seed=seed)
        low, high = bca_interval(value, resamples["image_auroc"], left_out["image_auroc"], 0.9)
        below, above = below + (truth < low), above + (truth > high)
    assert 0.84 <= 1 - (below + above) / 300 <= 0.96
    assert max(below, above) / 300 <= 0.12  # neither side misses alone


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe 1998, table I, method 3
    assert wilson_interval(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, 0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29, 0.95) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_interval_holds_the_proportion_up_to_the_ends() -> None:
    for count in range(11):
        low, high = wilson_interval(count, 10, 0.95)
        assert 0 <= low <= count / 10 <= high <= 1
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_interval(3, 2, 0.95)
