import pytest

from patchshift.plan.cells import Bank, Cell, NaturalShift, Target
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.ladder import MeanStep
from patchshift.report.pairing import Share, Summary
from patchshift.report.results import Value
from patchshift.report.wording import (
    can_decide,
    describe_aliases,
    describe_changes,
    describe_difference,
    describe_ladder,
    describe_left_out,
    describe_single_losses,
    explain_intervals,
    join_words,
    list_cautions,
    saturated,
)


def summary(auroc, misses=(5, 0.02, 0.1), alarms=(5, 0.02, 0.1)):
    shares = [Share(count, 100, low, high) for count, low, high in (misses, alarms)]
    return Summary(Value(*auroc), *shares, categories=1, reason="")


def test_a_choice_that_works_needs_no_caution():
    assert list_cautions(summary((0.9, 0.8, 1.0))) == []


def test_the_best_of_a_study_is_not_praised_when_it_is_of_no_use():
    assert list_cautions(summary((0.6, 0.4, 0.8), misses=(100, 0.96, 1.0), alarms=(50, 0.4, 0.6))) == [
        "Caution: its interval reaches chance, so these images do not show that it ranks defects at all.",
        "Caution: it misses 100 of 100 defective images: do not use it as it is.",
        "Caution: it flags 50 of 100 good images: do not use it as it is.",
    ]


def test_a_threshold_no_better_than_a_coin_is_not_recommended():
    assert can_decide(summary((0.9, 0.8, 1.0)))
    assert not can_decide(summary((0.9, 0.8, 1.0), misses=(50, 0.4, 0.6)))
    assert not can_decide(summary((0.9, 0.8, 1.0), alarms=(75, 0.6, 0.9)))
    assert not can_decide(Summary(Value(0.9, 0.8, 1.0), None, None, 1, "no validation image"))


def test_one_image_is_no_plural():
    one = Summary(Value(0.9, 0.8, 1.0), Share(0, 1, 0.0, 0.8), Share(0, 40, 0.0, 0.1), 1, "")
    assert list_cautions(one) == ["Only 1 defective image was tested: expect other figures with more."]


def test_intervals_are_said_to_cover_seeds_in_means_over_them_alone():
    said = explain_intervals(EvaluationSpec())
    assert "not that of the split, and that of seeds only in means over several" in said


def test_both_ways_of_telling_setups_apart_are_named_in_the_method():
    said = explain_intervals(EvaluationSpec())
    assert "level (≈, not told from each other) where the interval of their difference on the same resamples" in said
    assert "paired comparisons tell apart has a corrected p" in said


def test_few_test_images_are_said():
    few = Summary(Value(0.9, 0.8, 1.0), Share(0, 3, 0.0, 0.6), Share(0, 40, 0.0, 0.1), 1, "")
    assert list_cautions(few) == ["Only 3 defective images were tested: expect other figures with more."]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Value(0.1, 0.05, 0.15), "A has a higher image AUROC than B, by 0.10, 0.05 to 0.15."),
        (Value(-0.1, -0.15, -0.05), "A has a lower image AUROC than B, by 0.10, 0.05 to 0.15."),
        (Value(0.1, -0.05, 0.25), "do not tell A from B: the difference in image AUROC is 0.10, −0.05 to 0.25."),
        (Value(None, undefined="no image"), "The difference between A and B is undefined: no image."),
    ],
)
def test_difference_claims_no_more_than_its_interval(difference, words):
    assert describe_difference(difference, "A", "B", over="Here").endswith(words)


def test_categories_that_a_shared_bank_serves_worse_or_better_are_named():
    losses = {"weave": Value(0.11, 0.02, 0.23), "nut": Value(0.0, -0.1, 0.1), "disc": Value(-0.2, -0.3, -0.1)}
    assert describe_single_losses(losses) == (
        "On weave alone the shared bank's image AUROC is lower, by 0.11, 0.02 to 0.23. "
        "On disc alone the shared bank's image AUROC is higher, by 0.20, 0.10 to 0.30. "
        "Intervals of single categories are not corrected for their number."
    )
    assert describe_single_losses({"weave": losses["weave"]}) == ""  # the mean says it
    level = {"nut": losses["nut"], "touching": Value(0.1, 0.0, 0.2), "none": Value(None, undefined="no image")}
    assert describe_single_losses(level) == ""


def test_images_left_out_are_counted_by_domain():
    assert describe_left_out({}) == ""
    assert describe_left_out({"dark": 1, "turned": 12}) == (
        "Left out of the comparison, since their defect left the frame or is ignored: 1 image in dark and 12 images in "
        "turned."
    )


def test_words_are_joined_as_people_do():
    assert [join_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


START = Value(0.9, 0.85, 0.95)


def steps(*values, start=START):
    """A ladder of two categories: (mean, upper end of the change) at mild, moderate, severe."""
    later = [
        MeanStep(float(severity), 2, Value(mean, mean - 0.05, mean + 0.05), Value(mean - 0.9, -0.9, high))
        for severity, (mean, high) in enumerate(values, start=1)
    ]
    return [MeanStep(0.0, 2, start, None), *later]


def test_a_ladder_says_where_loss_begins_and_where_half_is_gone():
    assert describe_ladder("blur", steps((0.85, 0.01), (0.72, -0.1), (0.69, -0.1))) == (
        "blur: mean image AUROC is 0.900 in the clean domain, 0.850 at mild, 0.720 at moderate and 0.690 at severe. "
        "It is lower than in the clean domain from moderate on. "
        "At severe that figure is half way to chance, or beyond."
    )


def test_a_ladder_claims_no_loss_that_intervals_do_not_show():
    text = describe_ladder("blur", steps((0.85, 0.01), (0.6, 0.02)))
    assert text.endswith("At no severity do these test images tell it from the clean domain.")
    assert "half" not in text


def test_a_ladder_names_single_severities_and_chance():
    text = describe_ladder("blur", steps((0.8, -0.01), (0.85, 0.01), (0.52, -0.2)))
    assert "It is lower than in the clean domain at mild and at severe." in text
    assert text.endswith("At severe its interval reaches chance.")
    kept = describe_ladder("blur", steps((0.8, -0.01), (0.79, -0.01)))
    assert kept.endswith("from mild on. At no severity is that figure half way to chance.")


def test_half_of_nothing_is_not_lost():
    text = describe_ladder("blur", steps((0.4, -0.2), start=Value(0.6, 0.45, 0.7)))
    assert "half" not in text
    assert text.endswith("In the clean domain its interval reaches chance.")


def test_a_ladder_without_the_clean_domain_only_lists():
    text = describe_ladder("blur", [MeanStep(0.5, 1, Value(0.8, 0.7, 0.9), None), MeanStep(3, 1, Value(0.5), None)])
    assert text == (
        "blur: image AUROC is 0.800 at severity 0.5 and 0.500 at severe. "
        "The clean domain was not scored here, so nothing is said of what is lost."
    )


def natural(category, target):
    origin = Target("d", category, "clean")
    return Cell(Bank(origin, "s", "net", "bank", 0), target, origin, "p", NaturalShift("camera_b", origin))


def test_an_alias_is_explained_by_where_it_leads():
    same = [natural(name, Target("e", name, "clean")) for name in ("a", "b")]
    assert describe_aliases(same) == ["camera_b is a natural shift: d seen in e."]
    other = [natural("a", Target("e", "x", "clean")), natural("b", Target("e", "y", "clean"))]
    assert describe_aliases(other) == ["camera_b is a natural shift: d/a seen in e/x and d/b seen in e/y."]
    assert describe_aliases([]) == []


def test_changes_say_whether_images_are_the_same():
    assert describe_changes("clean", paired=[], unpaired=[]) == ""
    paired = describe_changes("clean", paired=["dark"], unpaired=[])
    assert paired == "Change: image AUROC minus that in domain clean, on the same images and resamples."
    other = "camera_b shows other images than clean, so both sides are resampled independently of each other."
    assert describe_changes("clean", paired=[], unpaired=["camera_b"]).endswith(f"clean. {other}")
    assert describe_changes("clean", paired=["dark"], unpaired=["camera_b"]) == f"{paired} But {other}"


@pytest.mark.parametrize(("value", "certain"), [((1, 1, 1), True), ((0.5, 0.5, 0.5), False), ((1, 0.9, 1), False)])
def test_equal_scores_are_not_a_perfect_ranking(value, certain):
    assert saturated(Value(*value)) == certain
