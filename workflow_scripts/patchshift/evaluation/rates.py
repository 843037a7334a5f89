"""Intervals of what is made of rates: differences, means and ratios of them, and decision metrics ("MOVER").

No interval is a single point, also where no image or every one is called defective: a bootstrap of equal decisions is.
Tested in tests/evaluation/test_rates.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import Confusion, Count, Ratio
from patchshift.evaluation.statistics import wilson_interval
from patchshift.evaluation.undefined import Interval

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_DOUBLINGS = 40
"""Of the distance in which an end of a ratio is sought; beyond, it has no bound."""
_CLOSE = 1e-14
"""How near an end of a ratio is found."""


@dataclass(frozen=True)
class Estimates:
    """Numbers with their intervals, and how they go together.

    Attributes:
        values: [K].
        low: [K] lower ends.
        high: [K] upper ends.
        correlation: [K, K], 1 on the diagonal.
    """

    values: Float64
    low: Float64
    high: Float64
    correlation: Float64

    def combine(self, weights: Sequence[float] | Float64, constant: float = 0.0) -> tuple[float, float, float]:
        """A weighted sum with its interval: (value, low, high).

        An end lies as far from the value as the root of v' C v: v_i is what the sum loses (for the upper end: gains)
        where the i-th number is at that end of its interval which makes the sum smaller (larger), with the sign of its
        weight, and C are the correlations (Zou, Huang and Zhang 2009, Computational Statistics & Data Analysis 53,
        1080-1085; with correlations Zou 2007, Psychological Methods 12, 399-413). For the difference of two rates with
        Wilson's intervals this is Newcombe's hybrid score interval, of paired ones his method 10.

        Args:
            weights: [K].
            constant: what is added.
        """
        weighed = np.asarray(weights, np.float64)
        value = float(weighed @ self.values) + constant
        to_low, to_high = weighed * (self.values - self.low), weighed * (self.high - self.values)
        below, above = np.where(weighed > 0, to_low, to_high), np.where(weighed > 0, to_high, to_low)
        return (value, value - self._length(below), value + self._length(above))

    def divide(
        self,
        numerator: Sequence[float] | Float64,
        denominator: Sequence[float] | Float64,
        *,
        constants: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[float, Interval | None]:
        """The ratio of two weighted sums with its interval.

        The interval holds every ratio r for which the interval of numerator - r * denominator holds 0 (Fieller 1954;
        with such intervals Donner and Zou 2012, Statistical Methods in Medical Research 21, 347-359).

        Args:
            numerator: [K] weights.
            denominator: [K] weights; the sum is positive.
            constants: what is added to each.

        Returns:
            The ratio, and (low, high), or None where the interval of the denominator reaches 0: the ratio then has no
            bounds.
        """
        above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
        under, least, _ = self.combine(below, constants[1])
        ratio = self.combine(above, constants[0])[0] / under
        if not least > 0:
            return (ratio, None)

        def end(side: int) -> Callable[[float], float]:
            return lambda r: self.combine(above - r * below, constants[0] - r * constants[1])[side]

        return (ratio, (_find_root(end(1), ratio, -1), _find_root(end(2), ratio, 1)))

    def take(self, chosen: Sequence[int]) -> "Estimates":
        """Some of the numbers, by their places."""
        picked = list(chosen)
        correlation = self.correlation[np.ix_(picked, picked)]
        return Estimates(self.values[picked], self.low[picked], self.high[picked], correlation)

    def _length(self, reached: Float64) -> float:
        """Corrected correlations need not fit together: what would be below 0 is 0."""
        return float(np.sqrt(max(0.0, float(reached @ self.correlation @ reached))))


def join_estimates(parts: Sequence[Estimates]) -> Estimates:
    """Estimates of images that have nothing to do with each other, one after the other."""
    from scipy.linalg import block_diag  # slow to import

    values, low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "low", "high"))
    return Estimates(values, low, high, block_diag(*(part.correlation for part in parts)))


def estimate_rates(
    counts: Sequence[tuple[int, int]], confidence: float, correlation: Float64 | None = None
) -> Estimates:
    """Rates with Wilson's intervals.

    Args:
        counts: (successes, trials) of each, at least one trial.
        confidence: coverage in (0, 1).
        correlation: [K, K]; default: none go together.
    """
    ends = np.array([wilson_interval(count, total, confidence) for count, total in counts], np.float64)
    values = np.array([count / total for count, total in counts])
    return Estimates(values, ends[:, 0], ends[:, 1], np.eye(len(counts)) if correlation is None else correlation)


def compare_within(
    strata: Sequence[tuple[tuple[int, int], tuple[int, int]]], confidence: float
) -> tuple[float, float, float]:
    """How much higher one rate is than another within strata: (difference, low, high).

    Strata's differences are averaged with Mantel and Haenszel's weights n m / (n + m) (Greenland and Robins 1985,
    Biometrics 41, 55-68), with the interval of `Estimates.combine` from Wilson's (a stratified hybrid score interval,
    as Yan and Su 2010, Statistics in Biopharmaceutical Research 2, 329-335).

    Args:
        strata: of each (successes, trials) of the one and of the other, at least one trial each.
        confidence: coverage in (0, 1).
    """
    weights = np.array([first[1] * second[1] / (first[1] + second[1]) for first, second in strata])
    rates = estimate_rates([side for stratum in strata for side in stratum], confidence)
    return rates.combine(np.repeat(weights / weights.sum(), 2) * np.tile([1.0, -1.0], len(strata)))


def pair_correlation(first: Bool, second: Bool) -> float:
    """How two decisions on the same images go together, as Newcombe's method 10 has it.

    Newcombe 1998 (Statistics in Medicine 17, 2635-2650): phi of the fourfold table a, b, c, d of n images, of whose
    numerator a d - b c, where it is positive, n / 2 is taken, but not beyond 0; 0 where a decision never varies.

    Args:
        first: [n] bool.
        second: [n] bool.
    """
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    one, other = int((first & ~second).sum()), int((~first & second).sum())
    margins = float(both + one) * (other + neither) * (both + other) * (one + neither)
    excess = float(both * neither - one * other)
    if excess > 0:
        excess = max(0.0, excess - len(first) / 2)
    return float(excess / np.sqrt(margins)) if margins else 0.0


def correlate_pairs(decisions: Sequence[Bool]) -> Float64:
    """[K, K] `pair_correlation` of K decisions on the same n images, [n] bool each."""
    correlation = np.eye(len(decisions))
    for row, first in enumerate(decisions):
        for column, second in enumerate(decisions[:row]):
            correlation[row, column] = correlation[column, row] = pair_correlation(first, second)
    return correlation


def decision_interval(metric: Ratio, confusion: Confusion, confidence: float) -> Interval:
    """The interval of a ratio of sums of counts, from Wilson's of recall and false-alarm rate, which are independent.

    The numbers of defective and of good images are taken as given, as a stratified bootstrap takes them.

    Args:
        metric: as in `DECISION_METRICS`; it depends on the decisions.
        confusion: counts, not resamples of them, by which the metric is defined.
        confidence: coverage in (0, 1).

    Returns:
        (low, high) in [0, 1], around the metric and never a single point.

    Raises:
        ValueError: if numerator or denominator is no weighted sum of the counts of each class.
    """
    sides = [(int(confusion.tp), int(confusion.anomalous)), (int(confusion.fp), int(confusion.normal))]
    there = [place for place, (_, total) in enumerate(sides) if total]  # on a class without images nothing depends
    rates = estimate_rates([sides[place] for place in there], confidence)
    parts = [_split_sum(part, *(total for _, total in sides)) for part in (metric.numerator, metric.denominator)]
    numerator, denominator = ([weights[place] for place in there] for weights, _ in parts)
    value, interval = rates.divide(numerator, denominator, constants=(parts[0][1], parts[1][1]))
    low, high = interval or (0.0, 1.0)
    return (max(0.0, min(low, value)), min(1.0, max(high, value)))


def _split_sum(count: Callable[[Confusion], Count], anomalous: int, normal: int) -> tuple[tuple[int, int], int]:
    """A sum of counts as weights of recall and false-alarm rate, and a constant."""

    def at(found: int, flagged: int) -> int:
        tp, fp = found * anomalous, flagged * normal
        return int(count(Confusion(tp, fp, normal - fp, anomalous - tp)))

    constant = at(0, 0)
    weights = (at(1, 0) - constant, at(0, 1) - constant)
    if at(1, 1) != constant + sum(weights):
        raise ValueError("a decision metric must be a ratio of sums of counts: products need an interval of their own")
    return (weights, constant)


def _halve(function: Callable[[float], float], near: float, far: float, direction: int) -> float:
    """Where it crosses 0 between two numbers; by halving: SciPy has better, and takes longer to load."""
    while abs(far - near) > _CLOSE * max(1.0, abs(far)):
        middle = (near + far) / 2
        near, far = (near, middle) if function(middle) * direction <= 0 else (middle, far)
    return (near + far) / 2


def _find_root(function: Callable[[float], float], start: float, direction: int) -> float:
    """Where a function first crosses 0 from `start` on; infinite where it does not."""
    if function(start) * direction <= 0:  # 0, but for rounding
        return start
    step = max(1e-3, abs(start) / 4)
    near = start
    for _ in range(_DOUBLINGS):
        far = near + direction * step
        if function(far) * direction <= 0:
            return _halve(function, near, far, direction)
        near, step = far, 2 * step
    return direction * np.inf
