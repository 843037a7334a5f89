import inspect
import json
import math
import statistics
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.errors import UserError
from patchshift.evaluation.calibration import Calibration, as_calibration
from patchshift.evaluation.policies import POLICIES
from patchshift.evaluation.probabilities import fit_probabilities
from patchshift.evaluation.thresholds import calibrate, normalise
from patchshift.plan.threshold_specs import ThresholdSpec

F1_MAX = ThresholdSpec(policy="f1_max")
NORMAL_P90 = ThresholdSpec(policy="normal_quantile", quantile=0.9)


@pytest.mark.parametrize(
    ("policy", "scores", "labels", "reason"),
    [
        (F1_MAX, [1.0, 2.0], [0, 0], "no anomalous validation image"),
        (NORMAL_P90, [1.0, 2.0], [1, 1], "no normal validation image"),
        *[(policy, [], [], "no validation image") for policy in (F1_MAX, NORMAL_P90)],
        *[
            (policy, [1.0, np.nan], [0, 1], "the score of 1 of 2 validation images is not finite")
            for policy in (F1_MAX, NORMAL_P90)
        ],
    ],
)
def test_calibration_without_the_images_it_needs_is_undefined(
    policy: ThresholdSpec, scores: list[float], labels: list[int], reason: str
) -> None:
    calibration = calibrate(policy, np.array(scores), np.array(labels, int))
    assert (calibration.threshold, calibration.undefined) == (None, reason)


def test_a_policy_with_settings_is_not_taken_by_name() -> None:
    with pytest.raises(UserError, match="'normal_quantile' has settings"):
        calibrate("normal_quantile", np.array([1.0]), np.array([0]))


def test_a_threshold_never_sees_test_images() -> None:
    assert list(inspect.signature(calibrate).parameters) == ["policy", "scores", "labels"]


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


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_makes_a_calibration_that_comes_back_whole_from_json(policy: str) -> None:
    settings = {
        "normal_quantile": {"quantile": 0.9},
        "mean_std": {"deviations": 3},
        "conformal": {"false_alarm_rate": 0.1},
        "evt": {"false_alarm_rate": 0.05, "tail_share": 0.5},
        "cost": {"miss_cost": 10, "false_alarm_cost": 1, "prevalence": 0.1},
    }
    spec = ThresholdSpec.model_validate({"policy": policy, **settings.get(policy, {})})
    scores = np.random.default_rng(0).normal(size=60).astype(np.float32)
    labels = np.arange(60) % 3 == 0
    calibration = calibrate(spec, scores, labels)
    assert calibration.threshold is not None
    assert calibration.policy == policy
    assert as_calibration(json.loads(json.dumps(asdict(calibration), allow_nan=False))) == calibration
    assert calibration != replace(calibration, scale=1.0)


def test_probabilities_are_fitted_whatever_the_policy() -> None:
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1])
    fitted = fit_probabilities(scores, labels)
    assert calibrate("f1_max", scores, labels).probabilities == fitted
    conformal = calibrate(ThresholdSpec(policy="conformal", false_alarm_rate=0.01), scores, labels)
    assert conformal.threshold is None
    assert conformal.probabilities == fitted
    without = calibrated([1.0, 2.0]).probabilities
    assert without is not None
    assert without.undefined == "no anomalous validation image"


def test_whole_numbers_are_scores_too() -> None:
    assert calibrate("max_normal", np.array([1, 5]), np.array([0, 0])).threshold == np.nextafter(5.0, 6.0)
