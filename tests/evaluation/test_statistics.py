import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from patchshift.evaluation.image_metrics import DECISION_METRICS, Confusion
from patchshift.evaluation.statistics import (
    bootstrap_calls,
    bootstrap_image_ranking,
    draw_images,
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


def test_calls_are_resampled_within_their_stratum() -> None:
    calls = bootstrap_calls(np.array([3, 40]), np.array([60, 50]), resamples=4000, seed=0)
    assert calls.mean(axis=0) == pytest.approx([3, 40], abs=0.2)
    assert calls.std(axis=0) == pytest.approx([np.sqrt(3 * 0.95), np.sqrt(40 * 0.2)], rel=0.06)
    assert bootstrap_calls(np.array([0, 5]), np.array([0, 5]), resamples=3, seed=0).tolist() == [[0, 5]] * 3


def test_resampled_f1_equals_f1_of_redrawn_images_in_distribution() -> None:
    labels, called = np.repeat([0, 1], [60, 50]), np.repeat([0, 1, 0, 1], [57, 3, 10, 40])
    false, true = bootstrap_calls(np.array([3, 40]), np.array([60, 50]), resamples=4000, seed=0).T
    fast = DECISION_METRICS["f1"](Confusion(tp=true, fp=false, tn=60 - false, fn=50 - true))
    draws = draw_images(labels == 1, 4000, seed=1)
    tp, fp = draws[:, (labels == 1) & (called == 1)].sum(1), draws[:, (labels == 0) & (called == 1)].sum(1)
    slow = 2 * tp / (tp + fp + 50)
    assert np.quantile(fast, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]), abs=0.01)


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
