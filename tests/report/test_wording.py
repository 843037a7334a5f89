import pytest

from patchshift.report.pairing import Share, Summary
from patchshift.report.results import Value
from patchshift.report.wording import describe_difference, describe_shift, join_words, list_changes


def summary(auroc, misses=(5, 0.02, 0.1), alarms=(5, 0.02, 0.1)):
    shares = [Share(count, 100, low, high) for count, low, high in (misses, alarms)]
    return Summary(Value(*auroc), *shares, categories=1, reason="")


def test_overlapping_intervals_are_no_change():
    assert list_changes(summary((0.9, 0.8, 1.0)), summary((0.7, 0.5, 0.85))) == []


def test_separate_intervals_are_a_change_with_its_direction():
    before, after = summary((0.9, 0.8, 1.0)), summary((0.6, 0.5, 0.7), alarms=(80, 0.7, 0.9))
    assert list_changes(before, after) == [
        "image AUROC falls from 0.900 to 0.600",
        "false alarms rise from 5 to 80 of 100 good images",
    ]


def test_undefined_figures_do_not_change():
    nothing = Summary(Value(None, undefined="no image"), None, None, 1, "no validation image")
    assert list_changes(nothing, summary((0.9, 0.8, 1.0))) == []
    assert describe_shift(nothing, {"no adaptation": nothing}) == [
        "Used as it is, no figure is told apart from the one in domain.",
        "Where misses and false alarms are undefined: no validation image.",
    ]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Value(0.1, 0.05, 0.15), "A has a higher image AUROC than B, by 0.100, 0.050 to 0.150."),
        (Value(-0.1, -0.15, -0.05), "A has a lower image AUROC than B, by 0.100, 0.050 to 0.150."),
        (Value(0.1, -0.05, 0.25), "do not tell A from B: the difference in image AUROC is 0.100, −0.050 to 0.250."),
        (Value(None, undefined="no image"), "The difference between A and B is undefined: no image."),
    ],
)
def test_difference_claims_no_more_than_its_interval(difference, words):
    assert describe_difference(difference, "A", "B", over="Here").endswith(words)


def test_words_are_joined_as_people_do():
    assert [join_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
