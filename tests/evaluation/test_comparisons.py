"""Tests of paired differences against brute force, SciPy and published examples."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from patchshift.evaluation.comparisons import (
    NO_VARIANCE,
    compare_aurocs,
    compare_means,
    compare_signed_ranks,
    correct_holm,
    count_won,
)
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.undefined import Undefined

# Albumin, total protein and K-G score of 43 patients with ovarian cancer, and whether they survived surgery: the
# example of DeLong et al. 1988 as SAS/STAT publishes it (PROC LOGISTIC, "Comparing Receiver Operating Characteristic
# Curves").
OVARIAN = """
3.0 5.8 10 0   3.2 6.3  5 1   3.9 6.8  3 1   2.8 4.8  6 0   3.2 5.8  3 1   0.9 4.0  5 0   2.5 5.7  8 0
1.6 5.6  5 1   3.8 5.7  5 1   3.7 6.7  6 1   3.2 5.4  4 1   3.8 6.6  6 1   4.1 6.6  5 1   3.6 5.7  5 1
4.3 7.0  4 1   3.6 6.7  4 0   2.3 4.4  6 1   4.2 7.6  4 0   4.0 6.6  6 0   3.5 5.8  6 1   3.8 6.8  7 1
3.0 4.7  8 0   4.5 7.4  5 1   3.7 7.4  5 1   3.1 6.6  6 1   4.1 8.2  6 1   4.3 7.0  5 1   4.3 6.5  4 1
3.2 5.1  5 1   2.6 4.7  6 1   3.3 6.8  6 0   1.7 4.0  7 0   3.7 6.1  5 1   3.3 6.3  7 1   4.2 7.7  6 1
3.5 6.2  5 1   2.9 5.7  9 0   2.1 4.8  7 1   2.8 6.2  8 0   4.0 7.0  7 1   3.3 5.7  6 1   3.7 6.9  5 1
3.6 6.6  5 1
"""


def brute_force(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and standard error by the formulas of DeLong et al. 1988: S = S10 / m + S01 / n, L = (1, -1)."""
    components = []
    for scores in (first, second):
        wins = np.subtract.outer(scores[labels == 1], scores[labels == 0])
        psi = (wins > 0) + 0.5 * (wins == 0)
        components.append((psi.mean(), psi.mean(axis=1), psi.mean(axis=0)))
    (one, one_10, one_01), (other, other_10, other_01) = components
    covariance = np.cov(one_10, other_10) / len(one_10) + np.cov(one_01, other_01) / len(one_01)
    contrast = np.array([1, -1])
    return float(one - other), float(np.sqrt(contrast @ covariance @ contrast))


def test_delong_reproduces_the_example_of_delong_1988() -> None:
    albumin, protein, score, survived = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    labels = (survived == 0).astype(int)
    assert image_auroc(labels, score) == pytest.approx(0.7258, abs=5e-5)
    assert image_auroc(labels, -protein) == pytest.approx(0.6478, abs=5e-5)
    against_protein = compare_aurocs(labels, -protein, score, 0.95)
    assert against_protein.difference == pytest.approx(-0.0780, abs=5e-5)
    assert against_protein.standard_error == pytest.approx(0.1046, abs=5e-5)
    assert (against_protein.low, against_protein.high) == pytest.approx((-0.2830, 0.1271), abs=5e-5)
    assert against_protein.p == pytest.approx(0.4561, abs=5e-5)
    against_albumin = compare_aurocs(labels, -albumin, score, 0.95)
    assert against_albumin.difference == pytest.approx(0.0108, abs=5e-5)
    assert against_albumin.p == pytest.approx(0.9102, abs=5e-5)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.integers(2, 30))
def test_delong_equals_brute_force_with_ties(seed: int, normal: int, anomalous: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, anomalous])
    first, second = random.integers(0, levels, (2, len(labels))).astype(float)
    difference, error = brute_force(labels, first, second)
    try:
        test = compare_aurocs(labels, first, second, 0.9)
    except Undefined:
        assert error == pytest.approx(0, abs=1e-8)
        assert difference != 0
        return
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.standard_error == pytest.approx(error, abs=1e-8)
    if error > 1e-8:
        assert test.p == pytest.approx(2 * stats.norm.sf(abs(difference) / error))
        assert test.high - test.low == pytest.approx(2 * stats.norm.ppf(0.95) * error)


def test_components_are_the_counts_of_ordered_pairs() -> None:
    below, above = count_won(np.array([True, False, True, False, False]), np.array([2.0, 2.0, 5.0, 1.0, 3.0]))
    assert below.tolist() == [1.5, 3.0]
    assert above.tolist() == [1.5, 2.0, 1.0]


def test_delong_does_not_depend_on_the_scale_of_scores() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    first, second = random.normal(labels, 1, (2, 40))
    assert compare_aurocs(labels, first, second, 0.95) == compare_aurocs(labels, np.exp(first), 5 * second + 2, 0.95)


def test_equal_scores_are_not_told_apart() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 4.0])
    test = compare_aurocs(labels, scores, scores, 0.95)
    assert (test.difference, test.standard_error, test.low, test.high, test.p) == (0, 0, 0, 0, 1)
    # two perfect rankings have no variance either, though their scores differ
    assert compare_aurocs(labels, np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 9, 5]), 0.95).p == 1


def test_a_difference_without_variance_is_undefined() -> None:
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(Undefined, match=NO_VARIANCE):
        compare_aurocs(labels, np.array([1.0, 2, 3, 4]), np.ones(4), 0.95)


@pytest.mark.parametrize(
    ("labels", "reason"), [([0, 0, 0, 1], "fewer than two anomalous images"), ([0, 0, 0, 0], "no anomalous image")]
)
def test_delong_needs_two_images_of_each_class(labels: list[int], reason: str) -> None:
    with pytest.raises(Undefined, match=reason):
        compare_aurocs(np.array(labels), np.arange(4.0), np.arange(4.0), 0.95)


def test_a_score_that_is_not_finite_is_undefined_on_either_side() -> None:
    labels, scores, broken = np.array([0, 0, 1, 1]), np.arange(4.0), np.array([0, 1, 2, np.nan])
    for sides in ((scores, broken), (broken, scores)):
        with pytest.raises(Undefined, match="not finite"):
            compare_aurocs(labels, *sides, 0.95)


def test_delong_holds_its_level_where_detectors_are_alike() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 30])
    rejected = 0
    for _ in range(1000):
        image = random.normal(labels, 1)
        rejected += compare_aurocs(labels, *(image + random.normal(0, 0.7, (2, 70))), 0.95).p < 0.05
    assert 30 <= rejected <= 72


@given(st.lists(st.integers(-1000, 1000).filter(bool), min_size=6, max_size=40, unique_by=abs))
def test_signed_ranks_equal_scipy_without_ties(differences: list[int]) -> None:
    values = np.array(differences) / 1000
    test = compare_signed_ranks(values, np.zeros(len(values)), 0.05)
    expected = stats.wilcoxon(values, method="exact")
    assert (test.statistic, test.p) == pytest.approx((expected.statistic, expected.pvalue))


@given(st.lists(st.integers(-4, 4), min_size=6, max_size=9))
def test_signed_ranks_equal_all_choices_of_signs_with_ties_and_zeros(differences: list[int]) -> None:
    values = np.array(differences, float)
    test = compare_signed_ranks(values, np.zeros(len(values)), 0.05)
    left = values[values != 0]
    if not left.size:
        assert (test.statistic, test.p, test.effect) == (0, 1, 0)
        return
    ranks = stats.rankdata(np.abs(left))
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([False, True], repeat=len(ranks))])
    rising, falling = ranks[left > 0].sum(), ranks[left < 0].sum()
    assert test.p == pytest.approx(min(1, 2 * (sums <= min(rising, falling) + 1e-9).mean()))
    assert test.statistic == min(rising, falling)
    assert test.effect == pytest.approx((rising - falling) / ranks.sum())


def test_signed_ranks_see_fractions_that_are_equal() -> None:
    # 0.3 - 0.2 and 0.1 - 0 are the same difference of AUROCs, and not the same float
    first, second = np.array([0.3, 0.1, 0.5, 0.6, 0.7, 0.8]), np.array([0.2, 0.0, 0.4, 0.5, 0.6, 0.7])
    assert compare_signed_ranks(first, second, 0.05).p == 2 / 2**6


def test_signed_ranks_say_where_they_can_never_tell() -> None:
    with pytest.raises(Undefined, match=r"with 5 categories .* cannot reach p = 0.05"):
        compare_signed_ranks(np.ones(5), np.zeros(5), 0.05)
    assert compare_signed_ranks(np.arange(1.0, 7), np.zeros(6), 0.05).p < 0.05
    assert compare_signed_ranks(np.arange(1.0, 6), np.zeros(5), 0.1).p < 0.1


def test_means_equal_scipy_and_cohens_definition() -> None:
    first, second = np.random.default_rng(3).normal(0, 1, (2, 9))
    test, expected = compare_means(first, second), stats.ttest_rel(first, second)
    assert (test.statistic, test.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert test.effect == pytest.approx(expected.statistic / 3)  # d_z = t / sqrt(n), Lakens 2013
    assert compare_means(second, first).effect == pytest.approx(-test.effect)


def test_means_are_undefined_where_nothing_varies() -> None:
    with pytest.raises(Undefined, match="with 1 category"):
        compare_means(np.ones(1), np.zeros(1))
    with pytest.raises(Undefined, match="by the same amount"):
        compare_means(np.array([0.3, 0.5]), np.array([0.2, 0.4]))
    assert compare_means(np.ones(3), np.ones(3)).p == 1


def test_holm_reproduces_a_worked_example() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_undefined_tests_do_not_count_among_those_corrected() -> None:
    assert correct_holm([None, 0.5, None, 0.01]) == [None, 0.5, None, 0.02]
    assert correct_holm([None]) == [None]
    assert correct_holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.3))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float], alpha: float) -> None:
    corrected = correct_holm(p_values)
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    stepping = True
    for rank, position in enumerate(order):  # Holm 1979: stop at the first that is not small enough
        stepping = stepping and p_values[position] * (len(p_values) - rank) <= alpha
        assert (corrected[position] <= alpha) == stepping
