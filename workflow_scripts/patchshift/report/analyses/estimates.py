"""Estimates with intervals, and what is made of several whose test images are independent.

Tested in tests/report/test_estimates.py.
"""

from collections.abc import Sequence

import numpy as np

from patchshift.report.results import Value

REFERENCE_IS_ZERO = "the reference is 0"


def mean_value(values: Sequence[Value]) -> Value:
    """The mean of estimates of independent test images, from their own intervals, where they are defined.

    The interval reaches below the mean as far as the root of the summed squares of what the single ones reach below
    theirs, divided by their number, and above likewise (Zou and Donner 2008, "MOVER").
    """
    defined = [value for value in values if value.value is not None]
    if not defined:
        return Value(None, undefined=next((value.undefined for value in values), "no category"))
    centre = np.array([value.value for value in defined], np.float64)
    mean = float(centre.mean())
    ends = np.array([[value.low, value.high] for value in defined], np.float64)  # NaN where there is none
    below, above = (float(np.sqrt(np.square(ends[:, side] - centre).sum())) / len(centre) for side in (0, 1))
    return Value(mean) if np.isnan(below + above) else Value(mean, mean - below, mean + above)


def value_lost(reference: Value, value: Value) -> Value:
    """Reference minus value, of independent test images, from their own intervals (Zou and Donner 2008, "MOVER")."""
    if reference.value is None or value.value is None:
        return Value(None, undefined=reference.undefined or value.undefined)
    loss = reference.value - value.value
    (before, before_low, before_high), (after, after_low, after_high) = _ends(reference), _ends(value)
    below, above = np.hypot(before - before_low, after_high - after), np.hypot(before_high - before, after - after_low)
    return Value(loss) if np.isnan(below + above) else Value(loss, float(loss - below), float(loss + above))


def value_lost_relative(reference: Value, value: Value) -> Value:
    """What is lost, as a share of the reference, likewise (Donner and Zou 2012, equation 9); only where that is not 0.

    It is 1 minus the ratio of value and reference; neither is negative. There is no interval where the reference is as
    near to 0 as its own interval reaches: the ratio has no bounds then.
    """
    if reference.value is None or value.value is None:
        return Value(None, undefined=reference.undefined or value.undefined)
    if reference.value == 0:
        return Value(None, undefined=REFERENCE_IS_ZERO)
    (before, before_low, before_high), (after, after_low, after_high) = _ends(reference), _ends(value)
    share = 1 - after / before
    if np.isnan(before_low + after_low) or before_low <= 0 or before_high >= 2 * before:
        return Value(share)
    product = after * before
    least, most = (
        (product + sign * np.sqrt(max(0, product**2 - end * other * (2 * after - end) * (2 * before - other))))
        / (other * (2 * before - other))
        for sign, end, other in ((-1, after_low, before_high), (1, after_high, before_low))
    )
    return Value(share, float(1 - most), float(1 - least))


def _ends(value: Value) -> tuple[float, float, float]:
    """A number and its interval; NaN where there is none."""
    low, high = (np.nan if end is None else end for end in (value.low, value.high))
    return float(value.value or 0), float(low), float(high)


def as_columns(name: str, value: Value) -> dict[str, float | None]:
    """An estimate as three columns; what is not a finite number is empty."""
    numbers = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return {key: None if number is None or not np.isfinite(number) else number for key, number in numbers.items()}


def columns_of(name: str) -> list[str]:
    """The columns of `as_columns`."""
    return [name, f"{name}_low", f"{name}_high"]
