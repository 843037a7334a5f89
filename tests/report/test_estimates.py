import numpy as np
import pytest

from patchshift.report.analyses.estimates import as_columns, mean_value, value_lost, value_lost_relative
from patchshift.report.results import Value


def ends(value):
    return value.value, value.low, value.high


def test_columns_hold_finite_numbers_alone():
    assert as_columns("loss", Value(0.1, -np.inf, np.nan)) == {"loss": 0.1, "loss_low": None, "loss_high": None}
    assert as_columns("loss", Value(np.inf)) == {"loss": None, "loss_low": None, "loss_high": None}


def test_mean_of_independent_estimates_combines_their_intervals():
    found = mean_value([Value(0.8, 0.7, 0.85), Value(0.6, 0.5, 0.65), Value(None)])
    assert ends(found) == pytest.approx((0.7, 0.7 - np.hypot(0.1, 0.1) / 2, 0.7 + np.hypot(0.05, 0.05) / 2))
    assert mean_value([Value(0.8, 0.7, 0.85)]) == Value(0.8, pytest.approx(0.7), pytest.approx(0.85))
    assert mean_value([Value(0.8), Value(0.6, 0.5, 0.7)]) == Value(pytest.approx(0.7))
    assert mean_value([Value(None, undefined="no masks")]).undefined == "no masks"


def test_interval_of_a_mean_covers_that_of_normal_estimates():
    """Of normal estimates the interval is the one that their variances add up to."""
    spread = 1.96 * np.array([0.1, 0.2, 0.3])
    found = mean_value([Value(0.0, -half, half) for half in spread])
    assert found.high == pytest.approx(1.96 * np.sqrt(0.1**2 + 0.2**2 + 0.3**2) / 3)


def test_interval_of_a_loss_is_that_of_a_difference_of_normal_estimates():
    found = value_lost(Value(0.9, 0.87, 0.93), Value(0.6, 0.56, 0.64))
    assert ends(found) == pytest.approx((0.3, 0.3 - 0.05, 0.3 + 0.05))


def test_lopsided_ends_reach_the_side_of_the_loss_that_they_move():
    found = value_lost(Value(0.9, 0.6, 0.9), Value(0.5, 0.5, 0.9))
    assert ends(found) == pytest.approx((0.4, 0.4 - 0.5, 0.4))


def test_interval_of_a_relative_loss_is_fiellers_for_normal_estimates():
    """Fieller's ends of the ratio R of a and h solve (a - R h)^2 = A^2 + R^2 H^2, A and H half their intervals."""
    before, after, half_before, half_after = 0.9, 0.6, 0.05, 0.08
    found = value_lost_relative(
        Value(before, before - half_before, before + half_before), Value(after, after - half_after, after + half_after)
    )
    ratios = np.roots([before**2 - half_before**2, -2 * after * before, after**2 - half_after**2])
    assert ends(found) == pytest.approx((1 - after / before, 1 - ratios.max(), 1 - ratios.min()))


def test_a_loss_without_sides_or_ends_has_neither():
    known, missing = Value(0.9, 0.8, 0.95), Value(None, undefined="no masks")
    assert value_lost(known, missing) == value_lost_relative(missing, known) == missing
    assert value_lost(known, Value(0.5)) == Value(pytest.approx(0.4))
    assert value_lost_relative(Value(0.9), known) == Value(0.0)
    assert value_lost_relative(Value(0.0, 0.0, 0.1), known).undefined == "the reference is 0"
    for low, high in ((0.0, 0.15), (0.05, 0.2), (0.05, 0.25)):  # as far from 0.1 as 0 is, or farther
        assert value_lost_relative(Value(0.1, low, high), known) == Value(pytest.approx(-8.0))
