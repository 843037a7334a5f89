"""Metrics that have a value and metrics that have a reason for having none."""

Interval = tuple[float, float]
"""(low, high)."""
Estimate = dict[str, float] | dict[str, str]
"""`{"value": v, "low": l, "high": h}` (no ends where there is no interval) or `{"undefined": reason}`."""


class Undefined(Exception):
    """The quantity does not exist for this input; the message is the reason, in words a report can print."""


def estimate(value: float, interval: Interval | None) -> dict[str, float]:
    """A defined metric with its interval, where it has one."""
    ends = {"low": float(interval[0]), "high": float(interval[1])} if interval else {}
    return {"value": float(value), **ends}


def undefined(reason: str) -> dict[str, str]:
    """A metric without a value, and why."""
    return {"undefined": reason}
