"""What failures have in common: how they differ from successes, and errors that detectors share.

Definitions with their sources: docs/analyses.md. Tested in tests/evaluation/test_failures.py.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.midranks import midranks
from patchshift.evaluation.undefined import Interval, Undefined

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

SIZES = ("small", "medium", "large")
LEAST_COMPARED = 3  # images on either side of a comparison
MOST_EXACT = 10_000  # values of the smaller side times all values, up to which a rank test counts every division


def classify_sizes(areas: Float64) -> list[str]:
    """The third of all sizes that each size is in.

    With the sizes in rising order, number ceil(n / 3) is the largest small one and number ceil(2 n / 3) the largest
    medium one, so equal sizes are never in two classes and a class may be empty.

    Args:
        areas: [N] sizes; NaN where there is none, which belongs to no class.

    Returns:
        For each of N one of SIZES; empty where there is no size.
    """
    known = np.sort(areas[~np.isnan(areas)])
    if not known.size:
        return [""] * len(areas)
    ends = [known[-(-part * len(known) // 3) - 1] for part in (1, 2)]
    return ["" if np.isnan(area) else SIZES[int(np.searchsorted(ends, area))] for area in areas]


def superiority_interval(share: float, first: int, second: int, confidence: float) -> Interval:
    """The interval of the probability that a value of the first kind exceeds one of the second, ties counting half.

    Newcombe (2006, Part 2, method 5): the ends t solve (share - t)^2 = z^2 V(t), with V the variance under Hanley and
    McNeil's exponential model, made symmetric in the two sizes. It does not shrink to a point at 0 and 1, where the
    bootstrap does, and is sensible for few values.

    Args:
        share: the observed share of pairs; the AUROC, if the kinds are anomalous and normal images.
        first: values of the first kind, at least 1.
        second: values of the second kind, at least 1.
        confidence: coverage in (0, 1).

    Returns:
        (low, high) in [0, 1], around the share.
    """
    from scipy.optimize import brentq  # slow to import
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    half = (first + second) / 2 - 1

    def excess(true: float) -> float:
        variance = true * (1 - true) * (1 + half * ((1 - true) / (2 - true) + true / (1 + true))) / (first * second)
        return (share - true) ** 2 - z**2 * variance

    low = 0.0 if share == 0 else float(brentq(excess, 0.0, min(share, 1 - 1e-12)))
    high = 1.0 if share == 1 else float(brentq(excess, max(share, 1e-12), 1.0))
    return (min(low, share), max(high, share))


@dataclass(frozen=True)
class Contrast:
    """How values of failures differ from those of successes.

    Attributes:
        effect: Cliff's delta: the share of pairs in which the failure's value is larger, minus that in which it is
            smaller; 0 for no difference, -1 or 1 for no overlap.
        interval: of the effect.
        p: of `mann_whitney_p`.
    """

    effect: float
    interval: Interval
    p: float


def contrast_values(failures: Float64, successes: Float64, confidence: float) -> Contrast:
    """Compare one fact of failures with that of successes.

    Args:
        failures: [F] without NaN.
        successes: [S] without NaN.
        confidence: coverage of the interval.

    Raises:
        Undefined: if a side has fewer than LEAST_COMPARED values.
    """
    for side, values in (("failures", failures), ("successes", successes)):
        if len(values) < LEAST_COMPARED:
            raise Undefined(f"fewer than {LEAST_COMPARED} {side}")
    labels = np.repeat([1, 0], [len(failures), len(successes)])
    values = np.concatenate([failures, successes])
    share = image_auroc(labels, values)
    low, high = superiority_interval(share, len(failures), len(successes), confidence)
    return Contrast(2 * share - 1, (2 * low - 1, 2 * high - 1), mann_whitney_p(failures, successes))


def mann_whitney_p(failures: Float64, successes: Float64, most_exact: int = MOST_EXACT) -> float:
    """The Mann-Whitney test of equal distributions, two-sided, given the values that there are.

    Of all divisions of the values into sides of these sizes, each as likely as any other, the share whose rank sum lies
    at least as far from its mean as the observed one; equal values have their mean rank. The normal approximation is
    far too sure where one side has few values of which many are equal, so it is left to large samples.

    Args:
        failures: [F] without NaN.
        successes: [S] without NaN.
        most_exact: min(F, S) (F + S) up to which the distribution is exact.
    """
    few, many = sorted((failures, successes), key=len)
    ranks = np.rint(2 * midranks(np.concatenate([few, many]))).astype(np.int64)  # doubled, so that they are whole
    if len(few) * len(ranks) > most_exact:
        from scipy.stats import mannwhitneyu  # slow to import

        # where all are equal nothing is to be ranked
        result = mannwhitneyu(failures, successes, alternative="two-sided", method="asymptotic")
        return 1.0 if np.ptp(ranks) == 0 else float(result.pvalue)
    most = int(np.sort(ranks)[-len(few) :].sum())
    ways = np.zeros((len(few) + 1, most + 1))  # [c, s]: choices of c values with the rank sum s
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : most + 1 - rank]
    distances = np.abs(np.arange(most + 1) - len(few) * (len(ranks) + 1))
    chosen = ways[-1]
    return float(chosen[distances >= distances[ranks[: len(few)].sum()]].sum() / chosen.sum())


@dataclass(frozen=True)
class SharedErrors:
    """Errors of two detectors on the same images.

    Attributes:
        both_right: images that both decide rightly.
        first_wrong: images that only the first decides wrongly.
        second_wrong: images that only the second decides wrongly.
        both_wrong: images that both decide wrongly.
    """

    both_right: int
    first_wrong: int
    second_wrong: int
    both_wrong: int

    @classmethod
    def count(cls, first: Bool, second: Bool) -> "SharedErrors":
        """Count them.

        Args:
            first: [N] True where the first detector is wrong.
            second: [N] likewise.
        """
        pairs = ((~first & ~second), (first & ~second), (~first & second), (first & second))
        return cls(*(int(pair.sum()) for pair in pairs))

    @property
    def total(self) -> int:
        """Images."""
        return self.both_right + self.first_wrong + self.second_wrong + self.both_wrong

    @property
    def phi(self) -> float | None:
        """The correlation of the two detectors' errors; None where one is always right or always wrong."""
        a, b, c, d = self.both_right, self.first_wrong, self.second_wrong, self.both_wrong
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        return (a * d - b * c) / margins**0.5 if margins else None

    @property
    def p(self) -> float:
        """McNemar's exact test of equal error rates: two-sided, binomial, of the images that only one gets wrong.

        1 where there are none.
        """
        from scipy.stats import binomtest  # slow to import

        single = self.first_wrong + self.second_wrong
        return float(binomtest(self.first_wrong, single, 0.5).pvalue) if single else 1.0
