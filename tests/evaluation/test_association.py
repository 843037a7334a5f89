import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, spearmanr

from patchshift.evaluation.association import name_thirds, slope_through_origin, spearman

OPTIONS = {"resamples": 500, "confidence": 0.9, "seed": 0}
NUMBERS = st.lists(st.integers(0, 6), min_size=5, max_size=12)


def noisy(count, noise=0.3):
    generator = np.random.default_rng(1)
    x = generator.uniform(0, 1, count)
    return x, x + generator.normal(0, noise, count)


@given(NUMBERS, st.randoms(use_true_random=False))
def test_correlation_equals_that_of_scipy_ties_included(x, random):
    y = [random.randint(0, 6) for _ in x]
    found = spearman(x, y, resamples=100, confidence=0.9, seed=0)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found == {"undefined": "all pairs are equal"}
    else:
        assert found["value"] == pytest.approx(spearmanr(x, y).statistic)


def test_interval_is_the_percentile_bootstrap_over_pairs():
    x, y = noisy(25)
    found = spearman(x, y, resamples=4000, confidence=0.9, seed=0)
    expected = bootstrap(
        (x, y), lambda *pairs: spearmanr(*pairs).statistic, paired=True, vectorized=False, n_resamples=1500,
        confidence_level=0.9, method="percentile", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_order_is_all_that_counts():
    x, y = noisy(12)
    assert spearman(x, y, **OPTIONS) == spearman(np.exp(5 * x), y**3, **OPTIONS)
    assert spearman(x, x, **OPTIONS)["value"] == pytest.approx(1)
    assert spearman(x, -x, **OPTIONS)["value"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("count", "expected"), [(4, {"undefined": "fewer than 5 pairs"}), (0, {"undefined": "fewer than 5 pairs"})]
)
def test_few_pairs_have_no_correlation(count, expected):
    assert spearman(range(count), range(count), **OPTIONS) == expected


def test_equal_seeds_give_equal_intervals():
    x, y = noisy(10)
    assert spearman(x, y, **OPTIONS) == spearman(x, y, **OPTIONS)
    assert spearman(x, y, **OPTIONS) != spearman(x, y, **{**OPTIONS, "seed": 1})


def test_slope_is_least_squares_without_an_intercept():
    x, y = noisy(20)
    found = slope_through_origin(x, y, **OPTIONS)
    assert found["value"] == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])
    assert found["low"] < found["value"] < found["high"]


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
