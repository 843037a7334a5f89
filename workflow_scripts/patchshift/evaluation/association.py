"""How two quantities of the same pairs go together: rank correlation, slope, and groups by thirds.

Intervals are by formulas for independent pairs, since a bootstrap over few pairs is too short (of the slope of three,
95 % intervals cover 68 %). They cover which pairs were measured, not the uncertainty of each.
Tested in tests/evaluation/test_association.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.midranks import midranks
from patchshift.evaluation.undefined import Estimate, estimate, undefined

Float64 = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating[Any]]

CORRELATION_FROM = 6  # pairs: of fewer, every interval is next to no information
SLOPE_FROM = 3  # pairs
CLOSE, MIDDLE, FAR = "close", "middle", "far"


def spearman(x: Values, y: Values, *, confidence: float) -> Estimate:
    """Spearman's rank correlation, equal values sharing their mean rank (Spearman 1904), with its interval.

    The interval is Fisher's, tanh(artanh(r) +- z s), with the standard error of Bonett and Wright (2000, Psychometrika
    65, 23-28), s = sqrt((1 + r^2 / 2) / (n - 3)). Of r = +-1 it would be a point, so none is made of an r beyond the
    largest that n ranks without ties can have below 1, 1 - 12 / (n^3 - n): its interval, extended to r.

    Args:
        x: [n] one number per pair.
        y: [n] the other.
        confidence: coverage of the interval in (0, 1).

    Returns:
        The correlation in [-1, 1]; undefined with fewer than six pairs, or where all numbers of a side are equal.
    """
    count = len(x)
    if count < CORRELATION_FROM:
        return undefined(f"fewer than {CORRELATION_FROM} pairs")
    if min(np.ptp(x), np.ptp(y)) == 0:
        return undefined("all pairs are equal")
    value = float(np.corrcoef(midranks(x), midranks(y))[0, 1])
    most = 1 - 12 / (count**3 - count)
    inner = np.clip(value, -most, most)
    from scipy.special import ndtri  # slow to import

    reach = ndtri((1 + confidence) / 2) * np.sqrt((1 + inner**2 / 2) / (count - 3))
    low, high = np.tanh(np.arctanh(inner) + np.array([-reach, reach]))
    return estimate(value, (min(low, value), max(high, value)))


def slope_through_origin(x: Values, y: Values, *, confidence: float) -> Estimate:
    """The least-squares slope b of y = b x, with its interval: what a unit of x costs where none costs nothing.

    The interval is that of classical regression through the origin, of independent errors of one variance: b +- t s,
    t the quantile of n - 1 degrees of freedom, s^2 = sum (y - b x)^2 / ((n - 1) sum x^2).

    Args:
        x: [n] one number per pair, at least 0.
        y: [n] the other.
        confidence: coverage of the interval in (0, 1).

    Returns:
        The slope; undefined with fewer than three pairs, or where every x is 0.
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    count = len(first)
    if count < SLOPE_FROM:
        return undefined(f"fewer than {SLOPE_FROM} pairs")
    if not first.any():
        return undefined("all distances are 0")
    squares = first @ first
    slope = float(first @ second / squares)
    error = np.sqrt(np.square(second - slope * first).sum() / ((count - 1) * squares))
    from scipy.special import stdtrit  # slow to import

    reach = stdtrit(count - 1, (1 + confidence) / 2) * error
    return estimate(slope, (slope - reach, slope + reach))


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
