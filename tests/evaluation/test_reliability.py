from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.reliability import PROBABILITY_METRICS, measure_reliability, probability_metrics
from patchshift.evaluation.thresholds import calibrate
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.specs import EvaluationSpec

SPEC = EvaluationSpec(bootstrap_resamples=200)

forecasts = st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=1, max_size=40)


def unzip(pairs: list[tuple[bool, int]]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    return np.array([label for label, _ in pairs]), np.array([number for _, number in pairs]) / 100


@given(forecasts)
def test_brier_equals_that_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels, probabilities = unzip(pairs)
    expected = brier_score_loss(labels, probabilities, pos_label=True)
    assert measure_reliability(labels, probabilities, 10).brier == pytest.approx(expected)


@given(forecasts, st.sampled_from([2, 5, 10]))
def test_the_expected_error_equals_a_sum_over_bins_by_hand(pairs: list[tuple[bool, int]], bins: int) -> None:
    labels, _ = unzip(pairs)
    hundredths = np.array([number for _, number in pairs])
    error = 0.0
    for number in range(bins):
        low, high = 100 * number // bins, 100 * (number + 1) // bins  # whole: the bins are (low, high]
        inside = (hundredths > low) & (hundredths <= high) | (number == 0) & (hundredths == 0)
        if inside.any():
            error += inside.mean() * abs(labels[inside].mean() - hundredths[inside].mean() / 100)
    assert measure_reliability(labels, hundredths / 100, bins).ece == pytest.approx(error)


def test_the_bins_are_those_of_the_calibration_curve_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.uniform(size=500)
    labels = generator.uniform(size=500) < probabilities**2
    bins = [each for each in measure_reliability(labels, probabilities, 8).bins if each.count]
    observed, predicted = calibration_curve(labels, probabilities, n_bins=8)
    assert [each.defective / each.count for each in bins] == pytest.approx(observed)
    assert [each.predicted for each in bins] == pytest.approx(predicted)


def test_a_probability_at_an_edge_is_in_the_lower_bin_and_0_in_the_first() -> None:
    edges = np.arange(11) / 10
    counts = [each.count for each in measure_reliability(np.zeros(11, int), edges, 10).bins]
    assert counts == [2] + [1] * 9
    table = measure_reliability(np.array([1, 0]), np.array([0.5, 0.05]), 4).bins
    assert [(each.low, each.high, each.count, each.predicted, each.defective) for each in table] == [
        (0.0, 0.25, 1, 0.05, 0),
        (0.25, 0.5, 1, 0.5, 1),
        (0.5, 0.75, 0, None, 0),
        (0.75, 1.0, 0, None, 0),
    ]


def test_certainty_that_is_right_has_no_error_and_that_is_wrong_the_largest() -> None:
    labels = np.array([0, 0, 1])
    right, wrong = measure_reliability(labels, labels.astype(float), 10), measure_reliability(labels, 1.0 - labels, 10)
    assert (right.brier, right.ece) == (0, 0)
    assert (wrong.brier, wrong.ece) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "probabilities", "error", "reason"),
    [
        ([], [], Undefined, "no image"),
        ([0, 1], [0.5, np.nan], Undefined, "the probability of 1 of 2 images is unknown"),
        ([0, 1], [0.5, 1.1], ValueError, r"must lie in \[0, 1\]"),
        ([0], [0.5, 0.5], ValueError, "must both be"),
    ],
)
def test_what_is_no_probability_is_refused(
    labels: list[int], probabilities: list[float], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        measure_reliability(np.array(labels, int), np.array(probabilities), 10)


def draw(count: int, *, seed: int, gap: float = 2.0) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    labels = np.arange(count) % 3 == 0
    return labels, (np.random.default_rng(seed).normal(size=count) + gap * labels).astype(np.float32)


def calibration(count: int = 90) -> Calibration:
    labels, scores = draw(count, seed=0)
    return calibrate("f1_max", scores, labels)


def test_metrics_of_a_target_are_those_of_its_probabilities_within_their_intervals() -> None:
    labels, scores = draw(120, seed=1)
    fitted = calibration()
    assert fitted.probabilities is not None
    metrics = probability_metrics(labels, scores, fitted, SPEC)
    assert tuple(metrics) == PROBABILITY_METRICS == ("brier_platt", "ece_platt", "brier_isotonic", "ece_isotonic")
    for method, probabilities in zip(
        ("platt", "isotonic"), predict_probabilities(fitted.probabilities, scores), strict=True
    ):
        exact = measure_reliability(labels, probabilities, SPEC.calibration_bins)
        assert metrics[f"brier_{method}"]["value"] == exact.brier
        assert metrics[f"ece_{method}"]["value"] == exact.ece
    for metric in metrics.values():
        assert 0 <= float(metric["low"]) < float(metric["value"]) < float(metric["high"]) <= 1


def test_intervals_cover_the_value_of_many_images() -> None:
    fitted = calibration(600)
    everything = probability_metrics(*draw(60_000, seed=2), fitted, EvaluationSpec(bootstrap_resamples=100))
    covered = []
    for seed in range(100, 160):
        metrics = probability_metrics(*draw(150, seed=seed), fitted, EvaluationSpec(bootstrap_resamples=200))
        whole = everything["brier_platt"]["value"]
        covered.append(metrics["brier_platt"]["low"] <= whole <= metrics["brier_platt"]["high"])
    assert np.mean(covered) > 0.85


def test_the_same_images_give_the_same_intervals() -> None:
    labels, scores = draw(60, seed=3)
    assert probability_metrics(labels, scores, calibration(), SPEC) == probability_metrics(
        labels, scores, calibration(), SPEC
    )


def test_shifted_scores_have_worse_probabilities() -> None:
    labels, scores = draw(120, seed=4)
    here, there = (probability_metrics(labels, scores + shift, calibration(), SPEC) for shift in (0, 3))
    assert all(there[name]["value"] > here[name]["value"] for name in PROBABILITY_METRICS)


def test_images_of_one_class_have_a_brier_score() -> None:
    metrics = probability_metrics(np.zeros(5, int), np.arange(5.0), calibration(), SPEC)
    assert all("value" in metric for metric in metrics.values())


@pytest.mark.parametrize(
    ("normals_only", "scores", "reason"),
    [
        (True, [1.0, 2.0], "no anomalous validation image"),
        (False, [1.0, np.nan], "the score of 1 of 2 images is not finite"),
        (False, [], "no image"),
    ],
)
def test_without_probabilities_metrics_say_why(normals_only: bool, scores: list[float], reason: str) -> None:
    fitted = calibrate("f1_max", np.arange(5.0), np.zeros(5, int)) if normals_only else calibration()
    metrics = probability_metrics(np.array([0, 1][: len(scores)], int), np.array(scores), fitted, SPEC)
    assert metrics == {name: {"undefined": reason} for name in PROBABILITY_METRICS}


def test_a_calibration_without_probabilities_says_so() -> None:
    metrics = probability_metrics(*draw(9, seed=0), replace(calibration(), probabilities=None), SPEC)
    assert metrics == {name: {"undefined": "no probabilities were fitted"} for name in PROBABILITY_METRICS}
