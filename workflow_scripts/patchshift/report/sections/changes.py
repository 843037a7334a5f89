"""What rows of `robustness.csv` say in words: what changes in a shifted domain, as far as paired intervals tell.

Plain text. Tested in tests/report/test_changes.py.
"""

from collections.abc import Sequence

from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.analyses.losses import is_above_zero
from patchshift.report.analyses.robustness import LOSSES
from patchshift.report.conditions import ADAPTED, NO_ADAPTATION, RECALIBRATED
from patchshift.report.pairing import hundredths
from patchshift.report.results import Value, read_estimate

_OPENINGS = {
    NO_ADAPTATION: "Used as it is",
    RECALIBRATED: "With a threshold from shifted images",
    ADAPTED: "With bank and threshold from shifted images",
}
_NAMES = {"image_auroc": "image AUROC", "f1": "F1"}
_RATES = {"recall": "misses", "specificity": "false alarms"}  # which rise as these fall

Row = dict[str, str]


def word_domain(rows: Sequence[Row], categories: int) -> list[str]:
    """What a shifted domain costs a setup and what comes back, as far as intervals tell: a sentence per condition.

    Args:
        rows: the conditions in one domain; those that were not measured say nothing.
        categories: how many the setup was scored on elsewhere.
    """
    measured = [row for row in rows if int(row["categories"])]
    said = [_word_condition(row, measured[0], categories) for row in measured]
    reason = next((row["undefined"] for row in measured if not row["miss_rate"] or not row["false_alarm_rate"]), "")
    if reason:
        said.append(f"Where misses and false alarms are undefined: {reason}.")
    return said


def _word_condition(row: Row, first: Row, categories: int) -> str:
    """How one condition differs from the reference domain or, where that was measured, from no adaptation.

    Misses and false alarms are told together, and F1 with its floor: neither is anything without the other.
    """
    opening = _OPENINGS[row["condition"]]
    if int(row["categories"]) < categories:
        opening += f" (measured on {row['categories']} of {categories} categories)"
    if row["condition"] == NO_ADAPTATION or first["condition"] != NO_ADAPTATION:
        changes = {metric: turn(read_estimate(row, f"{metric}_loss")) for metric in LOSSES}
        worse, share, whole = True, "{metric}_loss_above_chance", "it was above chance"
        nothing = f"no figure is told apart from the one in {row['reference_domain']}"
    else:
        opening += " instead"
        changes = {metric: read_estimate(row, f"{metric}_recovery") for metric in LOSSES}
        worse, share, whole = False, "{metric}_recovery_relative", "the shift cost"
        nothing = "no figure is told apart from the one without adaptation"
    said = []
    for metric, change in changes.items():
        falls = is_above_zero(turn(change))
        part = read_estimate(row, share.format(metric=metric)) if falls == worse else Value(None)
        if falls or is_above_zero(change):
            said.append(_word_change(row, metric, change, word_share(part, whole)))
    return f"{opening}, {'; '.join(said) or nothing}."


def _word_change(row: Row, metric: str, change: Value, part: str) -> str:
    """`image AUROC falls by 0.21 (0.16 to 0.26)`, and what part that is of something."""
    falls = change.value is not None and change.value < 0
    size = turn(change) if falls else change
    if metric not in _RATES:
        said = f"{_NAMES[metric]} {'falls' if falls else 'rises'} by {show_range(size)}"
        value, floor = read_estimate(row, metric), read_estimate(row, "f1_floor")
        if metric != "f1" or value.value is None or floor.value is None:
            return f"{said}{part}"
        standing = "not told from"
        if value.low is not None and value.high is not None and not value.low <= floor.value <= value.high:
            standing = "above" if value.low > floor.value else "below"
        reached = show_value(value.value, value.low, value.high)
        return f"{said} to {reached}{part}, {standing} its floor of {show_value(floor.value)}"
    name = _RATES[metric]
    assert size.value is not None
    assert size.low is not None
    assert size.high is not None
    ends = f"{hundredths(size.low)} to {hundredths(size.high)}"
    return f"{name} {'rise' if falls else 'fall'} by {hundredths(size.value)} of 100 ({ends}){part}"


def word_share(share: Value, whole: str) -> str:
    """`, 84 % (71 to 96) of what the shift cost`; empty without an interval.

    A share beyond 100 % is said only where its interval lies there; else it is not told from all.

    Args:
        share: what is lost or back, as a share.
        whole: what it is a share of, as in "what the shift cost".
    """
    if share.value is None or share.low is None or share.high is None:
        return ""
    number, low, high = (f"{100 * end:.0f}" for end in (share.value, share.low, share.high))
    if share.low > 1:
        return f", more than {whole}: {number} % ({low} to {high}) of it"
    if share.value > 1:
        return f", not told from all that {whole} ({low} to {high} % of it)"
    return f", {number} % ({low} to {high}) of what {whole}"


def show_range(value: Value) -> str:
    """`0.213 (0.088 to 0.347)`."""
    assert value.value is not None
    shown = show_value(value.value, value.low, value.high)
    if value.low is None or value.high is None:
        return shown
    return f"{shown} ({' to '.join(show_ends(value.value, value.low, value.high))})"


def turn(value: Value) -> Value:
    """Minus a value."""
    turned = [None if end is None else 0.0 - end for end in (value.value, value.high, value.low)]  # never -0.0
    return Value(turned[0], turned[1], turned[2])
