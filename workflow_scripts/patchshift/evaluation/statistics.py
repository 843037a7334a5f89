"""Intervals: stratified bootstrap over images, and Wilson's interval for a proportion.

Resampling is stratified (normal and anomalous images are drawn separately), so every resample has both classes and
the class ratio of the data. Intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13).
Tested in tests/evaluation/test_statistics.py.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from patchshift.evaluation.ranking import auroc, average_precision, counts_by_score
from patchshift.evaluation.undefined import Interval

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


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


def bootstrap_image_ranking(
    anomalous: Bool, scores: npt.NDArray[np.floating[Any]], *, resamples: int, seed: int
) -> dict[str, Float64]:
    """Image AUROC and average precision of each stratified resample, exact and without a loop over resamples.

    Args:
        anomalous: [N] labels, both classes present.
        scores: [N] image scores without NaN.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        `image_auroc` and `image_ap`, [R] each.
    """
    draws = draw_images(anomalous, resamples, seed=seed)
    negatives = counts_by_score(scores, draws * ~anomalous)
    positives = counts_by_score(scores, draws * anomalous)
    return {"image_auroc": auroc(negatives, positives), "image_ap": average_precision(negatives, positives)}


def bootstrap_calls(
    called: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], *, resamples: int, seed: int
) -> npt.NDArray[np.int64]:
    """How many images of each stratum are called defective in each stratified resample.

    Drawing n images with replacement from n of which k are called gives a binomial count (n, k / n): nothing else of
    the images matters to a metric of the confusion counts.

    Args:
        called: [S] images called defective in each stratum.
        sizes: [S] images in each stratum.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        [R, S] counts.
    """
    share = np.divide(called, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    return np.random.default_rng(seed).binomial(sizes, share, (resamples, len(sizes)))


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
    z = float(ndtri((1 + confidence) / 2))
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # rounding must not push an end past the proportion it surrounds
    return (max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
