"""Distances between two domains with bootstrap intervals over whole images.

Vectors of one image are not independent, so images are drawn, on both sides, and the same resamples serve all
distances. Tested in tests/evaluation/test_distance_intervals.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.domain_distances import (
    Draws,
    Vectors,
    cosine_distances,
    drift_squares,
    each_once,
    frechet_distances,
    mean_vectors,
    mmd_squares,
    sliced_wasserstein_squares,
)
from patchshift.evaluation.statistics import draw_images, percentile_interval
from patchshift.evaluation.undefined import Undefined, undefined

Float64 = npt.NDArray[np.float64]

INTERVAL_FROM = 5  # images on each side
LENGTH_SHARE = 2  # a mean's square, at least, in multiples of what the choice of images adds to it


def keep_values(values: Float64, *_: object) -> Float64:
    """Nothing is taken off what has no bias."""
    return values


def subtract_excess(values: Float64, *_: object) -> Float64:
    """The resamples' mean excess taken off, as `estimate_distance` says; less than nothing is taken off as well."""
    return np.asarray(values - _count_biases(values) * (np.nanmean(values[1:]) - values[0]))


def subtract_positive_excess(values: Float64, *_: object) -> Float64:
    """The same of a distance that is convex in the two distributions: by Jensen's inequality it is only too large."""
    return np.asarray(values - _count_biases(values) * max(0.0, np.nanmean(values[1:]) - values[0]))


def correct_cosines(values: Float64, x: Vectors, y: Vectors, draws: Draws) -> Float64:
    """Cosine distances with what the choice of images adds to the square of a mean's length taken off that square.

    The product of two independent means is right on average, only their lengths are too large; so the cosine is too
    near 0, and its distance too large below 1 and too small above. Clipped to [0, 2].

    Raises:
        Undefined: if a mean is hardly longer than the choice of images alone makes it.
    """
    shares = []
    for units, drawn in ((x, draws.x), (y, draws.y)):
        means = mean_vectors(units, drawn)
        squares = np.square(means).sum(axis=1)
        single = units.mean(axis=1) if units.ndim == 3 else units
        added = single.var(axis=0, ddof=1, dtype=np.float64).sum() / len(single)
        if squares[0] < LENGTH_SHARE * added:
            raise Undefined("a mean vector is too short beside the differences between images")
        rest = squares - _count_biases(values) * added
        shares.append(np.sqrt(np.divide(rest, squares, out=np.full(len(rest), np.nan), where=rest > 0)))
    return np.asarray(np.clip(1 - (1 - values) / (shares[0] * shares[1]), 0, 2))


def _count_biases(values: Float64) -> Float64:
    """[1 + R] how often a value holds the bias of a sample: a resample holds the sample's, and its own."""
    return np.where(np.arange(len(values)) == 0, 1.0, 2.0)


@dataclass(frozen=True)
class Distance:
    """How a distance is measured of resamples.

    Attributes:
        measure: two sets and draws [R, ...] -> [R] values on the scale on which biases add up.
        correct: values [1 + R] of the sets as they are and of R resamples, the sets and the draws -> the same without
            the bias of small samples; NaN where there is none.
        root: whether the distance is the root of these.
        of_means: whether it takes mean vectors of images, not single vectors.
    """

    measure: Callable[[Vectors, Vectors, Draws], Float64]
    correct: Callable[[Float64, Vectors, Vectors, Draws], Float64]
    root: bool
    of_means: bool


DISTANCES = {
    "maximum_mean_discrepancy": Distance(mmd_squares, keep_values, root=True, of_means=False),
    "sliced_wasserstein": Distance(sliced_wasserstein_squares, subtract_positive_excess, root=True, of_means=False),
    "frechet_distance": Distance(frechet_distances, subtract_positive_excess, root=False, of_means=False),
    "cosine_distance": Distance(cosine_distances, correct_cosines, root=False, of_means=True),
    "feature_drift": Distance(drift_squares, subtract_excess, root=True, of_means=True),
}


def draw_both(x: Vectors, y: Vectors, resamples: int, *, seed: int) -> Draws:
    """Resamples of the units of both sets."""
    draws = draw_images(np.arange(len(x) + len(y)) >= len(x), resamples, seed=seed)
    return Draws(draws[:, : len(x)], draws[:, len(x) :])


def estimate_distance(
    distance: Distance, x: Vectors, y: Vectors, *, resamples: int, confidence: float, seed: int
) -> Mapping[str, Any]:
    """A distance without the bias of small samples, with its interval.

    Between samples of one distribution a plug-in distance is not 0 but, about, b / n; between samples of distant ones
    it is too large by as much. A resample draws from the sample, as the sample did from the distribution, so it is too
    large by about b / n once more. The mean excess of the resamples therefore estimates the bias (Efron and Tibshirani
    1993, Section 10.2): it is taken once off the value, and twice off each resample, whose quantiles are the interval.
    It is so on the scale of squares, where biases add up; what falls below 0 counts as 0, then roots are taken. A
    value of 0 thus means: no larger than the choice of images explains. Of a cosine the lengths of the means are
    corrected instead (`correct_cosines`).

    Args:
        distance: one of `DISTANCES`.
        x: [n, D] or [n, P, D] float, n images.
        y: [m, D] or [m, Q, D] float, m images.
        resamples: number of resamples R.
        confidence: coverage in (0, 1).
        seed: of the resamples.

    Returns:
        `value` with `low` and `high`, and `plug_in`: the distance of the two sets as they are. Without an interval,
        `undefined` is the reason in place of `low` and `high`; without a value, it is alone.
    """
    if min(len(x), len(y)) < 2:
        return undefined("fewer than two images on one side")
    once, drawn = each_once(x, y), draw_both(x, y, resamples, seed=seed)
    draws = Draws(np.vstack([once.x, drawn.x]), np.vstack([once.y, drawn.y]))
    try:
        values = distance.measure(x, y, draws)
        value, *rest = distance.correct(values, x, y, draws)
    except Undefined as error:
        return undefined(str(error))
    low, high = percentile_interval(np.array(rest), confidence)
    found = {"value": value, "plug_in": values[0]}
    missing = ""
    if min(len(x), len(y)) < INTERVAL_FROM:
        missing = f"no interval: fewer than {INTERVAL_FROM} images on one side"
    elif np.isnan([low, high]).any():
        missing = "no interval: no resample has a value"
    else:
        found |= {"low": low, "high": high}
    positive = {name: max(0.0, float(end)) for name, end in found.items()}
    estimate = {name: float(np.sqrt(end)) for name, end in positive.items()} if distance.root else positive
    return {**estimate, **undefined(missing)} if missing else estimate
