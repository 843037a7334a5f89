"""Tests of differences between two detectors: on the images of one category, and over categories.

Tested in tests/evaluation/test_comparisons.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import Labels, Scores, check_ranking
from patchshift.evaluation.midranks import midranks
from patchshift.evaluation.undefined import Undefined

Float64 = npt.NDArray[np.float64]

NO_VARIANCE = "the estimated variance of the difference is 0"
DECIMALS = 12
"""Differences of AUROCs that are equal as fractions differ in the last bits: so many decimals are compared."""


@dataclass(frozen=True)
class AurocComparison:
    """DeLong's test of the difference between two image AUROCs on the same images.

    Attributes:
        difference: AUROC of the first minus that of the second.
        standard_error: of the difference.
        low: lower end of its interval.
        high: upper end.
        p: two-sided.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class PairedTest:
    """A paired test over categories.

    Attributes:
        statistic: of the test.
        p: two-sided.
        effect: the size of the difference, with its sign, whatever the number of categories.
    """

    statistic: float
    p: float
    effect: float


def compare_aurocs(labels: Labels, first: Scores, second: Scores, confidence: float) -> AurocComparison:
    """DeLong's test for two correlated ROC curves (DeLong et al. 1988), by midranks (Sun and Xu 2014).

    Of each image the components of both AUROCs are subtracted, and the variance is that of these differences: the same
    as var + var - 2 cov, without its cancellation. The interval is normal, as the test is.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        first: [N] scores of the first detector, higher is more anomalous.
        second: [N] those of the second, of the same images.
        confidence: coverage of the interval in (0, 1).

    Raises:
        Undefined: where an AUROC is undefined, a class has fewer than two images, or the variance is 0 although the
            AUROCs differ. Where both are 0, nothing speaks for a difference: p is 1, and the interval a point.
    """
    anomalous = check_ranking(labels, first)
    check_ranking(labels, second)
    for images, kind in ((anomalous, "anomalous"), (~anomalous, "normal")):
        if images.sum() < 2:
            raise Undefined(f"fewer than two {kind} images")
    # counts are multiples of one half, so they and their differences are exact
    (of_anomalous, of_normal), others = count_won(anomalous, first), count_won(anomalous, second)
    by_anomalous, by_normal = of_anomalous - others[0], of_normal - others[1]
    positives, negatives = len(by_anomalous), len(by_normal)
    difference = float(by_anomalous.sum() / (positives * negatives))
    if not np.ptp(by_anomalous) and not np.ptp(by_normal):
        if difference:
            raise Undefined(NO_VARIANCE)
        return AurocComparison(0.0, 0.0, 0.0, 0.0, 1.0)
    variance = np.var(by_anomalous / negatives, ddof=1) / positives + np.var(by_normal / positives, ddof=1) / negatives
    error = float(np.sqrt(variance))
    from scipy.special import ndtr, ndtri  # slow to import

    half = float(ndtri((1 + confidence) / 2)) * error
    p = float(2 * ndtr(-abs(difference) / error))
    return AurocComparison(difference, error, difference - half, difference + half, p)


def count_won(anomalous: npt.NDArray[np.bool_], scores: Scores) -> tuple[Float64, Float64]:
    """DeLong's structural components as counts: the pairs of a normal and an anomalous image that are in order.

    Args:
        anomalous: [N] labels, both classes present.
        scores: [N] without NaN.

    Returns:
        [P] per anomalous image: normal images below it; [Q] per normal image: anomalous images above it. Equal scores
        count one half. Divided by Q and P these are the V10 and V01 of DeLong et al. 1988.
    """
    ranks = midranks(scores)
    positives, negatives = scores[anomalous], scores[~anomalous]
    below = ranks[anomalous] - midranks(positives)
    above = len(positives) - (ranks[~anomalous] - midranks(negatives))
    return below, above


def compare_signed_ranks(first: Float64, second: Float64, alpha: float) -> PairedTest:
    """Wilcoxon's signed-rank test, with the matched-pairs rank-biserial correlation (Kerby 2014) as its effect.

    Categories without a difference are left out, equal differences have the mean of their ranks, and p is exact, also
    where differences are equal: AUROCs of few images often are (`scipy.stats.wilcoxon` is exact with up to 13 then).

    Args:
        first: [C] a metric of the first detector, per category.
        second: [C] that of the second.
        alpha: significance level that the test must be able to reach.

    Returns:
        statistic: the smaller of the sums of ranks of rising and falling categories; effect: (sum of the ranks where
        the first is higher - sum where the second is) / sum of all, from -1 to 1. Without any difference p is 1 and
        the effect 0.

    Raises:
        Undefined: where so few categories could never reach `alpha`, not even if all differed in one direction.
    """
    categories = len(first)
    if 2.0 ** (1 - categories) > alpha:
        raise Undefined(f"with {count_categories(categories)} the signed-rank test cannot reach p = {alpha:.2g}")
    differences = np.round(first - second, DECIMALS)
    differences = differences[differences != 0]
    if not differences.size:
        return PairedTest(0.0, 1.0, 0.0)
    ranks = midranks(np.abs(differences))
    smaller = min(float(ranks[differences > 0].sum()), float(ranks[differences < 0].sum()))
    effect = float((ranks * np.sign(differences)).sum() / ranks.sum())
    return PairedTest(smaller, min(1.0, 2 * _lower_tail(ranks, smaller)), effect)


def _lower_tail(ranks: Float64, limit: float) -> float:
    """The probability that the ranks with a positive sign sum to no more than `limit`, each sign being a coin's."""
    doubled = np.rint(2 * ranks).astype(int)  # mean ranks are multiples of one half
    share = np.zeros(doubled.sum() + 1)  # of all choices of signs, by twice their sum
    share[0] = 1.0
    for rank in doubled:
        with_it = np.concatenate([np.zeros(rank), share[:-rank]])
        share = (share + with_it) / 2
    return float(share[: round(2 * limit) + 1].sum())


def compare_means(first: Float64, second: Float64) -> PairedTest:
    """The paired t-test, with Cohen's d_z (Lakens 2013, Eq. 6) as its effect.

    Args:
        first: [C] a metric of the first detector, per category.
        second: [C] that of the second.

    Returns:
        statistic: t with C - 1 degrees of freedom; effect: mean difference / standard deviation of the differences.
        Without any difference all are 0, and p is 1.

    Raises:
        Undefined: with fewer than two categories, or where all differ by the same amount.
    """
    if len(first) < 2:
        raise Undefined(f"with {count_categories(len(first))} there is no t-test")
    differences = np.round(first - second, DECIMALS)
    if not differences.any():
        return PairedTest(0.0, 1.0, 0.0)
    if not np.ptp(differences):
        raise Undefined("all categories differ by the same amount: there is no t-test")
    from scipy.stats import ttest_rel  # slow to import

    test = ttest_rel(differences, np.zeros_like(differences))
    return PairedTest(float(test.statistic), float(test.pvalue), float(differences.mean() / differences.std(ddof=1)))


def correct_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number, so that the chance of any false finding is bounded (Holm 1979).

    Args:
        p_values: of one family of tests; None where a test is undefined, which does not count.

    Returns:
        In the same order, each the largest of (m - i) p_(i), i from 0, over itself and all smaller ones; at most 1.
    """
    order = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[position] = largest
    return corrected


def find_level(confidence: float) -> float:
    """The significance level that goes with a confidence: 0.05 of 0.95, without the last bits of 1 - 0.95."""
    return round(1 - confidence, DECIMALS)


def count_categories(number: int) -> str:
    """`1 category`, `3 categories`."""
    return f"{number} {'category' if number == 1 else 'categories'}"
