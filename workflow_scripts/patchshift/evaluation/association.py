"""How two quantities of the same pairs go together: rank correlation, slope, and groups by thirds.

Intervals resample pairs, so they cover which pairs were measured, not the uncertainty of each.
Tested in tests/evaluation/test_association.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from patchshift.evaluation.statistics import percentile_interval
from patchshift.evaluation.undefined import Estimate, estimate, undefined

Float64 = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating[Any]]

CORRELATION_FROM = 5  # pairs: of four, few orders are left to chance
SLOPE_FROM = 3  # pairs
CLOSE, MIDDLE, FAR = "close", "middle", "far"


def spearman(x: Values, y: Values, *, resamples: int, confidence: float, seed: int) -> Estimate:
    """Spearman's rank correlation, equal values sharing their mean rank (Spearman 1904), with its interval.

    Args:
        x: [n] one number per pair.
        y: [n] the other.
        resamples: number of bootstrap resamples of the pairs.
        confidence: coverage of the percentile interval in (0, 1).
        seed: bootstrap seed.

    Returns:
        The correlation in [-1, 1]; undefined with fewer than five pairs, or where all numbers of a side are equal.
    """
    if len(x) < CORRELATION_FROM:
        return undefined(f"fewer than {CORRELATION_FROM} pairs")
    if min(np.ptp(x), np.ptp(y)) == 0:
        return undefined("all pairs are equal")
    return _estimate(_rank_correlation, x, y, resamples, confidence, seed)


def slope_through_origin(x: Values, y: Values, *, resamples: int, confidence: float, seed: int) -> Estimate:
    """The least-squares slope b of y = b x, with its interval: what a unit of x costs where none costs nothing.

    Args:
        x: [n] one number per pair, at least 0.
        y: [n] the other.
        resamples: number of bootstrap resamples of the pairs.
        confidence: coverage of the percentile interval in (0, 1).
        seed: bootstrap seed.

    Returns:
        The slope; undefined with fewer than three pairs, or where every x is 0.
    """
    if len(x) < SLOPE_FROM:
        return undefined(f"fewer than {SLOPE_FROM} pairs")
    if not np.any(x):
        return undefined("all distances are 0")
    return _estimate(_slope, x, y, resamples, confidence, seed)


def name_thirds(values: Values) -> list[str]:
    """The third that each value lies in: `close`, `middle` or `far`.

    The cuts are the smallest values that a third, and two thirds, of all values do not exceed; a value at a cut lies
    below it. So equal values are in one group, which then holds more than a third.

    Args:
        values: [n] numbers.

    Returns:
        n names; empty ones where there are fewer than three values, whose thirds would say nothing.
    """
    if len(values) < len((CLOSE, MIDDLE, FAR)):
        return [""] * len(values)
    ordered = np.sort(values)
    first, second = ordered[-(-len(ordered) // 3) - 1], ordered[-(-2 * len(ordered) // 3) - 1]
    return [CLOSE if value <= first else MIDDLE if value <= second else FAR for value in values]


def _estimate(
    measure: Callable[[Float64, Float64], Float64], x: Values, y: Values, resamples: int, confidence: float, seed: int
) -> Estimate:
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(first), (resamples, len(first)))
    low, high = percentile_interval(measure(first[drawn], second[drawn]), confidence)
    return estimate(float(measure(first, second)), (low, high))


def _rank_correlation(x: Float64, y: Float64) -> Float64:
    """[...] of [..., n]; NaN where all numbers of a side are equal, as in some resamples."""
    first, second = (rankdata(side, axis=-1) - (side.shape[-1] + 1) / 2 for side in (x, y))
    product = (first * second).sum(axis=-1)
    lengths = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    return _divide(product, lengths)


def _slope(x: Float64, y: Float64) -> Float64:
    """[...] of [..., n]; NaN where every x is 0."""
    return _divide((x * y).sum(axis=-1), (x**2).sum(axis=-1))


def _divide(numerator: Float64, denominator: Float64) -> Float64:
    ratio: Float64 = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) > 0)
