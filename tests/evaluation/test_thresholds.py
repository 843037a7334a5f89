import inspect
import json
import math
import statistics
from dataclasses import asdict, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from patchshift.errors import UserError
from patchshift.evaluation.thresholds import POLICIES, Calibration, calibrate, normalise
from patchshift.plan.specs import ThresholdSpec

validation = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=25).filter(
    lambda pairs: any(label for label, _ in pairs)
)


@given(validation)
def test_f1_max_equals_brute_force_and_prefers_the_highest_threshold(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float32)
    by_threshold = {float(t): f1_score(labels, scores >= t) for t in scores}
    best = max(by_threshold.values())
    calibration = calibrate("f1_max", scores, labels)
    assert calibration.threshold == max(t for t, f1 in by_threshold.items() if f1 == pytest.approx(best, abs=1e-12))
    assert calibration.criterion == pytest.approx(best)
    assert (calibration.normal, calibration.anomalous) == ((~labels).sum(), labels.sum())


def test_among_equal_f1_the_highest_threshold_wins() -> None:
    # threshold 4 finds 1 of 2 without a false alarm (F1 2/3); threshold 1 finds both with two (F1 2/3)
    calibration = calibrate("f1_max", np.array([4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 0, 1]))
    assert calibration.threshold == 4.0
    assert calibration.criterion == pytest.approx(2 / 3)


def test_the_threshold_is_a_validation_score_bit_for_bit() -> None:
    scores = np.random.default_rng(0).normal(size=50).astype(np.float32)
    threshold = calibrate("f1_max", scores, np.arange(50) % 2).threshold
    assert threshold is not None
    assert (scores == threshold).sum() == 1


F1_MAX = ThresholdSpec(policy="f1_max")
NORMAL_P90 = ThresholdSpec(policy="normal_quantile", quantile=0.9)


@pytest.mark.parametrize(
    ("policy", "scores", "labels", "reason"),
    [
        (F1_MAX, [1.0, 2.0], [0, 0], "no anomalous validation image"),
        (NORMAL_P90, [1.0, 2.0], [1, 1], "no normal validation image"),
        *[(policy, [], [], "no validation image") for policy in (F1_MAX, NORMAL_P90)],
        *[
            (policy, [1.0, np.nan], [0, 1], "the score of 1 of 2 images is not finite")
            for policy in (F1_MAX, NORMAL_P90)
        ],
    ],
)
def test_calibration_without_the_images_it_needs_is_undefined(
    policy: ThresholdSpec, scores: list[float], labels: list[int], reason: str
) -> None:
    calibration = calibrate(policy, np.array(scores), np.array(labels, int))
    assert (calibration.threshold, calibration.undefined) == (None, reason)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_normal_quantile_is_just_above_the_smallest_normal_score_that_a_share_does_not_exceed(
    normal: list[int], share: float
) -> None:
    scores = np.array([*normal, 1000, 2000], np.float32)
    labels = np.array([0] * len(normal) + [1, 1])
    calibration = calibrate(ThresholdSpec(policy="normal_quantile", quantile=share), scores, labels)
    passing = np.float32(min(t for t in normal if sum(other <= t for other in normal) >= share * len(normal)))
    assert calibration.threshold == np.nextafter(passing, np.float32(np.inf))
    flagged = (scores[labels == 0] >= calibration.threshold).sum()
    assert flagged <= (1 - share) * len(normal) + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "flagged"), [(5, 0), (19, 0), (20, 1), (40, 2)])
def test_no_more_normal_validation_images_than_the_share_are_flagged(dtype: type, count: int, flagged: int) -> None:
    scores = np.random.default_rng(count).normal(size=count).astype(dtype)
    spec = ThresholdSpec(policy="normal_quantile", quantile=0.95)
    threshold = calibrate(spec, scores, np.zeros(count, int)).threshold
    assert (scores >= threshold).sum() == flagged


def test_a_policy_with_settings_is_not_taken_by_name() -> None:
    with pytest.raises(UserError, match="'normal_quantile' has settings"):
        calibrate("normal_quantile", np.array([1.0]), np.array([0]))


def test_a_threshold_never_sees_test_images() -> None:
    assert list(inspect.signature(calibrate).parameters) == ["policy", "scores", "labels"]
    for policy in POLICIES.values():
        assert list(inspect.signature(policy).parameters) == ["spec", "scores", "anomalous"]


def test_every_policy_of_the_config_is_registered() -> None:
    assert set(POLICIES) == set(get_args(ThresholdSpec.model_fields["policy"].annotation))


def test_an_unknown_policy_is_named_with_those_known() -> None:
    with pytest.raises(UserError, match="'f1max' is not known \\(known: f1_max"):
        calibrate("f1max", np.array([1.0]), np.array([1]))


def test_scores_and_labels_must_match() -> None:
    with pytest.raises(ValueError, match="must both be"):
        calibrate(ThresholdSpec(policy="f1_max"), np.array([1.0]), np.array([0, 1]))


def calibrated(normal: list[float], anomalous: list[float] | None = None) -> Calibration:
    """A calibration on normal and anomalous validation scores."""
    anomalous = anomalous or []
    labels = np.array([0] * len(normal) + [1] * len(anomalous), int)
    return calibrate(NORMAL_P90, np.array([*normal, *anomalous], np.float64), labels)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20).filter(lambda scores: len(set(scores)) > 1))
def test_location_and_scale_are_mean_and_sample_deviation_of_normal_validation_scores(normal: list[int]) -> None:
    calibration = calibrated(normal, anomalous=[1000, 2000])
    assert calibration.location == pytest.approx(statistics.fmean(normal))
    assert calibration.scale == pytest.approx(statistics.stdev(normal))
    own = normalise(np.array(normal), calibration)
    assert own.mean() == pytest.approx(0, abs=1e-9)
    assert own.std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("normal", "anomalous"), [([], [1.0, 2.0]), ([1.0], [2.0]), ([0.1] * 3, [2.0]), ([1.0, math.inf, math.nan], [])]
)
def test_without_two_different_normal_scores_nothing_is_normalised(normal: list[float], anomalous: list[float]) -> None:
    calibration = calibrated(normal, anomalous)
    assert (calibration.location, calibration.scale) == (None, None)
    assert np.isnan(normalise(np.array([1.0, 2.0]), calibration)).all()


def test_scores_that_are_not_finite_have_no_part_in_location_and_scale() -> None:
    calibration = calibrated([1.0, math.nan, 3.0, math.inf])
    assert (calibration.threshold, calibration.location) == (None, 2.0)
    assert calibration.scale == pytest.approx(math.sqrt(2))


@given(
    st.lists(st.integers(0, 100), min_size=2, max_size=20).filter(lambda scores: len(set(scores)) > 1),
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True),
)
def test_normalised_scores_keep_the_order_and_make_no_ties(normal: list[int], test: list[int]) -> None:
    calibration = calibrated(normal)
    scores = np.sort(np.array(test, np.float64))
    normalised = normalise(scores, calibration)
    assert (np.diff(normalised) > 0).all()
    assert calibration.threshold is not None
    at = normalise(np.array([calibration.threshold]), calibration)[0]
    assert (normalised[scores >= calibration.threshold] >= at).all()
    assert (normalised[scores < calibration.threshold] <= at).all()  # a threshold may lie too near for its own number


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=20), st.lists(st.integers(-9999, 9999), max_size=20))
def test_other_test_scores_have_no_influence_on_a_normalised_score(test: list[int], others: list[int]) -> None:
    calibration = calibrated([3.0, 5.0, 9.0])
    alone, among = normalise(np.array(test), calibration), normalise(np.array([*test, *others]), calibration)
    assert np.array_equal(alone, among[: len(test)])


def test_a_calibration_comes_back_whole_from_json() -> None:
    calibration = calibrated([1.0, 2.0, 4.0])
    assert Calibration(**json.loads(json.dumps(asdict(calibration), allow_nan=False))) == calibration
    assert calibration != replace(calibration, scale=1.0)
