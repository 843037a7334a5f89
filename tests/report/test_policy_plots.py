"""Threshold policies beside each other."""

import pytest

from patchshift.report.plots.policies import draw_policies

EXPERIMENT = {"title": "Policies", "train": ["d"], "thresholds": ["f1_max", "strict"]}


def test_one_policy_is_no_comparison(made):
    assert draw_policies(made.data, "clean") is None


def test_every_policy_has_its_mark_in_each_setup(make_study):
    study = make_study(policies=EXPERIMENT)
    drawn = draw_policies(study.data, "policies")
    assert drawn.data[["group", "policy"]].values.tolist() == [
        [group, policy] for group in ("blunt", "sharp") for policy in ("f1_max", "strict")
    ]
    for rate in ("miss_rate", "false_alarm_rate"):
        assert (drawn.data[f"{rate}_low"] <= drawn.data[rate]).all()
        assert (drawn.data[rate] <= drawn.data[f"{rate}_high"]).all()
    assert len(drawn.figure.axes) == 4


@pytest.mark.parametrize("validation", [False])
def test_what_no_policy_decides_is_said_to_be_undefined(make_study, validation):
    drawn = draw_policies(make_study(policies=EXPERIMENT, validation=validation).data, "policies")
    assert drawn.data["f1"].isna().all()
    assert set(drawn.data["undefined"]) == {"no validation image"}
    texts = [text.get_text() for axes in drawn.figure.axes for text in axes.texts]
    assert texts == ["undefined"] * 4
