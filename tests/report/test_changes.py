import pytest

from patchshift.evaluation.rates import estimate_rates
from patchshift.report.analyses.robustness import COLUMNS
from patchshift.report.results import Value
from patchshift.report.sections.changes import read_estimate, show_range, turn, word_domain, word_share


def say(rows, categories):
    return " ".join(word_domain(rows, categories))


SURE = 0.05  # half an interval


def made(condition, categories=2, **changes):
    """A row of robustness.csv; of each column named, the value with an interval around it."""
    row = dict.fromkeys(COLUMNS, "") | {"condition": condition, "categories": str(categories), "domain": "dark"}
    row |= {"reference_domain": "clean", "miss_rate": "0", "false_alarm_rate": "0", "f1_floor": "0.6"}
    for name, value in changes.items():
        ends = {"": value, "_low": value - SURE, "_high": value + SURE}
        row |= {f"{name}{end}": repr(number) for end, number in ends.items()}
    return row


def test_changes_are_told_with_their_sign_and_both_sides_of_a_threshold():
    none = made(
        "no adaptation", image_auroc_loss=0.21, image_auroc_loss_above_chance=0.434, recall_loss=-0.07,
        specificity_loss=0.8, f1_loss=0.1, f1=0.62,
    )  # fmt: skip
    recalibrated = made(
        "recalibrated", image_auroc_recovery=0.0, recall_recovery=-0.38, specificity_recovery=0.78,
        specificity_recovery_relative=0.975,
    )  # fmt: skip
    assert say([none, recalibrated, made("adapted", 0)], 2) == (
        "Used as it is, image AUROC falls by 0.21 (0.16 to 0.26), 43 % (38 to 48) of what it was above chance; "
        "F1 falls by 0.10 (0.05 to 0.15) to 0.62, not told from its floor of 0.600; "
        "misses fall by 7 of 100 (2 to 12); "
        "false alarms rise by 80 of 100 (75 to 85). "
        "With a threshold from shifted images instead, misses rise by 38 of 100 (33 to 43); "
        "false alarms fall by 78 of 100 (73 to 83), 98 % (92 to 102) of what the shift cost."
    )


@pytest.mark.parametrize(("f1", "standing"), [(0.54, "below"), (0.55, "not told from"), (0.66, "above")])
def test_f1_stands_beside_its_floor(f1, standing):
    row = made("no adaptation", f1_loss=0.2, f1=f1)
    assert say([row], 2).endswith(f"to {f1:.2f}, {standing} its floor of 0.600.")


def test_intervals_that_hold_zero_are_no_change():
    none = made("no adaptation", image_auroc_loss=0.05, image_auroc_loss_above_chance=0.1, specificity_loss=-0.04)
    adapted = made("adapted", image_auroc_recovery=0.04, recall_recovery=-0.05)
    assert say([none, adapted], 2) == (
        "Used as it is, no figure is told apart from the one in clean. With bank and threshold from shifted images "
        "instead, no figure is told apart from the one without adaptation."
    )


def test_a_gain_is_no_share_of_a_loss():
    none = made("no adaptation", image_auroc_loss=-0.1, image_auroc_loss_above_chance=-0.4)
    adapted = made("adapted", image_auroc_recovery=-0.2, image_auroc_recovery_relative=-2.0)
    assert say([none, adapted], 2) == (
        "Used as it is, image AUROC rises by 0.10 (0.05 to 0.15). With bank and threshold from shifted images instead, "
        "image AUROC falls by 0.20 (0.15 to 0.25)."
    )


def test_what_stands_alone_is_measured_against_the_reference_domain():
    adapted = made("adapted", 1, image_auroc_loss=0.2, image_auroc_loss_above_chance=0.5)
    assert say([made("no adaptation", 0), made("recalibrated", 0), adapted], 2) == (
        "With bank and threshold from shifted images (measured on 1 of 2 categories), image AUROC falls by 0.20 "
        "(0.15 to 0.25), 50 % (45 to 55) of what it was above chance."
    )
    assert say([made("adapted", 0)], 2) == ""


def test_a_share_without_an_interval_is_not_said():
    none = made("no adaptation", image_auroc_loss=0.2) | {"image_auroc_loss_above_chance": "0.5"}
    assert say([none], 2) == "Used as it is, image AUROC falls by 0.20 (0.15 to 0.25)."


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (Value(0.84, 0.712, 0.958), ", 84 % (71 to 96) of what the shift cost"),
        (Value(1.0, 0.81, 1.21), ", 100 % (81 to 121) of what the shift cost"),
        (Value(1.08, 0.94, 1.31), ", not told from all that the shift cost (94 to 131 % of it)"),
        (Value(1.2, 1.04, 1.4), ", more than the shift cost: 120 % (104 to 140) of it"),
        (Value(1.08), ""),
        (Value(None), ""),
    ],
)
def test_more_than_all_is_said_only_where_the_interval_says_so(share, said):
    assert word_share(share, "the shift cost") == said


def test_no_change_of_rates_is_said_as_if_it_were_certain():
    """All of twenty images: Newcombe's interval, where that of equal resamples would be (100 to 100)."""
    rates = estimate_rates([(0, 20), (20, 20)], 0.95)
    value, low, high = rates.combine([-1, 1])
    row = made("no adaptation", specificity_loss=0.0)
    ends = {"": value, "_low": low, "_high": high}
    row |= {f"specificity_loss{end}": repr(number) for end, number in ends.items()}
    assert say([row], 2) == "Used as it is, false alarms rise by 100 of 100 (77 to 100)."


def test_undefined_rates_have_their_reason():
    row = made("no adaptation") | {"miss_rate": "", "undefined": "no validation image"}
    assert say([row], 2).endswith("Where misses and false alarms are undefined: no validation image.")


def test_a_value_turns_with_its_ends():
    assert turn(Value(0.2, 0.1, 0.4)) == Value(-0.2, -0.4, -0.1)
    assert turn(Value(None)) == Value(None)
    assert str(turn(Value(0.0)).value) == "0.0"
    assert read_estimate({"f1": "", "f1_low": "", "f1_high": ""}, "f1").value is None
    assert [show_range(value) for value in (Value(0.2), Value(0.2, 0.1, 0.4))] == ["0.200", "0.20 (0.10 to 0.40)"]
