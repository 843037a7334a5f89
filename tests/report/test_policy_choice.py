import pytest

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.pairing import Share, Summary
from patchshift.report.policy_choice import PolicyRival, compare_policies, describe_policies, excuse_threshold
from patchshift.report.recommendation import recommend
from patchshift.report.results import Value
from patchshift.report.wording import describe_choice, name_decided, recommend_setup
from tests.report.test_recommendation import DOMAINS, Scored, cell, scored

SPEC = EvaluationSpec(bootstrap_resamples=200)
GOOD = [0.0 + 0.01 * number for number in range(20)]  # below any threshold but the lowest


def study(thresholds, categories=("a",)):
    """Policies by their thresholds, which decide the same images: half the defects lie at 0.4, half at 0.9."""
    anomalous = [0.4] * 10 + [0.9] * 10
    images = {
        cell(category, policy=policy): scored(anomalous, GOOD, threshold)
        for policy, threshold in thresholds.items()
        for category in categories
    }
    return Scored(images)


def test_a_policy_ahead_by_one_image_is_said_to_be_no_better():
    results = study({"lax": 0.185, "exact": 0.195})  # of twenty good images the last one is at 0.19
    found = recommend(results, DOMAINS, SPEC)
    assert found.setup.threshold == "exact"
    (rival,) = found.policies
    assert (rival.threshold, rival.wrong, rival.chosen_wrong) == ("lax", 1, 0)
    assert rival.advantage.value == pytest.approx(0.025)
    assert rival.advantage.low < 0 < rival.advantage.high
    assert describe_policies(found.policies) == [
        "Of 2 threshold policies it makes the fewest mistakes on these images (mean of miss rate and false-alarm "
        "rate). But these images do not tell it (0 wrong) from lax (1 wrong)."
    ]
    assert describe_policies(found.policies)[0] in describe_choice(found)


def test_a_policy_that_is_told_from_all_others_is_said_to_be():
    found = recommend(study({"strict": 0.5, "exact": 0.3}), DOMAINS, SPEC)
    assert [(rival.threshold, rival.wrong, rival.is_told_apart) for rival in found.policies] == [("strict", 10, True)]
    assert describe_policies(found.policies)[0].endswith(", and these images tell it from the other.")


def test_of_equal_policies_the_first_is_taken_and_said_to_be():
    found = recommend(study({"one": 0.3, "two": 0.35}), DOMAINS, SPEC)
    assert found.setup.threshold == "one"
    assert describe_policies(found.policies)[0].endswith(
        "; it is the config's first of those that make as few, beside two (0 wrong)."
    )


def test_only_the_level_policies_are_named_the_nearest_first():
    results = study({"exact": 0.3, "strict": 0.5, "lax": 0.175, "close": 0.185})
    found = recommend(results, DOMAINS, SPEC)
    assert [rival.threshold for rival in found.policies] == ["close", "lax", "strict"]
    assert describe_policies(found.policies)[0].endswith("(0 wrong) from close (1 wrong) and lax (2 wrong).")


def test_differences_are_means_over_categories():
    results = study({"exact": 0.3, "strict": 0.5}, categories=("a", "b"))
    cells = {policy: [cell(category, policy=policy) for category in "ab"] for policy in ("exact", "strict")}
    (rival,) = compare_policies(results, cells["exact"], {"strict": cells["strict"]}, SPEC)
    assert rival.advantage.value == pytest.approx(0.25)
    assert (rival.wrong, rival.chosen_wrong) == (20, 0)
    (alone,) = compare_policies(results, cells["exact"][:1], {"strict": cells["strict"][:1]}, SPEC)
    assert rival.advantage.high - rival.advantage.low < alone.advantage.high - alone.advantage.low


def test_one_policy_is_no_choice():
    assert recommend(study({"only": 0.3}), DOMAINS, SPEC).policies == []
    assert describe_policies([]) == []


def test_a_threshold_that_is_not_recommended_is_named_where_its_figures_stand():
    found = recommend(study({"strict": 0.95, "stricter": 0.97}), DOMAINS, SPEC)  # all defects are missed
    assert recommend_setup(found, "") == (
        "Use d on net; no threshold can be recommended; figures of decisions are of strict, the best of 2 tried."
    )
    assert name_decided(found) == "d on net, decided by threshold strict"


def test_a_threshold_that_is_undefined_is_said_to_be_and_is_not_told_to_decide():
    found = recommend(study({"p": None}), DOMAINS, SPEC)
    assert recommend_setup(found, "") == (
        "Use d on net; no threshold can be recommended: p is undefined (no validation image)."
    )
    assert name_decided(found) == "d on net"


def test_the_only_threshold_is_no_best_one():
    share = Share(15, 20, 0.5, 0.9)
    summary = Summary(Value(0.9), share, share, 1, "")
    assert excuse_threshold(summary, "f1_max", 1) == "; figures of decisions are of f1_max, the only one tried"


def test_a_rival_without_an_interval_is_not_told_apart():
    assert not PolicyRival("other", 3, 2, Value(0.1)).is_told_apart
