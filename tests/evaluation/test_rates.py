from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from patchshift.evaluation.image_metrics import DECISION_METRICS, Confusion, Ratio
from patchshift.evaluation.rates import (
    Estimates,
    compare_within,
    correlate_pairs,
    decision_interval,
    estimate_rates,
    join_estimates,
    pair_correlation,
)

Bool = npt.NDArray[np.bool_]

TABLES = st.tuples(*[st.integers(0, 40)] * 4).filter(lambda table: sum(table) > 0)
CLASSES = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda sizes: st.tuples(*(st.tuples(st.integers(0, size), st.just(size)) for size in sizes))
)
MADE_OF_RATES = sorted(set(DECISION_METRICS) - {"f1_floor"})


def pair(both: int, one: int, other: int, neither: int) -> tuple[Bool, Bool]:
    """Two decisions on the same images, by how many images have which."""
    counts = (both, one, other, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def paired(*table: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """First rate minus second, with its interval."""
    sides = pair(*table)
    counts = [(int(side.sum()), len(side)) for side in sides]
    return estimate_rates(counts, confidence, correlate_pairs(sides)).combine([1, -1])


def test_paired_differences_are_newcombes_method_10() -> None:
    # airway hyper-responsiveness before and after transplantation (Fagerland, Lydersen and Laake 2014)
    assert paired(1, 1, 7, 12) == pytest.approx((-6 / 21, -0.507, -0.026), abs=5e-4)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17, 873-890), table II, method 10
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_independent_differences_are_newcombes_hybrid_score_interval(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    _, *ends = estimate_rates([first, second], 0.95).combine([1, -1])
    assert ends == pytest.approx((low, high), abs=5e-5)


@given(TABLES, st.sampled_from([0.8, 0.95, 0.99]))
def test_a_paired_difference_lies_in_its_interval_which_is_no_point_and_within_one(
    table: tuple[int, ...], confidence: float
) -> None:
    value, low, high = paired(*table, confidence=confidence)
    assert -1 <= low <= value <= high <= 1
    assert high - low > 1 / (sum(table) + 10) / 10


def test_a_difference_of_all_images_is_not_certain() -> None:
    """A bootstrap of equal differences has no length: it would say 1 (1 to 1) and 0 (0 to 0)."""
    assert paired(0, 20, 0, 0) == pytest.approx((1, 0.772, 1), abs=5e-4)
    assert paired(20, 0, 0, 0) == pytest.approx((0, -0.161, 0.161), abs=5e-4)


@given(TABLES)
def test_the_difference_the_other_way_round_is_minus_it(table: tuple[int, int, int, int]) -> None:
    both, one, other, neither = table
    value, low, high = paired(both, one, other, neither)
    assert paired(both, other, one, neither) == pytest.approx((-value, -high, -low))


@pytest.mark.parametrize("rates", [(0.05, 0.85), (0.1, 0.2), (0.5, 0.55), (0.15, 0.4), (0.9, 0.98)])
def test_paired_intervals_cover_the_true_difference_about_as_often_as_they_say(rates: tuple[float, float]) -> None:
    # an image that is hard for the one is hard for the other: both are decided by one number each, and one in common
    generator = np.random.default_rng(3)
    drawn = 0
    for _ in range(1500):
        hard = generator.random(20)
        own = [np.where(generator.random(20) < 0.6, hard, generator.random(20)) < rate for rate in rates]
        counts = [(int(side.sum()), 20) for side in own]
        _, low, high = estimate_rates(counts, 0.95, correlate_pairs(own)).combine([1, -1])
        drawn += low <= rates[0] - rates[1] <= high
    assert 0.93 <= drawn / 1500 <= 0.995


def test_a_mean_over_categories_covers_the_true_difference() -> None:
    generator = np.random.default_rng(4)
    rates = np.array([[0.02, 0.9], [0.1, 0.3], [0.0, 0.05]])
    truth, covered = float((rates[:, 0] - rates[:, 1]).mean()), 0
    for _ in range(600):
        parts = []
        for before, after in rates:
            hard = generator.random(20)
            own = [hard < before, np.where(generator.random(20) < 0.5, hard, generator.random(20)) < after]
            parts.append(estimate_rates([(int(side.sum()), 20) for side in own], 0.95, correlate_pairs(own)))
        _, low, high = join_estimates(parts).combine(np.tile([1 / 3, -1 / 3], 3))
        covered += low <= truth <= high
    assert 0.93 <= covered / 600 <= 0.99


def test_a_difference_within_strata_is_not_that_of_all_together() -> None:
    # Simpson: the first is better in each stratum, and worse in all together
    strata = [((81, 87), (234, 270)), ((192, 263), (55, 80))]
    value, low, high = compare_within(strata, 0.95)
    # Greenland and Robins 1985, the risk difference
    above = (81 * 270 - 234 * 87) / 357 + (192 * 80 - 55 * 263) / 343
    assert value == pytest.approx(above / (87 * 270 / 357 + 263 * 80 / 343))
    assert low < value < high
    assert value > 0 > 273 / 350 - 289 / 350


def test_one_stratum_is_newcombes_interval_and_strata_weigh_by_their_images() -> None:
    alone = compare_within([((56, 70), (48, 80))], 0.95)
    assert alone == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    value, _, _ = compare_within([((10, 10), (0, 10)), ((0, 30), (0, 30))], 0.95)
    assert value == pytest.approx(5 / (5 + 15))


def test_phi_is_shrunk_where_it_is_positive_alone() -> None:
    assert pair_correlation(*pair(10, 2, 2, 10)) == pytest.approx((100 - 4 - 12) / 144)
    assert pair_correlation(*pair(2, 10, 10, 2)) == pytest.approx((4 - 100) / 144)
    assert pair_correlation(*pair(5, 4, 1, 1)) == 0  # 5 - 4 is less than half of 11 images
    assert pair_correlation(*pair(9, 0, 3, 0)) == 0  # one of the two never varies


def test_a_ratio_of_normal_estimates_has_fiellers_interval() -> None:
    before, after, half_before, half_after = 0.9, 0.6, 0.05, 0.08
    halves = np.array([half_before, half_after])
    values = np.array([before, after])
    found = Estimates(values, values - halves, values + halves, np.eye(2)).divide([0, 1], [1, 0])
    ends = np.roots([before**2 - half_before**2, -2 * after * before, after**2 - half_after**2])
    assert found[0] == pytest.approx(after / before)
    assert found[1] == pytest.approx(sorted(ends))


def test_a_ratio_has_no_interval_where_its_denominator_may_be_nothing() -> None:
    rates = estimate_rates([(1, 20), (0, 20)], 0.95)
    share, interval = rates.divide([0.5, -0.5], [1, -1])  # 0.05 less 0: not told from nothing
    assert (share, interval) == (pytest.approx(0.5), None)


def test_a_share_that_is_all_of_it_is_not_certain() -> None:
    """All images found, none, all again: all that was lost is back, on twenty images."""
    clean, dark, adapted = np.ones(20, bool), np.zeros(20, bool), np.ones(20, bool)
    sides = (clean, dark, adapted)
    rates = estimate_rates([(int(side.sum()), 20) for side in sides], 0.95, correlate_pairs(sides))
    share, interval = rates.divide([0, -1, 1], [1, -1, 0])
    assert share == 1
    assert interval is not None
    low, high = interval
    assert low < 0.9 < 1.1 < high


@settings(deadline=None)
@given(CLASSES, st.sampled_from(MADE_OF_RATES))
def test_the_interval_of_a_decision_metric_holds_it_and_is_no_point(
    classes: tuple[tuple[int, int], tuple[int, int]], name: str
) -> None:
    (tp, anomalous), (fp, normal) = classes
    confusion = Confusion(tp, fp, normal - fp, anomalous - tp)
    value = float(DECISION_METRICS[name](confusion))
    if np.isnan(value):
        return
    low, high = decision_interval(DECISION_METRICS[name], confusion, 0.95)
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.01


@pytest.mark.parametrize("name", ["f1", "accuracy", "balanced_accuracy", "precision"])
@pytest.mark.parametrize("rates", [(0.9, 0.1), (0.7, 0.2), (0.98, 0.02), (1.0, 0.05), (0.95, 0.9), (0.5, 0.5)])
def test_intervals_of_decision_metrics_cover_the_truth(name: str, rates: tuple[float, float]) -> None:
    """Exactly, over all tables of 30 defective and 20 good images (a BCa bootstrap does a third of the time)."""
    recall, alarm = rates
    metric, (anomalous, normal) = DECISION_METRICS[name], (30, 20)
    scale = 10_000  # whole numbers whose ratio is the truth
    found, flagged = round(anomalous * recall * scale), round(normal * alarm * scale)
    truth = float(metric(Confusion(found, flagged, normal * scale - flagged, anomalous * scale - found)))
    if name == "balanced_accuracy":
        truth = (recall + 1 - alarm) / 2
    covered = defined = 0.0
    for tp, fp in product(range(anomalous + 1), range(normal + 1)):
        chance = binom.pmf(tp, anomalous, recall) * binom.pmf(fp, normal, alarm)
        confusion = Confusion(tp, fp, normal - fp, anomalous - tp)
        if chance < 1e-5 or np.isnan(metric(confusion)):
            continue
        low, high = decision_interval(metric, confusion, 0.95)
        defined, covered = defined + chance, covered + chance * (low - 1e-9 <= truth <= high + 1e-9)
    assert 0.91 <= covered / defined <= 0.99


@pytest.mark.parametrize("name", ["recall", "specificity", "miss_rate", "false_alarm_rate"])
def test_of_a_single_rate_it_is_wilsons(name: str) -> None:
    confusion = Confusion(tp=25, fp=3, tn=17, fn=5)
    counts = {"recall": (25, 30), "specificity": (17, 20), "miss_rate": (5, 30), "false_alarm_rate": (3, 20)}
    wilson = estimate_rates([counts[name]], 0.95)
    found = decision_interval(DECISION_METRICS[name], confusion, 0.95)
    assert found == pytest.approx((wilson.low[0], wilson.high[0]), abs=1e-9)


def test_a_class_without_images_says_nothing() -> None:
    confusion = Confusion(tp=0, fp=3, tn=17, fn=0)
    wilson = estimate_rates([(17, 20)], 0.95)
    found = decision_interval(DECISION_METRICS["accuracy"], confusion, 0.95)
    assert found == pytest.approx((wilson.low[0], wilson.high[0]), abs=1e-9)


def test_a_metric_of_products_is_refused() -> None:
    product_of_both = Ratio(lambda c: c.tp * c.tn, lambda c: c.anomalous * c.normal, lambda c: c.anomalous, "")
    with pytest.raises(ValueError, match="ratio of sums of counts"):
        decision_interval(product_of_both, Confusion(5, 1, 4, 2), 0.95)
