"""From image scores to the probability that an image is defective, as the validation images have it.

Probabilities are those of the validation images' mix: where defects are rarer, so are they.
Tested in tests/evaluation/test_probabilities.py; stated exactly in docs/thresholds.md.
"""

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.calibration import Probabilities
from patchshift.evaluation.image_metrics import Labels, Scores, as_anomalous, check_scores
from patchshift.evaluation.undefined import Undefined

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

_STEPS = 100  # of Newton's method, which takes about ten
_TOLERANCE = 1e-10  # log-odds per standard deviation of the scores


def fit_probabilities(scores: Scores, labels: Labels) -> Probabilities:
    """Fit Platt's sigmoid (Platt 1999) and an isotonic regression to validation images.

    Args:
        scores: [N] image scores, higher is more anomalous.
        labels: [N] 0 normal, 1 anomalous.

    Returns:
        Both, or the reason why there are none.

    Raises:
        ValueError: if a label is neither 0 nor 1.
    """
    anomalous = as_anomalous(labels)
    try:
        if anomalous.all() or not anomalous.any():
            missing = "no validation image" if not anomalous.size else "no {} validation image"
            raise Undefined(missing.format("normal" if anomalous.all() else "anomalous"))
        check_scores(scores)
        if np.ptp(scores) == 0 or not 0 < np.std(scores, dtype=np.float64) < np.inf:
            raise Undefined("the validation scores do not differ")
    except Undefined as error:
        return Probabilities(None, None, (), (), str(error))
    exact: Float64 = np.asarray(scores, np.float64)
    intercept, slope = _fit_platt(exact, anomalous)
    return Probabilities(intercept, slope, *_fit_isotonic(exact, anomalous), None)


def predict_probabilities(probabilities: Probabilities, scores: npt.ArrayLike) -> tuple[Float64, Float64]:
    """The probability that each image is defective.

    Args:
        probabilities: of the same detector, fitted to validation images.
        scores: [n] image scores.

    Returns:
        Platt's and the isotonic ones, [n] each; NaN where there are none, and where a score is not finite.
    """
    exact: Float64 = np.asarray(scores, np.float64)
    finite = np.isfinite(exact)
    platt, isotonic = np.full(exact.shape, np.nan), np.full(exact.shape, np.nan)
    if probabilities.intercept is not None and probabilities.slope is not None:
        platt[finite] = _sigmoid(probabilities.intercept + probabilities.slope * exact[finite])
        isotonic[finite] = np.interp(exact[finite], probabilities.scores, probabilities.isotonic)
    return platt, isotonic


def _sigmoid(logits: Float64) -> Float64:
    """1 / (1 + exp(-x)), without a word where the exponential is beyond the largest number: there it is 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def _fit_platt(scores: Float64, anomalous: Bool) -> tuple[float, float]:
    """Intercept and slope of the lowest cross-entropy to the targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2).

    Targets inside (0, 1) and scores that differ make it strictly convex with a finite minimum, separable or not.
    Newton's method with halved steps (Lin, Lin and Weng 2007), on standardised scores.
    """
    positives = int(anomalous.sum())
    negatives = len(anomalous) - positives
    targets = np.where(anomalous, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    mean, deviation = scores.mean(), scores.std()
    unit = (scores - mean) / deviation
    weights = np.array([np.log((positives + 1) / (negatives + 1)), 0.0])
    for _ in range(_STEPS):
        predicted = _sigmoid(weights[0] + weights[1] * unit)
        residual, curvature = predicted - targets, predicted * (1 - predicted)
        gradient = np.array([residual.sum(), (residual * unit).sum()])
        cross = (curvature * unit).sum()
        hessian = np.array([[curvature.sum(), cross], [cross, (curvature * unit**2).sum()]])
        step = np.linalg.solve(hessian, gradient)
        allowed = _cross_entropy(weights, unit, targets) * (1 + 1e-12)  # near the minimum it is but rounding
        while _cross_entropy(weights - step, unit, targets) > allowed:
            step /= 2
        weights = weights - step
        if np.abs(step).max() < _TOLERANCE:
            break
    slope = weights[1] / deviation
    return float(weights[0] - slope * mean), float(slope)


def _cross_entropy(weights: Float64, scores: Float64, targets: Float64) -> float:
    logits = weights[0] + weights[1] * scores
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _fit_isotonic(scores: Float64, anomalous: Bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scores and probabilities at the ends of each level of the least-squares increasing step function.

    Images of equal score count as one of their mean label.
    """
    from scipy.optimize import isotonic_regression  # a part of SciPy that nothing else here needs

    distinct, group = np.unique(scores, return_inverse=True)
    images = np.bincount(group)
    fitted = isotonic_regression(np.bincount(group, anomalous) / images, weights=images)
    blocks: npt.NDArray[np.intp] = fitted.blocks
    knots = np.unique(np.concatenate([blocks[:-1], blocks[1:] - 1]))
    return tuple(distinct[knots].tolist()), tuple(np.clip(fitted.x[knots], 0, 1).tolist())
