import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.report.analyses.digits import FEWEST, MOST, count_decimals, round_off, show_ends, show_value

shares = st.floats(0, 1)


@given(st.tuples(shares, shares, shares).map(sorted))
def test_a_printed_value_lies_in_its_printed_interval_with_as_many_decimals_as_its_ends(ends):
    low, value, high = ends
    shown = [show_value(value, low, high), *show_ends(value, low, high)]
    assert len({len(text.partition(".")[2]) for text in shown}) == 1
    number, lowest, highest = map(float, shown)
    assert lowest <= number <= highest


@given(st.tuples(shares, shares, shares).map(sorted))
def test_rounding_moves_a_value_out_of_its_interval_only_where_no_more_digits_are_printed(ends):
    low, value, high = ends
    decimals = count_decimals(value, low, high)
    assert FEWEST <= decimals <= MOST
    assert decimals == MOST or low <= round(value, decimals) <= high


@given(st.floats(0.01, 0.3), st.floats(0.3, 0.7))
def test_the_last_digit_is_worth_a_35th_to_a_3rd_of_half_the_interval(half, value):
    step = 10.0 ** -count_decimals(value, value - half, value + half)
    assert half / 35.6 <= step <= half / 3.5


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((0.9633, 0.9117, 0.9967), "0.96 0.91 1.00"),
        ((0.957, 0.947, 0.966), "0.957 0.947 0.966"),
        ((0.5, 0.4646, 0.5355), "0.500 0.465 0.535"),  # half of 0.03545 begins with 35: two digits
        ((0.5, 0.4640, 0.5360), "0.50 0.46 0.54"),
        ((0.5, 0.1, 0.9), "0.50 0.10 0.90"),  # never fewer than two decimals
        ((0.99876, 0.99874, 0.99878), "0.999 0.999 0.999"),  # nor more than three
        ((0.9956, 0.90, 0.9958), "0.996 0.900 0.996"),  # two decimals would print 1.00
        ((1.0, 1.0, 1.0), "1.000 1.000 1.000"),
        ((-0.5, -0.75, 0.25), "−0.50 −0.75 0.25"),
    ],
)
def test_digits_of_estimates(estimate, text):
    assert " ".join([show_value(*estimate), *show_ends(*estimate)]) == text


def test_without_an_interval_there_is_no_uncertainty_to_heed():
    assert show_value(0.75) == "0.750"


@pytest.mark.parametrize(
    ("number", "text"), [(0.02, "+0.02"), (-0.02, "−0.02"), (-0.001, "0.00"), (0.001, "0.00"), (0.0, "0.00")]
)
def test_signs_are_printed_but_of_zero(number, text):
    assert round_off(number, 2, signed=True) == text
