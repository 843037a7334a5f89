"""Distances between two domains with bootstrap intervals over whole images.

Vectors of one image are not independent, so images are drawn, on both sides, and the same resamples serve all
distances. Tested in tests/evaluation/test_distance_intervals.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.domain_distances import (
    Draws,
    Vectors,
    cosine_distances,
    drift_squares,
    each_once,
    frechet_distances,
    mmd_squares,
    sliced_wasserstein_squares,
)
from patchshift.evaluation.statistics import draw_images, percentile_interval
from patchshift.evaluation.undefined import Estimate, Undefined, undefined

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """How a distance is measured of resamples.

    Attributes:
        measure: two sets and draws [R, ...] -> [R] values on the scale on which biases add up.
        root: whether the distance is the root of these.
        biased: whether a sample of finite size makes them larger on average.
        of_means: whether it takes mean vectors of images, not single vectors.
    """

    measure: Callable[[Vectors, Vectors, Draws], Float64]
    root: bool
    biased: bool
    of_means: bool


DISTANCES = {
    "maximum_mean_discrepancy": Distance(mmd_squares, root=True, biased=False, of_means=False),
    "sliced_wasserstein": Distance(sliced_wasserstein_squares, root=True, biased=True, of_means=False),
    "frechet_distance": Distance(frechet_distances, root=False, biased=True, of_means=False),
    "cosine_distance": Distance(cosine_distances, root=False, biased=True, of_means=True),
    "feature_drift": Distance(drift_squares, root=True, biased=True, of_means=True),
}


def draw_both(x: Vectors, y: Vectors, resamples: int, *, seed: int) -> Draws:
    """Resamples of the units of both sets."""
    draws = draw_images(np.arange(len(x) + len(y)) >= len(x), resamples, seed=seed)
    return Draws(draws[:, : len(x)], draws[:, len(x) :])


def estimate_distance(
    distance: Distance, x: Vectors, y: Vectors, *, resamples: int, confidence: float, seed: int
) -> Estimate:
    """A distance without the bias of small samples, with its interval.

    Between samples of one distribution a plug-in distance is not 0 but, about, b / n; between samples of distant ones
    it is too large by as much. A resample draws from the sample, as the sample did from the distribution, so it is too
    large by about b / n once more. The mean excess of the resamples therefore estimates the bias (Efron and Tibshirani
    1993, Section 10.2): it is taken once off the value, and twice off each resample, whose quantiles are the interval.
    It is so on the scale of squares, where biases add up; what falls below 0 counts as 0, then roots are taken. A
    value of 0 thus means: no larger than the choice of images explains.

    Args:
        distance: one of `DISTANCES`.
        x: [n, D] or [n, P, D] float, n images.
        y: [m, D] or [m, Q, D] float, m images.
        resamples: number of resamples R.
        confidence: coverage in (0, 1).
        seed: of the resamples.

    Returns:
        `value` with `low` and `high`, and `plug_in`: the distance of the two sets as they are; or the reason why
        there is none.
    """
    if min(len(x), len(y)) < 2:
        return undefined("fewer than two images on one side")
    once, drawn = each_once(x, y), draw_both(x, y, resamples, seed=seed)
    try:
        plug_in, *rest = distance.measure(x, y, Draws(np.vstack([once.x, drawn.x]), np.vstack([once.y, drawn.y])))
    except Undefined as error:
        return undefined(str(error))
    resampled = np.array(rest)
    bias = np.nanmean(resampled) - plug_in if distance.biased else 0.0
    low, high = percentile_interval(resampled - 2 * bias, confidence)
    ends = {"value": plug_in - bias, "low": low, "high": high, "plug_in": plug_in}
    positive = {name: max(0.0, float(end)) for name, end in ends.items()}
    return {name: float(np.sqrt(end)) for name, end in positive.items()} if distance.root else positive
