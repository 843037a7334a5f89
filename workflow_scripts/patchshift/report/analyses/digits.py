"""How many digits of a number its interval supports; tables and pages print no more.

The rule is that of the Particle Data Group (Review of Particle Physics, introduction, "Rounding"): of half the width of
the interval, two digits are kept if it begins with 10 to 35, else one, and value and ends are rounded where it ends. So
the last digit printed is worth at least 1/35 of that half, and rounding moves no number by more than 1/7 of it. Between
two decimals, so that a share stays readable, and three: with the intervals that test sets give, that means three
decimals where the half-width is below 0.0355, else two.
Tested in tests/report/test_digits.py.
"""

import math

FEWEST, MOST = 2, 3
"""Decimals of a share."""
MINUS = "\N{MINUS SIGN}"


def count_decimals(value: float, low: float | None = None, high: float | None = None) -> int:
    """How many decimals a value and the ends of its interval are printed with: the same for all three.

    Without an interval there is no uncertainty to heed: a property of the test set, say. A value that fewer decimals
    would move out of its interval, such as 0.996 of 0.960 to 0.998, has the most.
    """
    if low is None or high is None:
        return MOST
    half = (high - low) / 2
    if half <= 0 or not low <= round(value, FEWEST) <= high:
        return MOST
    exponent = math.floor(math.log10(half))
    leading = half / 10**exponent
    decimals = -exponent + (1 if leading < 3.55 else 0)
    return min(MOST, max(FEWEST, decimals))


def round_off(number: float, decimals: int, *, signed: bool = False) -> str:
    """`0.91`, `−0.03`, signed `+0.02`; never a negative zero."""
    text = f"{number:+.{decimals}f}" if signed else f"{number:.{decimals}f}"
    if not float(text):
        return f"{0:.{decimals}f}"
    return text.replace("-", MINUS)


def show_value(value: float, low: float | None = None, high: float | None = None, *, signed: bool = False) -> str:
    """The value alone, with the digits that its interval supports."""
    return round_off(value, count_decimals(value, low, high), signed=signed)


def show_ends(value: float, low: float, high: float, *, signed: bool = False) -> tuple[str, str]:
    """The ends of its interval, with the digits of the value."""
    decimals = count_decimals(value, low, high)
    return round_off(low, decimals, signed=signed), round_off(high, decimals, signed=signed)
