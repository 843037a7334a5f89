"""Average ranks against SciPy and the worked example of Demsar 2006."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from patchshift.evaluation.ranks import find_critical_difference, group_ranks, rank_treatments

# Demsar 2006, Table 6: ranks of C4.5, with pruning (+m), with confidence (+cf), and both, on 14 data sets.
DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
)  # fmt: skip


def test_ranks_reproduce_demsars_example() -> None:
    ranking = rank_treatments(-DEMSAR, 0.95)
    assert ranking.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # Demsar's chi-square is not corrected for ties; three pairs and one quadruple of them
    corrected_by = 1 - (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * (4**2 - 1))
    plain = ranking.friedman * corrected_by
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)
    assert ranking.p < 0.05
    # all are in one group, as Demsar finds: the best and the worst are 1.18 apart
    assert group_ranks(ranking.ranks, ranking.critical_difference) == [[3, 1, 2, 0]]


@pytest.mark.parametrize(("treatments", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_the_quantiles_of_demsars_table_5(treatments: int, quantile: float) -> None:
    expected = quantile * np.sqrt(treatments * (treatments + 1) / (6 * 20))
    assert find_critical_difference(treatments, 20, 0.95) == pytest.approx(expected, abs=5e-4)


@given(st.integers(0, 1000), st.integers(2, 9), st.integers(3, 6), st.integers(2, 20))
def test_statistics_equal_scipy_and_an_analysis_of_variance_of_ranks(
    seed: int, blocks: int, treatments: int, levels: int
) -> None:
    values = np.random.default_rng(seed).integers(0, levels, (blocks, treatments)).astype(float)
    ranking = rank_treatments(values, 0.9)
    by_block = stats.rankdata(-values, axis=1)
    assert ranking.ranks == pytest.approx(by_block.mean(axis=0))
    if (by_block == by_block[:, :1]).all():
        assert (ranking.friedman, ranking.p) == (0, 1)
        return
    expected = stats.friedmanchisquare(*values.T)
    assert (ranking.friedman, ranking.friedman_p) == pytest.approx((expected.statistic, expected.pvalue))
    between = blocks * ((by_block.mean(axis=0) - by_block.mean()) ** 2).sum()
    within = ((by_block - by_block.mean(axis=0)) ** 2).sum()
    if within < 1e-9:
        assert ranking.iman_davenport is None
        assert ranking.p == ranking.friedman_p
        return
    # with equal sums of ranks in all blocks, blocks take no part of the variance
    assert ranking.iman_davenport == pytest.approx(between * (blocks - 1) / within, abs=1e-9)
    assert ranking.iman_davenport_p == pytest.approx(
        stats.f.sf(ranking.iman_davenport, treatments - 1, (treatments - 1) * (blocks - 1))
    )


def test_equal_fractions_share_their_rank() -> None:
    values = np.array([[0.1 + 0.2, 0.3, 0.9], [0.3, 0.1 + 0.2, 0.9]])
    assert rank_treatments(values, 0.95).ranks.tolist() == [2.5, 2.5, 1]


@pytest.mark.parametrize("shape", [(1, 3), (2, 2)])
def test_too_few_blocks_or_treatments_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="2 blocks and 3 treatments"):
        rank_treatments(np.zeros(shape), 0.95)


def test_groups_are_the_largest_that_are_not_told_apart() -> None:
    assert group_ranks([4.0, 1.0, 2.5, 2.0], 1.5) == [[1, 3], [3, 2], [0]]
    assert group_ranks([1.0, 2.0, 3.0], 1.0) == [[0], [1], [2]]  # as far apart as the critical difference is apart
    assert group_ranks([1.0, 2.0, 3.0], 2.5) == [[0, 1, 2]]


@given(st.lists(st.floats(1, 9), min_size=1, max_size=8), st.floats(0.1, 9))
def test_two_share_a_group_exactly_if_they_are_not_told_apart(ranks: list[float], difference: float) -> None:
    groups = group_ranks(ranks, difference)
    for one in range(len(ranks)):
        for other in range(len(ranks)):
            together = any(one in group and other in group for group in groups)
            assert together == (abs(ranks[one] - ranks[other]) < difference)
    assert not any(set(group) < set(other) for group in groups for other in groups)
