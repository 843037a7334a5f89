"""Threshold policies: how scores of validation images, or of their pixels, become a threshold.

A policy is one function of the spec, the validation scores and their labels, entered in `POLICIES`: it has no way to
see a test image. A score at or above the threshold is called defective, so a threshold that a score is to pass lies
above it, by one step of the scores' own dtype: no score fits between. Stated exactly in docs/thresholds.md.
Tested in tests/evaluation/test_policies.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.ranking import Counts, counts_by_score
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.threshold_specs import PolicySpec

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Scores = npt.NDArray[np.floating[Any]]

FEWEST_EXCESSES = 10
"""What `evt` needs above the start of the tail: with fewer, the shape of the tail is noise."""
_OFTEN = 0.95  # of the validation sets that `conformal` speaks of


@dataclass(frozen=True)
class Choice:
    """What a policy decides.

    Attributes:
        threshold: scores at or above it are called defective; a number of the scores' dtype.
        criterion: value of what the policy optimises, on the validation images; None if it optimises nothing.
        guarantee: what the policy promises on new images, in words; None if nothing.
    """

    threshold: float
    criterion: float | None = None
    guarantee: str | None = None


Policy = Callable[[PolicySpec, Scores, Bool], Choice]


def f1_max(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The validation score with the highest F1; among equal F1 the highest score.

    Raises:
        Undefined: if no validation image is anomalous, or the scores do not differ.
    """
    return _choose_score(spec, scores, anomalous)


def youden(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The highest recall + specificity - 1 (Youden 1950); candidates and ties as for `cost`.

    Raises:
        Undefined: as `cost`.
    """
    return _choose_score(spec, scores, anomalous)


def cost(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The lowest expected cost of an image: prevalence * miss_cost * FNR + (1 - prevalence) * false_alarm_cost * FPR.

    Candidates are the validation scores and the next number above them all, which calls nothing defective; among
    equal costs the highest.

    Raises:
        Undefined: if a class has no validation image, or the scores do not differ.
    """
    return _choose_score(spec, scores, anomalous)


def max_normal(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The next number above the highest normal score.

    Raises:
        Undefined: if no validation image is normal.
    """
    return Choice(_next_above(_normal(scores, anomalous).max()))


def normal_quantile(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The next number above the smallest normal score that at least `spec.quantile` of the normal scores do not exceed.

    So at most 1 - `spec.quantile` of the normal validation images are called defective.

    Raises:
        Undefined: if no validation image is normal.
    """
    assert spec.quantile is not None
    normal = _normal(scores, anomalous)
    last = math.ceil(len(normal) * _as_written(spec.quantile)) - 1
    return Choice(_next_above(np.partition(normal, last)[last]))


def mean_std(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """The mean of the normal scores and `spec.deviations` of their standard deviations (divisor n - 1).

    Raises:
        Undefined: if fewer than two normal scores differ.
    """
    assert spec.deviations is not None
    normal = _normal(scores, anomalous).astype(np.float64)
    if np.ptp(normal) == 0:
        raise Undefined("the scores of the normal validation images do not differ, so they have no deviation")
    return Choice(_round_up(normal.mean() + spec.deviations * normal.std(ddof=1), scores.dtype))


def conformal(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """Split conformal (Vovk et al. 2005): the next number above the ceil((n + 1)(1 - alpha))-th smallest normal score.

    Where the n normal validation images and a new one are exchangeable, the new score's rank among all n + 1 is
    uniform, or lower in case of ties, so it is called defective with probability at most alpha. That is the mean over
    validation sets; for one set the rate has the distribution Beta(n + 1 - k, k) or lies below it (Vovk 2012).

    Raises:
        Undefined: if no validation image is normal, or they are too few for the rate.
    """
    normal = np.sort(_normal(scores, anomalous))
    assert spec.false_alarm_rate is not None
    rate, percent = _as_written(spec.false_alarm_rate), _percent(spec.false_alarm_rate)
    count = len(normal)
    above = math.floor((count + 1) * rate)  # (n + 1) - ceil((n + 1)(1 - alpha))
    if not above:
        needed = math.ceil(1 / rate) - 1
        raise Undefined(
            f"a false-alarm rate of {percent} needs at least {needed} normal validation images, and there are {count}"
        )
    from scipy.special import betaincinv  # slow to import

    often = float(betaincinv(above, count + 1 - above, _OFTEN))
    return Choice(
        _next_above(normal[count - above]),
        guarantee=f"of new normal images at most {percent} are called defective, on average over validation sets: "
        f"{count} exchangeable normal validation images; for {_percent(_OFTEN)} of such sets at most {_percent(often)}",
    )


def evt(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    """Peaks over threshold: what a generalised Pareto tail of the normal scores exceeds at the asked rate (Coles 2001,
    section 4.3).

    The tail is what exceeds the smallest normal score that at least 1 - `spec.tail_share` of them do not exceed. Its
    shape and scale are those of the probability-weighted moments of the excesses (Hosking and Wallis 1987): a closed
    form that always exists and scatters less than maximum likelihood, which may diverge, below some hundred excesses.

    Raises:
        Undefined: if no validation image is normal, the excesses are too few or do not differ, or the rate is not in
            the tail.
    """
    assert spec.false_alarm_rate is not None
    assert spec.tail_share is not None
    normal = _normal(scores, anomalous).astype(np.float64)
    last = len(normal) - math.floor(len(normal) * _as_written(spec.tail_share)) - 1
    start = np.partition(normal, last)[last]
    excesses = np.sort(normal[normal > start]) - start
    count = len(excesses)
    if count < FEWEST_EXCESSES:
        raise Undefined(
            f"{count} of {len(normal)} normal validation scores are in the tail, and its fit needs {FEWEST_EXCESSES}"
        )
    beyond = _as_written(spec.false_alarm_rate) * len(normal) / count  # share of the tail
    if beyond >= 1:
        raise Undefined(
            f"a false-alarm rate of {_percent(spec.false_alarm_rate)} is not in the tail, which holds "
            f"{count} of {len(normal)} normal validation scores"
        )
    mean = excesses.mean()
    weighted = (excesses * np.arange(count - 1, -1, -1) / (count - 1)).mean()  # E[x (1 - F(x))]
    spread = mean - 2 * weighted
    if np.ptp(excesses) == 0 or spread <= 0:
        raise Undefined("the normal validation scores in the tail do not differ")
    shape, scale = 2 - mean / spread, 2 * mean * weighted / spread
    logarithm = -math.log(beyond)
    excess = scale * (math.expm1(shape * logarithm) / shape if shape else logarithm)
    return Choice(_round_up(start + excess, scores.dtype))


POLICIES: dict[str, Policy] = {
    "f1_max": f1_max,
    "youden": youden,
    "cost": cost,
    "max_normal": max_normal,
    "normal_quantile": normal_quantile,
    "mean_std": mean_std,
    "conformal": conformal,
    "evt": evt,
}
"""Name in `PolicySpec.policy` -> its function."""


def divide_rate(spec: PolicySpec, parts: int) -> PolicySpec:
    """The same policy with its false-alarm rate, if it has one, divided by a number of parts.

    The quotient is the exact fraction of the rate as it is written: a third of 0.1 is 1/30, which no float is, and
    `conformal` needs 29 normal images for it and not 30.
    """
    if spec.false_alarm_rate is None:
        return spec
    return spec.model_copy(update={"false_alarm_rate": _as_written(spec.false_alarm_rate) / parts})


def choose_step(spec: PolicySpec, found: Counts, flagged: Counts) -> tuple[int, float]:
    """How many groups of equal scores, the highest first, a policy of both classes calls defective, and its criterion.

    Args:
        spec: `f1_max`, `youden` or `cost`.
        found: [K + 1] positives in the first 0, 1, ..., K groups; at least one in all.
        flagged: [K + 1] negatives in them; for `youden` and `cost` at least one in all.
    """
    positives, negatives = found[-1], flagged[-1]
    if spec.policy == "f1_max":
        # correctly rounded ratios of integers: equal F1 are equal floats
        f1 = 2 * found / (found + flagged + positives)
        best = int(np.argmax(f1))
        return best, float(f1[best])
    miss = false_alarm = 1.0
    if spec.policy == "cost":
        assert spec.prevalence is not None
        assert spec.miss_cost is not None
        assert spec.false_alarm_cost is not None
        miss, false_alarm = spec.prevalence * spec.miss_cost, (1 - spec.prevalence) * spec.false_alarm_cost
    # whole numbers where the prices are, so that equal sums are equal floats; else equal up to rounding
    least = min(miss, false_alarm)
    sums = miss / least * (positives - found) * negatives + false_alarm / least * flagged * positives
    best = int(np.flatnonzero(sums <= sums.min() + 1e-12 * sums.max())[0])
    expected = float(miss * (1 - found[best] / positives) + false_alarm * flagged[best] / negatives)
    return best, expected if spec.policy == "cost" else 1 - expected


def _choose_score(spec: PolicySpec, scores: Scores, anomalous: Bool) -> Choice:
    if not anomalous.any():
        raise Undefined("no anomalous validation image")
    if anomalous.all() and spec.policy != "f1_max":
        raise Undefined("no normal validation image")
    _check_spread(scores)
    found, flagged = (
        np.cumsum(np.concatenate([[0], counts_by_score(scores, chosen)])) for chosen in (anomalous, ~anomalous)
    )
    best, criterion = choose_step(spec, found, flagged)
    candidates = np.unique(scores)[::-1]
    return Choice(float(candidates[best - 1]) if best else _next_above(candidates[0]), criterion)


def _normal(scores: Scores, anomalous: Bool) -> Scores:
    """Those of normal images, at least one."""
    if anomalous.all():
        raise Undefined("no normal validation image")
    return scores[~anomalous]


def _check_spread(scores: Scores) -> None:
    if scores.min() == scores.max():
        raise Undefined("the validation scores do not differ")


def _as_written(share: float | Fraction) -> Fraction:
    """A setting as the decimal number that it was written as, 0.1 as one tenth; a fraction as it is."""
    return Fraction(str(share))


def _next_above(score: np.floating[Any]) -> float:
    """The next number of the score's own dtype."""
    with np.errstate(over="ignore"):
        above = np.nextafter(score, np.inf, dtype=score.dtype)
    if not np.isfinite(above):
        raise Undefined("no number lies above the highest score")
    return float(above)


def _round_up(value: float, dtype: np.dtype[Any]) -> float:
    """The smallest number of a dtype that is not below a value."""
    with np.errstate(over="ignore"):
        rounded = dtype.type(value)
        if float(rounded) < value:
            rounded = np.nextafter(rounded, np.inf, dtype=dtype)
    if not np.isfinite(rounded):
        raise Undefined("the threshold is larger than any number that a score can be")
    return float(rounded)


def _percent(share: float | Fraction) -> str:
    return f"{100 * float(share):.3g} %"
