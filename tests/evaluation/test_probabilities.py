import json
import math
import warnings
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression

from patchshift.evaluation.probabilities import fit_probabilities, predict_probabilities

images = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=30).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2 and len({score for _, score in pairs}) > 1
)


def unzip(pairs: list[tuple[bool, int]]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    return np.array([label for label, _ in pairs]), np.array([score for _, score in pairs], np.float32)


def draw(count: int, gap: float, *, seed: int = 0) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Every third image is anomalous, its score higher by a gap on average."""
    labels = np.arange(count) % 3 == 0
    return labels, (np.random.default_rng(seed).normal(size=count) + gap * labels + 50).astype(np.float32)


@pytest.mark.parametrize("gap", [0.0, 1.0, 3.0, 40.0], ids=lambda gap: f"gap {gap}")
@pytest.mark.parametrize("count", [9, 60, 300])
def test_platt_equals_the_sigmoid_of_scikit_learn(count: int, gap: float) -> None:
    labels, scores = draw(count, gap)
    ours = predict_probabilities(fit_probabilities(scores, labels), scores)[0]
    theirs = _SigmoidCalibration().fit(scores.astype(np.float64), labels).predict(scores.astype(np.float64))
    assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_both_equal_the_calibrated_classifier_of_scikit_learn(method: str) -> None:
    labels, scores = draw(120, 1.5)
    column = scores[:, None].astype(np.float64)

    class Score(LinearRegression):
        _estimator_type = "classifier"
        classes_ = np.array([False, True])

        def decision_function(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return points[:, 0]

        def __sklearn_tags__(self):  # type: ignore[no-untyped-def]
            tags = super().__sklearn_tags__()
            tags.estimator_type = "classifier"
            return tags

    frozen = FrozenEstimator(Score().fit(column, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = CalibratedClassifierCV(frozen, method=method).fit(column, labels)
    ours = predict_probabilities(fit_probabilities(scores, labels), scores)[method == "isotonic"]
    assert ours == pytest.approx(reference.predict_proba(column)[:, 1], abs=1e-5)


@given(images)
def test_platt_has_the_lowest_cross_entropy_to_the_smoothed_targets(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(weights: npt.NDArray[np.float64]) -> float:
        logits = weights[0] + weights[1] * scores.astype(np.float64)
        return float((np.logaddexp(0, logits) - targets * logits).sum())

    fitted = fit_probabilities(scores, labels)
    assert fitted.intercept is not None
    assert fitted.slope is not None
    here = np.array([fitted.intercept, fitted.slope])
    assert loss(here) <= minimize(loss, here, method="Nelder-Mead").fun + 1e-9
    probabilities = predict_probabilities(fitted, scores)[0]
    assert probabilities.sum() == pytest.approx(targets.sum())  # where the gradient vanishes
    assert (probabilities * scores).sum() == pytest.approx((targets * scores).sum())


@given(images)
def test_isotonic_equals_that_of_scikit_learn_between_and_outside_the_scores_too(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    fitted = fit_probabilities(scores, labels)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores.astype(np.float64), labels)
    points = np.linspace(-3, 15, 73)
    assert predict_probabilities(fitted, points)[1] == pytest.approx(reference.predict(points), abs=1e-9)


@given(images)
def test_knots_ascend_and_no_more_are_kept_than_the_levels_need(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    fitted = fit_probabilities(scores, labels)
    assert (np.diff(fitted.scores) > 0).all()
    assert (np.diff(fitted.isotonic) >= 0).all()
    assert len(fitted.scores) == len(fitted.isotonic) <= 2 * len(set(fitted.isotonic))
    assert 0 <= min(fitted.isotonic) <= max(fitted.isotonic) <= 1


def test_separable_images_have_finite_parameters_and_no_certainty_by_platt() -> None:
    labels, scores = draw(30, 1000.0)
    fitted = fit_probabilities(scores, labels)
    platt, isotonic = predict_probabilities(fitted, scores)
    assert fitted.slope is not None
    assert 0 < fitted.slope < 1
    # Platt's targets: 11 / 12 for 10 anomalous images, 1 / 22 for 20 normal ones
    assert platt[labels] == pytest.approx(11 / 12, abs=0.01)
    assert platt[~labels] == pytest.approx(1 / 22, abs=0.01)
    assert np.array_equal(isotonic, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        ([], [], "no validation image"),
        ([1.0, 2.0], [0, 0], "no anomalous validation image"),
        ([1.0, 2.0], [1, 1], "no normal validation image"),
        ([1.0, math.nan], [0, 1], "the score of 1 of 2 images is not finite"),
        ([0.1, 0.1, 0.1], [0, 1, 0], "the validation scores do not differ"),
        ([0.0, 1e-300], [0, 1], "the validation scores do not differ"),  # the square of their deviation is 0
    ],
)
def test_without_both_classes_and_finite_scores_there_are_none(
    scores: list[float], labels: list[int], reason: str
) -> None:
    fitted = fit_probabilities(np.array(scores), np.array(labels, int))
    assert fitted.undefined == reason
    assert (fitted.intercept, fitted.slope, fitted.scores, fitted.isotonic) == (None, None, (), ())
    platt, isotonic = predict_probabilities(fitted, [0.0, 1.0])
    assert np.isnan(platt).all()
    assert np.isnan(isotonic).all()


def test_a_score_that_is_not_finite_has_no_probability() -> None:
    fitted = fit_probabilities(*draw(30, 2.0)[::-1])
    platt, isotonic = predict_probabilities(fitted, np.array([50.0, math.nan, math.inf, -math.inf], np.float32))
    for probabilities in (platt, isotonic):
        assert np.isnan(probabilities).tolist() == [False, True, True, True]


def test_equal_images_in_another_order_have_the_same_probabilities() -> None:
    labels, scores = draw(60, 1.0)
    shuffled = np.random.default_rng(1).permutation(60)
    one, other = fit_probabilities(scores, labels), fit_probabilities(scores[shuffled], labels[shuffled])
    assert (other.scores, other.isotonic) == (one.scores, one.isotonic)
    assert other.slope == pytest.approx(one.slope)
    assert fit_probabilities(scores, labels) == one


def test_a_detector_that_ranks_backwards_has_a_falling_sigmoid_but_no_falling_steps() -> None:
    labels, scores = draw(60, 2.0)
    fitted = fit_probabilities(-scores, labels)
    assert fitted.slope is not None
    assert fitted.slope < 0
    assert (np.diff(fitted.isotonic) >= 0).all()


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_unit_of_scores_changes_no_probability(unit: float) -> None:
    labels, scores = draw(60, 1.0)
    exact = scores.astype(np.float64)
    one = predict_probabilities(fit_probabilities(exact, labels), exact)
    other = predict_probabilities(fit_probabilities(unit * exact, labels), unit * exact)
    assert other[0] == pytest.approx(one[0], abs=1e-9)
    assert other[1] == pytest.approx(one[1], abs=1e-9)


def test_probabilities_are_plain_numbers() -> None:
    fitted = fit_probabilities(*draw(30, 2.0)[::-1])
    content = json.loads(json.dumps(asdict(fitted), allow_nan=False))
    assert replace(fitted, scores=tuple(content["scores"]), isotonic=tuple(content["isotonic"])) == fitted
