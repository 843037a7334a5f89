"""Metrics that have a value and metrics that have a reason for having none."""

Interval = tuple[float, float]
"""(low, high)."""
Estimate = dict[str, float] | dict[str, str]
"""`{"value": v, "low": l, "high": h}` or `{"undefined": reason}`: what metric files hold for each metric."""


class Undefined(Exception):
    """The quantity does not exist for this input; the message is the reason, in words a report can print."""


def estimate(value: float, interval: Interval) -> dict[str, float]:
    """A defined metric with its interval."""
    return {"value": float(value), "low": float(interval[0]), "high": float(interval[1])}


def undefined(reason: str) -> dict[str, str]:
    """A metric without a value, and why."""
    return {"undefined": reason}
