import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, mannwhitneyu, rankdata

from patchshift.evaluation.failures import (
    SIZES,
    SharedErrors,
    classify_sizes,
    contrast_values,
    mann_whitney_p,
    superiority_interval,
)
from patchshift.evaluation.statistics import wilson_interval
from patchshift.evaluation.undefined import Undefined


def test_sizes_are_classed_by_thirds():
    assert classify_sizes(np.array([6.0, 1, 5, 2, 4, 3])) == ["large", "small", "large", "small", "medium", "medium"]


def test_the_first_classes_get_one_more_where_thirds_are_not_whole():
    assert classify_sizes(np.arange(4.0)) == ["small", "small", "medium", "large"]
    assert classify_sizes(np.arange(5.0)) == ["small", "small", "medium", "medium", "large"]


def test_equal_sizes_are_in_one_class_and_unknown_ones_in_none():
    assert classify_sizes(np.array([1.0, 1, 1, np.nan, 2])) == ["small", "small", "small", "", "large"]
    assert classify_sizes(np.full(4, 0.5)) == ["small"] * 4
    assert classify_sizes(np.array([np.nan])) == [""]
    assert classify_sizes(np.array([])) == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_no_larger_size_is_in_a_smaller_class(areas):
    ranks = [SIZES.index(name) for name in classify_sizes(np.array(areas, np.float64))]
    for area, rank in zip(areas, ranks, strict=True):
        assert all(rank <= other for larger, other in zip(areas, ranks, strict=True) if larger >= area)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.sampled_from([0.8, 0.95]))
def test_an_interval_of_superiority_holds_the_share_and_mirrors(first, second, share, confidence):
    low, high = superiority_interval(share, first, second, confidence)
    assert 0 <= low <= share <= high <= 1
    assert high - low > 0
    mirrored = superiority_interval(1 - share, second, first, confidence)
    np.testing.assert_allclose(mirrored, (1 - high, 1 - low), atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.85, 1.0])
def test_the_ends_of_an_interval_solve_their_equation(share):
    first, second = 7, 12
    for end in superiority_interval(share, first, second, 0.95):
        size = (first + second) / 2 - 1
        spread = 1 + size * (1 - end) / (2 - end) + size * end / (1 + end)
        variance = end * (1 - end) * spread / (first * second)
        np.testing.assert_allclose((share - end) ** 2, 1.959963984540054**2 * variance, atol=1e-10)


def test_of_one_pair_the_interval_is_wilsons():
    """One value on each side is one trial."""
    np.testing.assert_allclose(superiority_interval(1.0, 1, 1, 0.9), wilson_interval(1, 1, 0.9), atol=1e-9)


def test_intervals_of_superiority_cover_the_true_one():
    generator = np.random.default_rng(0)
    for shift, sizes in ((0.0, (5, 8)), (1.2, (6, 20)), (2.5, (12, 12))):
        true = 0.5 * math.erfc(-shift / 2)  # of two normals
        covered = 0
        for _ in range(400):
            first, second = generator.normal(shift, 1, sizes[0]), generator.normal(0, 1, sizes[1])
            low, high = superiority_interval(float((first[:, None] > second).mean()), *sizes, 0.9)
            covered += low <= true <= high
        assert 0.86 <= covered / 400 <= 0.99


def test_a_contrast_is_cliffs_delta_with_the_rank_tests_p():
    failures, successes = np.array([1.0, 2, 2, 5]), np.array([2.0, 3, 4, 4, 9, 9])
    pairs = np.sign(failures[:, None] - successes)
    contrast = contrast_values(failures, successes, 0.95)
    assert contrast.effect == pytest.approx(pairs.mean())
    assert contrast.interval[0] < contrast.effect < contrast.interval[1]
    assert contrast.p == mann_whitney_p(failures, successes)


def test_few_failures_with_equal_values_are_tested_exactly():
    """35 of the C(30, 3) = 4060 choices of three are as far from the mean; the normal approximation says 0.0037."""
    failures, successes = np.full(3, 2.0), np.repeat([1.0, 2, 3], [23, 2, 2])
    assert mann_whitney_p(failures, successes) == pytest.approx(35 / 4060)
    assert mann_whitney_p(successes, failures) == pytest.approx(35 / 4060)
    assert mann_whitney_p(failures, successes, most_exact=0) == pytest.approx(0.0037, abs=5e-5)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=9), st.data())
def test_the_rank_test_counts_every_division(values, data):
    number = data.draw(st.integers(1, len(values) - 1))
    ranks = rankdata(values)
    distances = np.array([abs(sum(chosen) - ranks.mean() * number) for chosen in combinations(ranks, number)])
    expected = (distances >= distances[0] - 1e-9).mean()  # the first combination is that of the first values
    assert mann_whitney_p(np.array(values[:number], float), np.array(values[number:], float)) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [(3, 12), (9, 9), (40, 60)])
def test_without_equal_values_the_rank_test_is_scipys(sizes):
    generator = np.random.default_rng(1)
    first, second = generator.normal(0.5, 1, sizes[0]), generator.normal(0, 1, sizes[1])
    assert mann_whitney_p(first, second) == pytest.approx(mannwhitneyu(first, second, method="exact").pvalue)


def test_large_samples_have_the_normal_approximation():
    generator = np.random.default_rng(2)
    first, second = generator.integers(0, 9, 90) * 1.0, generator.integers(0, 10, 110) * 1.0
    assert mann_whitney_p(first, second) == mannwhitneyu(first, second, method="asymptotic").pvalue
    exact = mann_whitney_p(first, second, most_exact=10**6)
    assert mann_whitney_p(first, second) == pytest.approx(exact, rel=0.05)
    assert mann_whitney_p(np.ones(200), np.ones(300)) == 1.0


def test_equal_values_do_not_differ():
    contrast = contrast_values(np.ones(3), np.ones(4), 0.95)
    assert (contrast.effect, contrast.p) == (0.0, 1.0)
    assert contrast.interval[0] < 0 < contrast.interval[1]


def test_a_contrast_of_two_failures_is_undefined():
    with pytest.raises(Undefined, match=r"^fewer than 3 failures$"):
        contrast_values(np.ones(2), np.ones(9), 0.95)
    with pytest.raises(Undefined, match=r"^fewer than 3 successes$"):
        contrast_values(np.ones(3), np.ones(0), 0.95)


def test_shared_errors_are_counted_and_correlated():
    first, second = np.array([1, 1, 1, 0, 0, 0, 0, 0]) == 1, np.array([1, 1, 0, 1, 0, 0, 0, 0]) == 1
    shared = SharedErrors.count(first, second)
    assert shared == SharedErrors(both_right=4, first_wrong=1, second_wrong=1, both_wrong=2)
    assert shared.total == 8
    assert shared.phi == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_phi_needs_errors_and_successes_of_both():
    nothing = np.zeros(4, np.bool_)
    assert SharedErrors.count(nothing, np.array([True, False, False, False])).phi is None
    assert SharedErrors.count(~nothing, np.array([True, False, False, False])).phi is None


def test_mcnemar_is_exact():
    """Binomial probabilities by hand; near the chi-squared approximation for many images."""
    assert SharedErrors(0, 1, 5, 3).p == pytest.approx(2 * (1 + 6) / 2**6)
    assert SharedErrors(9, 0, 0, 3).p == 1.0
    many = SharedErrors(0, 400, 480, 0)
    assert many.p == pytest.approx(chi2.sf((80 - 1) ** 2 / 880, 1), rel=0.02)
