import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr, t

from patchshift.evaluation.association import name_thirds, slope_through_origin, spearman

OPTIONS = {"confidence": 0.9}
NUMBERS = st.lists(st.integers(0, 6), min_size=6, max_size=12)


def noisy(count, noise=0.3):
    generator = np.random.default_rng(1)
    x = generator.uniform(0, 1, count)
    return x, x + generator.normal(0, noise, count)


@given(NUMBERS, st.randoms(use_true_random=False))
def test_correlation_equals_that_of_scipy_ties_included(x, random):
    y = [random.randint(0, 6) for _ in x]
    found = spearman(x, y, **OPTIONS)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found == {"undefined": "all pairs are equal"}
    else:
        assert found["value"] == pytest.approx(spearmanr(x, y).statistic)
        assert -1 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found["low"] < found["high"]


def test_interval_is_fishers_with_the_error_of_bonett_and_wright():
    x, y = noisy(25)
    found = spearman(x, y, **OPTIONS)
    error = np.sqrt((1 + found["value"] ** 2 / 2) / 22)
    for end, share in (("low", 0.05), ("high", 0.95)):
        assert np.arctanh(found[end]) == pytest.approx(np.arctanh(found["value"]) + norm.ppf(share) * error)


@pytest.mark.parametrize(("count", "low", "high"), [(6, 0.93, 0.999), (10, 0.93, 0.98), (30, 0.93, 0.97)])
@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_interval_of_few_pairs_covers_the_correlation_of_all(count, low, high, strength):
    generator = np.random.default_rng(count)
    truth = 6 / np.pi * np.arcsin(strength / 2)  # of normal pairs
    covered = []
    for _ in range(1500):
        x, noise = generator.normal(size=(2, count))
        found = spearman(x, strength * x + np.sqrt(1 - strength**2) * noise, confidence=0.95)
        covered.append(found["low"] <= truth <= found["high"])
    assert low <= np.mean(covered) <= high


def test_a_perfect_correlation_of_few_pairs_is_not_certain():
    found = spearman(range(6), range(6), confidence=0.95)
    assert (found["value"], found["high"]) == (pytest.approx(1), pytest.approx(1))
    assert found["low"] == pytest.approx(0.382, abs=0.001)
    turned = spearman(range(6), range(0, -6, -1), confidence=0.95)
    assert (turned["low"], turned["high"]) == (-found["high"], -found["low"])


def test_order_is_all_that_counts():
    x, y = noisy(12)
    assert spearman(x, y, **OPTIONS) == spearman(np.exp(5 * x), y**3, **OPTIONS)
    assert spearman(x, x, **OPTIONS)["value"] == pytest.approx(1)
    assert spearman(x, -x, **OPTIONS)["value"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("count", "expected"), [(5, {"undefined": "fewer than 6 pairs"}), (0, {"undefined": "fewer than 6 pairs"})]
)
def test_few_pairs_have_no_correlation(count, expected):
    assert spearman(range(count), range(count), **OPTIONS) == expected


def test_slope_is_least_squares_without_an_intercept():
    x, y = noisy(20)
    found = slope_through_origin(x, y, **OPTIONS)
    assert found["value"] == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])
    error = np.sqrt(((y - found["value"] * x) ** 2).sum() / 19 / (x**2).sum())
    assert found["high"] - found["value"] == pytest.approx(t.ppf(0.95, 19) * error)
    assert found["value"] - found["low"] == pytest.approx(found["high"] - found["value"])


@pytest.mark.parametrize("count", [3, 6, 20])
def test_interval_of_a_slope_covers_that_of_all_pairs(count):
    generator = np.random.default_rng(count)
    covered = []
    for _ in range(2000):
        x = generator.uniform(0, 1, count)
        found = slope_through_origin(x, 0.4 * x + generator.normal(0, 0.1, count), confidence=0.95)
        covered.append(found["low"] <= 0.4 <= found["high"])
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_slope_of_a_line_is_certain():
    found = slope_through_origin([0.1, 0.2, 0.4], [0.2, 0.4, 0.8], **OPTIONS)
    assert [found[end] for end in ("value", "low", "high")] == pytest.approx([2, 2, 2])


def test_slope_that_does_not_exist_says_why():
    assert slope_through_origin([1, 2], [1, 2], **OPTIONS) == {"undefined": "fewer than 3 pairs"}
    assert slope_through_origin([0, 0, 0], [1, 2, 3], **OPTIONS) == {"undefined": "all distances are 0"}


@given(st.lists(st.integers(0, 20), min_size=3, max_size=30))
def test_thirds_follow_the_order_and_keep_equal_values_together(values):
    order = {"close": 0, "middle": 1, "far": 2}
    groups = [order[name] for name in name_thirds(values)]
    for value, group in zip(values, groups, strict=True):
        for other, its in zip(values, groups, strict=True):
            assert group <= its if value <= other else group >= its
    assert groups.count(0) >= len(values) / 3


def test_distinct_values_are_divided_evenly():
    assert name_thirds([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == ["middle", "close", "close", "far", "far", "middle"]


def test_thirds_of_two_say_nothing():
    assert name_thirds([1.0, 2.0]) == ["", ""]
    assert name_thirds([1.0, 1.0, 1.0]) == ["close"] * 3
