"""Whether probabilities are as often right as they say: Brier score, expected calibration error, reliability diagram.

Tested in tests/evaluation/test_reliability.py; stated exactly in docs/protocol.md.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.image_metrics import Labels, Scores, as_anomalous, check_scores
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.statistics import draw_images, percentile_interval
from patchshift.evaluation.undefined import Estimate, Undefined, estimate, undefined
from patchshift.plan.specs import EvaluationSpec

Float64 = npt.NDArray[np.float64]

METHODS = ("platt", "isotonic")
PROBABILITY_METRICS = tuple(f"{metric}_{method}" for method in METHODS for metric in ("brier", "ece"))


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose probability lies in one bin.

    Attributes:
        low: the bin begins above it (the first: at it).
        high: the bin ends at it.
        count: images.
        predicted: mean of their probabilities; None without any image.
        defective: how many of them are defective.
    """

    low: float
    high: float
    count: int
    predicted: float | None
    defective: int


@dataclass(frozen=True)
class Reliability:
    """How probabilities and labels agree.

    Attributes:
        brier: mean squared difference of probability and label (Brier 1950).
        ece: mean over images of the absolute difference, in their bin, of the share of defective images and the mean
            probability (Naeini et al. 2015, Guo et al. 2017).
        bins: all bins of equal width, ascending.
    """

    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]


def measure_reliability(labels: Labels, probabilities: Float64, bins: int) -> Reliability:
    """Brier score, expected calibration error and the table of bins.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        probabilities: [N] in [0, 1].
        bins: number M of bins; bin m holds probabilities in ((m - 1) / M, m / M], the first also 0.

    Raises:
        Undefined: if there is no image, or a probability is not a number.
        ValueError: if labels and probabilities do not match, or a probability is outside [0, 1].
    """
    anomalous = _check(labels, probabilities)
    residuals, members = anomalous - probabilities, _assign(probabilities, bins)
    table = [
        ReliabilityBin(
            low=number / bins,
            high=(number + 1) / bins,
            count=int(inside.sum()),
            predicted=float(probabilities[inside].mean()) if inside.any() else None,
            defective=int(anomalous[inside].sum()),
        )
        for number, inside in ((number, members == number) for number in range(bins))
    ]
    each = np.ones((1, len(residuals)))
    return Reliability(
        float(_brier(each, residuals)[0]), float(_expected_error(each, residuals, members)[0]), tuple(table)
    )


def probability_metrics(
    labels: Labels, scores: Scores, calibration: Calibration, spec: EvaluationSpec
) -> dict[str, Estimate]:
    """Brier score and expected calibration error of the test images of one target, with bootstrap intervals.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        scores: [N] image scores.
        calibration: with the probabilities that were fitted to validation images.
        spec: the evaluation protocol.

    Returns:
        Every name of `PROBABILITY_METRICS` -> value with interval, or the reason why it is undefined.

    Raises:
        ValueError: if labels and scores do not match.
    """
    try:
        if calibration.probabilities is None:
            raise Undefined("no probabilities were fitted")
        if calibration.probabilities.undefined is not None:
            raise Undefined(calibration.probabilities.undefined)
        check_scores(scores)
        predicted = predict_probabilities(calibration.probabilities, scores)
        anomalous = _check(labels, predicted[0])
    except Undefined as error:
        return dict.fromkeys(PROBABILITY_METRICS, undefined(str(error)))
    draws = draw_images(anomalous, spec.bootstrap_resamples, seed=spec.bootstrap_seed)
    metrics: dict[str, Estimate] = {}
    for method, probabilities in zip(METHODS, predicted, strict=True):
        exact = measure_reliability(labels, probabilities, spec.calibration_bins)
        residuals, members = anomalous - probabilities, _assign(probabilities, spec.calibration_bins)
        briers, errors = _brier(draws, residuals), _expected_error(draws, residuals, members)
        # resamples scatter about the data, and an absolute value makes an error of that: its mean is taken off
        errors = np.clip(errors - (errors.mean() - exact.ece), 0, 1)
        metrics[f"brier_{method}"] = estimate(exact.brier, percentile_interval(briers, spec.confidence))
        metrics[f"ece_{method}"] = estimate(exact.ece, percentile_interval(errors, spec.confidence))
    return metrics


def _check(labels: Labels, probabilities: Float64) -> npt.NDArray[np.bool_]:
    anomalous = as_anomalous(labels)
    if anomalous.shape != probabilities.shape:
        raise ValueError(f"labels {anomalous.shape} and probabilities {probabilities.shape} must both be [N]")
    if not anomalous.size:
        raise Undefined("no image")
    if np.isnan(probabilities).any():
        raise Undefined(f"the probability of {np.isnan(probabilities).sum()} of {len(anomalous)} images is unknown")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError("probabilities must lie in [0, 1]")
    return anomalous


def _assign(probabilities: Float64, bins: int) -> npt.NDArray[np.intp]:
    """[N] the number of each probability's bin, from 0."""
    return np.searchsorted(np.arange(1, bins) / bins, probabilities, side="left")


def _brier(draws: Float64, residuals: Float64) -> Float64:
    """[R] Brier scores, each image counted as often as it is drawn ([R, N])."""
    mean: Float64 = (draws * residuals**2).sum(axis=1) / draws.sum(axis=1)
    return mean


def _expected_error(draws: Float64, residuals: Float64, members: npt.NDArray[np.intp]) -> Float64:
    """[R] expected calibration errors: a bin's share times its difference of means is its sum of residuals over N."""
    total = np.zeros(len(draws))
    for number in np.unique(members):
        inside = members == number
        total += np.abs((draws[:, inside] * residuals[inside]).sum(axis=1))
    mean: Float64 = total / draws.sum(axis=1)
    return mean
