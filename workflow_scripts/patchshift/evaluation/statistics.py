"""Intervals: stratified bootstrap over images, and Wilson's interval for a proportion.

Resampling is stratified (normal and anomalous images are drawn separately), so every resample has both classes and
the class ratio of the data. Intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13), or
bias-corrected and accelerated ones (BCa; Efron 1987, Better Bootstrap Confidence Intervals).
Tested in tests/evaluation/test_statistics.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.ranking import IMAGE_RANKINGS, auroc, counts_by_score
from patchshift.evaluation.undefined import Interval

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating[Any]]

_WEIGHTS = 1_000_000  # of left-out images times images, weighed at once: bounds memory


def draw_images(anomalous: Bool, resamples: int, *, seed: int) -> Float64:
    """How often each image is drawn in each stratified bootstrap resample.

    Args:
        anomalous: [N] the stratum of each image.
        resamples: number of resamples R.
        seed: the same seed draws the same resamples.

    Returns:
        [R, N] counts; over each stratum they sum to its size.
    """
    generator = np.random.default_rng(seed)
    draws = np.zeros((resamples, len(anomalous)))
    for stratum in (np.flatnonzero(~anomalous), np.flatnonzero(anomalous)):
        if stratum.size:
            draws[:, stratum] = generator.multinomial(stratum.size, np.full(stratum.size, 1 / stratum.size), resamples)
    return draws


def percentile_interval(values: Float64, confidence: float) -> Interval:
    """The central interval of bootstrap values.

    Args:
        values: [R] one value per resample; NaN where a resample leaves the metric undefined, which is left out.
        confidence: coverage in (0, 1).

    Returns:
        (low, high); (NaN, NaN) if no resample has a value.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return (np.nan, np.nan)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return (float(low), float(high))


def bca_interval(value: float, resamples: Float64, left_out: Sequence[Float64], confidence: float) -> Interval:
    """The bias-corrected and accelerated interval of bootstrap values.

    The ends are the resamples' quantiles at Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z the normal quantiles of a central
    interval. z0 is the normal quantile of the share of resamples below the value, those equal to it counting half. The
    acceleration is a = sum_s sum_i u_si^3 / (6 (sum_s sum_i u_si^2)^(3/2)), u_si = (n_s - 1) (m_s - v_si) / n_s, with
    v_si the value without image i of stratum s, m_s the mean of these and n_s their number: the one of Efron 1987
    (eq. 6.6, by the jackknife) where there is one stratum, and what scipy takes of several samples.

    The percentile interval stands in where the correction does not exist: no resample, or every one, lies below the
    value (unless all are equal), a jackknife value is undefined, or a (z0 + z) reaches 1. Where all jackknife values
    are equal, and where a stratum has one image, nothing is accelerated. An interval that would not hold the value is
    extended to it.

    Args:
        value: of all images.
        resamples: [R] one value per resample; NaN where a resample leaves the metric undefined, which is left out.
        left_out: for each stratum its [n] values, each without one of its images.
        confidence: coverage in (0, 1).

    Returns:
        (low, high), low <= value <= high; (NaN, NaN) if no resample has a value.
    """
    from scipy.special import ndtr, ndtri  # slow to import

    defined = resamples[~np.isnan(resamples)]
    if not defined.size:
        return (np.nan, np.nan)
    low, high = percentile_interval(defined, confidence)
    bias = ndtri(((defined < value).mean() + (defined <= value).mean()) / 2)
    if np.isfinite(bias):
        shifted = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
        stretch = 1 - _acceleration(left_out) * shifted
        if (stretch > 0).all():  # not so where the acceleration is NaN
            low, high = np.quantile(defined, ndtr(bias + shifted / stretch))
    return (min(float(low), value), max(float(high), value))


def _acceleration(left_out: Sequence[Float64]) -> float:
    """Of the BCa interval; NaN if a jackknife value is."""
    influences = [(1 - 1 / len(values)) * (values.mean() - values) for values in left_out if len(values) > 1]
    squares = sum(float((one**2).sum()) for one in influences)
    cubes = sum(float((one**3).sum()) for one in influences)
    return 0.0 if squares == 0 else cubes / (6 * squares**1.5)


def bootstrap_image_ranking(anomalous: Bool, scores: Scores, *, resamples: int, seed: int) -> dict[str, Float64]:
    """Ranking metrics of each stratified resample, exact and without a loop over resamples.

    Args:
        anomalous: [N] labels, both classes present.
        scores: [N] image scores without NaN.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        Every name of `IMAGE_RANKINGS` -> [R].
    """
    return _rank_weighted(anomalous, scores, draw_images(anomalous, resamples, seed=seed))


def bootstrap_image_auroc(anomalous: Bool, scores: Scores, *, resamples: int, seed: int) -> Float64:
    """[R] the image AUROC alone of the resamples of `bootstrap_image_ranking`: half the work."""
    draws = draw_images(anomalous, resamples, seed=seed)
    return auroc(counts_by_score(scores, draws * ~anomalous), counts_by_score(scores, draws * anomalous))


def jackknife_image_ranking(anomalous: Bool, scores: Scores) -> dict[str, list[Float64]]:
    """Ranking metrics without each image in turn.

    Args:
        anomalous: [N] labels, both classes present.
        scores: [N] image scores without NaN.

    Returns:
        Every name of `IMAGE_RANKINGS` -> the values without each normal image, and those without each anomalous one;
        NaN where that leaves a class empty.
    """
    count, step = len(anomalous), max(1, _WEIGHTS // len(anomalous))
    parts = []
    for start in range(0, count, step):
        images = np.arange(start, min(start + step, count))
        weights = np.ones((len(images), count))
        weights[np.arange(len(images)), images] = 0
        parts.append(_rank_weighted(anomalous, scores, weights))
    values = {name: np.concatenate([part[name] for part in parts]) for name in IMAGE_RANKINGS}
    return {name: [one[~anomalous], one[anomalous]] for name, one in values.items()}


def _rank_weighted(anomalous: Bool, scores: Scores, weights: Float64) -> dict[str, Float64]:
    """Ranking metrics of images that count weights[r, n] times: name -> [R]."""
    negatives = counts_by_score(scores, weights * ~anomalous)
    positives = counts_by_score(scores, weights * anomalous)
    return {name: metric(negatives, positives) for name, metric in IMAGE_RANKINGS.items()}


def wilson_interval(count: int, total: int, confidence: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, eq. for the limits of p): sensible at 0 and 1 too.

    Args:
        count: successes, 0 <= count <= total.
        total: trials, at least 1.
        confidence: coverage in (0, 1).

    Returns:
        (low, high) in [0, 1], around count / total.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"a proportion needs 0 <= count <= total and total >= 1, got {count} of {total}")
    from scipy.special import ndtri  # slow to import

    z = float(ndtri((1 + confidence) / 2))
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # rounding must not push an end past the proportion it surrounds
    return (max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
