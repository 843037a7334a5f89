"""Average ranks of several detectors over categories, and which of them are told apart (Demsar 2006).

Tested in tests/evaluation/test_ranks.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.comparisons import DECIMALS

Float64 = npt.NDArray[np.float64]

AGREEMENT = "all blocks rank alike: its statistic is infinite"


@dataclass(frozen=True)
class Ranking:
    """K treatments ranked in N blocks.

    Attributes:
        ranks: [K] average ranks; 1 is best.
        friedman: Friedman's chi-square, corrected for ties, with K - 1 degrees of freedom.
        friedman_p: its p.
        iman_davenport: F with K - 1 and (K - 1)(N - 1) degrees of freedom; None where all blocks rank alike.
        iman_davenport_p: its p; None likewise.
        critical_difference: Nemenyi's; average ranks that differ by at least as much are told apart.
    """

    ranks: Float64
    friedman: float
    friedman_p: float
    iman_davenport: float | None
    iman_davenport_p: float | None
    critical_difference: float

    @property
    def p(self) -> float:
        """Of the hypothesis that all are alike: Iman and Davenport's, or Friedman's where that is undefined."""
        return self.friedman_p if self.iman_davenport_p is None else self.iman_davenport_p


def rank_treatments(values: Float64, confidence: float) -> Ranking:
    """Rank treatments in each block, and test whether they are alike.

    Args:
        values: [N, K] a metric of each treatment in each block, higher is better; N at least 2, K at least 3.
        confidence: 1 - the significance level.

    Raises:
        ValueError: with fewer blocks or treatments.
    """
    blocks, treatments = values.shape
    if blocks < 2 or treatments < 3:
        raise ValueError(f"ranks need 2 blocks and 3 treatments, got {blocks} and {treatments}")
    from scipy import stats  # slow to import

    by_block = stats.rankdata(-np.round(values, DECIMALS), axis=1)
    difference = find_critical_difference(treatments, blocks, confidence)
    ranks: Float64 = by_block.mean(axis=0)
    if not np.ptp(by_block, axis=1).any():  # ties everywhere: nothing speaks against all being alike
        return Ranking(ranks, 0.0, 1.0, 0.0, 1.0, difference)
    test = stats.friedmanchisquare(*by_block.T)
    chi_square, freedom = float(test.statistic), treatments - 1
    left = blocks * freedom - chi_square
    if left <= 1e-9 * blocks * freedom:  # but for rounding, the largest that there is
        return Ranking(ranks, chi_square, float(test.pvalue), None, None, difference)
    statistic = (blocks - 1) * chi_square / left  # Iman and Davenport 1980; Demsar 2006, Section 3.2.2
    p = float(stats.f.sf(statistic, freedom, freedom * (blocks - 1)))
    return Ranking(ranks, chi_square, float(test.pvalue), statistic, p, difference)


@lru_cache
def find_critical_difference(treatments: int, blocks: int, confidence: float) -> float:
    """Nemenyi's critical difference of average ranks: q √(K (K + 1) / (6 N)) (Demsar 2006, Section 3.2.2).

    q is the quantile of the studentised range of K means with infinitely many degrees of freedom, divided by √2.
    """
    from scipy import stats

    quantile = stats.studentized_range.ppf(confidence, treatments, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(treatments * (treatments + 1) / (6 * blocks)))


def group_ranks(ranks: Float64 | Sequence[float], critical_difference: float) -> list[list[int]]:
    """The largest groups of treatments that are not told apart.

    Args:
        ranks: [K] average ranks.
        critical_difference: ranks in a group differ by less.

    Returns:
        Groups of positions in `ranks`, best first in and among groups; one that nothing is as good as is a group of
        its own.
    """
    order = [int(position) for position in np.argsort(ranks, kind="stable")]
    groups: list[list[int]] = []
    reached = 0
    for start, first in enumerate(order):
        group = [position for position in order[start:] if ranks[position] - ranks[first] < critical_difference]
        if start + len(group) > reached:  # otherwise the group before holds it
            groups.append(group)
            reached = start + len(group)
    return groups
