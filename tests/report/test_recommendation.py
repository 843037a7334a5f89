from dataclasses import replace

import numpy as np

from patchshift.evaluation.image_metrics import count_decisions, image_auroc
from patchshift.evaluation.statistics import bootstrap_image_ranking, percentile_interval
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Bank, Cell, NaturalShift, Target
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.recommendation import explain_lack, recommend
from patchshift.report.results import Images, StudyResults, Value
from patchshift.report.wording import describe_choice, recommend_setup, tell_shift_setup

SPEC = EvaluationSpec(bootstrap_resamples=200)
DOMAINS = {"clean": {"shift": "none"}, "dark": {"shift": "photometric"}}


class Scored(StudyResults):
    """Results that a test makes of labels, scores and thresholds alone."""

    def __init__(self, images: dict[Cell, Images]) -> None:
        self.cells = {"experiment": list(images)}
        self.by_cell = images

    def images(self, cell: Cell) -> Images:
        return self.by_cell[cell]

    def value(self, cell: Cell, metric: str) -> Value:
        images = self.by_cell[cell]
        if metric == "image_auroc":
            try:
                drawn = bootstrap_image_ranking(images.labels == 1, images.scores, resamples=200, seed=0)
                ends = percentile_interval(drawn["image_auroc"], 0.95)
                return Value(image_auroc(images.labels, images.scores), *ends)
            except Undefined as error:
                return Value(None, undefined=str(error))
        if images.decisions is None:
            return Value(None, undefined="no validation image")
        if metric.startswith("count_"):
            return Value(getattr(count_decisions(images.labels, images.decisions), metric.removeprefix("count_")))
        return Value(0.0)


def cell(category="a", detector="d", *, domain="clean", fitted="clean", calibrated=None, policy="p", seed=0, split="s"):
    training = Target("data", category, fitted)
    calibration = Target("data", category, calibrated or fitted)
    return Cell(Bank(training, split, "net", detector, seed), Target("data", category, domain), calibration, policy)


def scored(anomalous, normal, threshold=0.5):
    """Images with these scores."""
    scores = np.array([*anomalous, *normal], np.float64)
    decisions = None if threshold is None else (scores >= threshold).astype(np.int64)
    labels = np.repeat([1, 0], [len(anomalous), len(normal)])
    return Images(
        names=[f"{row}.png" for row in range(len(scores))],
        labels=labels,
        relabelled=np.zeros(len(scores), np.bool_),
        defects=[""] * len(scores),
        scores=scores,
        decisions=decisions,
        threshold=threshold,
    )


GOOD = scored(np.linspace(0.6, 1, 20), np.linspace(0, 0.4, 20))
MIDDLING = scored(np.linspace(0.45, 1, 20), np.linspace(0, 0.55, 20))
POOR = scored(np.linspace(0.1, 1, 20), np.linspace(0, 0.9, 20))
BROKEN = scored([np.nan] * 20, [0.0] * 20)


def test_highest_mean_over_categories_wins_even_if_not_the_best_everywhere():
    found = recommend(
        Scored(
            {
                cell("a", "steady"): MIDDLING,
                cell("b", "steady"): MIDDLING,
                cell("a", "moody"): GOOD,
                cell("b", "moody"): POOR,
            }
        ),
        DOMAINS,
        SPEC,
    )
    assert found.setup.detector == "steady"
    assert [rival.setup.detector for rival in found.rivals] == ["moody"]


def test_clear_difference_is_told_apart_and_equal_scores_are_not():
    found = recommend(
        Scored({cell(detector="x"): GOOD, cell(detector="y"): POOR, cell(detector="z"): GOOD}), DOMAINS, SPEC
    )
    assert {rival.setup.detector: rival.is_told_apart for rival in found.rivals} == {"y": True, "z": False}
    text = " ".join(describe_choice(found))
    assert "do not tell all others from it" in text
    alone = recommend(Scored({cell(detector="x"): GOOD, cell(detector="y"): POOR}), DOMAINS, SPEC)
    assert "is above that of every other setup compared" in " ".join(describe_choice(alone))


def untrained(one: Cell) -> Cell:
    return replace(one, bank=replace(one.bank, backbone="raw", weights="random"))


def test_untrained_weights_give_way_to_a_setup_that_is_not_told_from_them():
    found = recommend(Scored({untrained(cell()): MIDDLING, cell(detector="poor"): POOR}), DOMAINS, SPEC)
    assert found.setup.is_untrained  # told apart: it is the best
    nearly = scored(np.linspace(0.44, 1, 20), np.linspace(0, 0.56, 20))
    found = recommend(Scored({untrained(cell()): MIDDLING, cell(detector="near"): nearly}), DOMAINS, SPEC)
    assert (found.setup.detector, found.is_highest) == ("near", False)
    assert [rival.setup.backbone for rival in found.rivals] == ["raw"]
    assert found.rivals[0].auroc.value > found.summary.auroc.value
    assert "Untrained weights have a higher image AUROC" in " ".join(describe_choice(found))


def test_nothing_is_recommended_whose_interval_reaches_chance():
    level = scored(np.linspace(0, 1, 20), np.linspace(0, 1, 20))
    assert recommend(Scored({cell(): level}), DOMAINS, SPEC).reaches_chance
    assert not recommend(Scored({cell(): GOOD}), DOMAINS, SPEC).reaches_chance


def test_single_detector_is_described_not_chosen():
    found = recommend(Scored({cell(): GOOD}), DOMAINS, SPEC)
    assert "not a choice" in " ".join(describe_choice(found))


def test_perfect_ranking_is_not_called_certain():
    assert "not certainty" in " ".join(describe_choice(recommend(Scored({cell(): GOOD}), DOMAINS, SPEC)))


def test_misses_and_false_alarms_are_pooled_over_categories():
    one = scored([0.9, 0.8, 0.1], [0.1, 0.2])
    other = scored([0.9], [0.9, 0.2])
    found = recommend(Scored({cell("a"): one, cell("b"): other}), DOMAINS, SPEC)
    assert (found.summary.misses.count, found.summary.misses.total) == (1, 4)
    assert (found.summary.false_alarms.count, found.summary.false_alarms.total) == (1, 4)
    assert found.summary.misses.low < 0.25 < found.summary.misses.high


def test_only_setups_that_cover_all_categories_are_compared():
    found = recommend(Scored({cell("a", "x"): MIDDLING, cell("b", "x"): MIDDLING, cell("a", "y"): GOOD}), DOMAINS, SPEC)
    assert found.setup.detector == "x"
    assert not found.rivals
    assert "Not compared, since they do not cover the same categories: y on net." in describe_choice(found)


def test_setups_of_as_many_but_other_categories_are_not_compared():
    lax = Images(**{**vars(GOOD), "threshold": 0.9, "decisions": (GOOD.scores >= 0.9).astype(np.int64)})
    found = recommend(
        Scored(
            {
                cell("a", "x"): GOOD,
                cell("b", "x"): MIDDLING,
                cell("a", "y", policy="lax"): lax,
                cell("b", "y", policy="lax"): lax,
                cell("b", "y", policy="fair"): MIDDLING,
                cell("c", "y", policy="fair"): MIDDLING,
                cell("b", "z"): GOOD,
                cell("c", "z"): POOR,
            }
        ),
        DOMAINS,
        SPEC,
    )
    assert (found.setup.detector, found.setup.threshold, found.policies) == ("y", "lax", [])
    assert {place.target.category for place in found.cells} == {"a", "b"}
    assert [rival.setup.detector for rival in found.rivals] == ["x"]
    assert [setup.detector for setup in found.incomplete] == ["z"]


def test_setup_whose_scores_are_undefined_somewhere_does_not_win():
    images = {cell("a", "x"): BROKEN, cell("b", "x"): GOOD, cell("a", "y"): POOR, cell("b", "y"): POOR}
    assert recommend(Scored(images), DOMAINS, SPEC).setup.detector == "y"


def test_threshold_policy_with_fewest_mistakes_wins():
    lax = Images(**{**vars(MIDDLING), "threshold": 0.9, "decisions": (MIDDLING.scores >= 0.9).astype(np.int64)})
    found = recommend(Scored({cell(policy="lax"): lax, cell(policy="fair"): MIDDLING}), DOMAINS, SPEC)
    assert found.setup.threshold == "fair"
    assert not found.rivals
    assert "Of 2 threshold policies" in " ".join(describe_choice(found))


def test_without_threshold_misses_are_undefined_with_the_reason():
    found = recommend(Scored({cell(): scored([1, 2], [0, 1], None)}), DOMAINS, SPEC)
    assert found.summary.misses is None
    assert found.summary.reason == "no validation image"


def test_split_with_thresholds_is_preferred():
    images = {cell(split="published"): scored([1, 2], [0, 1], None), cell(split="plan"): POOR}
    assert recommend(Scored(images), DOMAINS, SPEC).setup.split == "plan"


def test_lowest_seed_stands_for_a_setup():
    found = recommend(Scored({cell(seed=2): GOOD, cell(seed=1): POOR}), DOMAINS, SPEC)
    assert found.setup.seed == 1
    assert not found.rivals


def test_study_without_clean_domain_is_judged_in_the_domain_it_has():
    found = recommend(Scored({cell(domain="dark", fitted="dark"): GOOD}), DOMAINS, SPEC)
    assert found.domain == "dark"


def test_nothing_is_recommended_where_no_bank_was_scored_at_home():
    assert recommend(Scored({cell(domain="dark"): GOOD}), DOMAINS, SPEC) is None
    assert recommend(Scored({cell(): BROKEN}), DOMAINS, SPEC) is None


def test_shift_is_told_of_the_next_best_setup_where_the_best_was_not_scored_under_it():
    flagged = scored(np.linspace(5.6, 6, 20), np.linspace(5, 5.9, 20))
    found = recommend(
        Scored(
            {
                cell(detector="best"): GOOD,
                cell(detector="next"): MIDDLING,
                cell(detector="next", domain="dark"): flagged,
                cell(detector="next", domain="dark", fitted="dark"): MIDDLING,
            }
        ),
        DOMAINS,
        SPEC,
    )
    assert (found.setup.detector, found.shift_setup.detector) == ("best", "next")
    assert tell_shift_setup(found).startswith("Measured for next on net alone: the recommended setup was not scored")


def test_shift_is_told_of_the_recommended_bank_with_the_threshold_that_met_most_shifts():
    lax = Images(**{**vars(GOOD), "threshold": 0.0, "decisions": np.ones(40, np.int64)})
    found = recommend(
        Scored(
            {
                cell(policy="strict"): GOOD,
                cell(policy="lax"): lax,
                cell(detector="next", policy="strict"): MIDDLING,
                cell(policy="lax", domain="dark"): lax,
                cell(detector="next", policy="strict", domain="dark"): MIDDLING,
            }
        ),
        DOMAINS,
        SPEC,
    )
    assert (found.setup.threshold, found.shift_setup) == ("strict", replace(found.setup, threshold="lax"))
    assert tell_shift_setup(found) == "Measured with threshold lax, which was scored on more shifted images."


def test_images_whose_defect_is_ignored_do_not_compare_setups_and_are_counted():
    hidden = np.arange(40) >= 38  # two good images, which the split calls anomalous
    good, middling = (Images(**{**vars(one), "relabelled": hidden}) for one in (GOOD, MIDDLING))
    found = recommend(Scored({cell(detector="best"): good, cell(detector="next"): middling}), DOMAINS, SPEC)
    assert found.left_out == {"clean": 2}
    kept = image_auroc(MIDDLING.labels[~hidden], MIDDLING.scores[~hidden])
    assert found.rivals[0].advantage.value == 1 - kept < 1 - image_auroc(MIDDLING.labels, MIDDLING.scores)
    assert any("ignored: 2 images in clean." in sentence for sentence in describe_choice(found))
    alone = recommend(Scored({cell(): good}), DOMAINS, SPEC)
    assert alone.left_out == {}


def camera(cell: Cell) -> Cell:
    """A cell of data scored on what alias camera_b leads to, in dataset other."""
    origin = Target("data", cell.target.category, "clean")
    return replace(cell, target=replace(origin, dataset="other"), natural=NaturalShift("camera_b", origin))


def test_a_natural_shift_is_one_too():
    flagged = scored(np.linspace(5.6, 6, 20), np.linspace(5, 5.9, 20))
    found = recommend(Scored({cell(): MIDDLING, camera(cell()): flagged}), DOMAINS, SPEC)
    assert found.shift_setup == found.setup
    assert tell_shift_setup(found) == ""


def test_without_a_shifted_domain_no_shift_is_told():
    assert recommend(Scored({cell(): GOOD, cell(detector="next"): MIDDLING}), DOMAINS, SPEC).shift_setup is None


def test_a_choice_of_one_split_names_the_others_which_may_rank_otherwise():
    found = recommend(Scored({cell("a", "x", split="s"): GOOD, cell("a", "x", split="t"): POOR}), DOMAINS, SPEC)
    assert (found.setup.split, found.other_splits) == ("s", ["t"])
    assert recommend_setup(found, "") == "On split s, use x on net with threshold p."
    assert describe_choice(found)[0] == (
        "This is of split s alone. On t the setups may rank otherwise: the tables of the experiments have each split."
    )
    alone = recommend(Scored({cell(split="s"): GOOD}), DOMAINS, SPEC)
    assert recommend_setup(alone, "") == "Use d on net with threshold p."
    assert not any("split" in sentence for sentence in describe_choice(alone))


def test_no_setup_is_recommended_on_a_split_where_none_ranks_and_the_split_is_named():
    level = scored(np.linspace(0, 1, 20), np.linspace(0, 1, 20))
    found = recommend(Scored({cell(split="s"): level, cell(split="t"): GOOD}), DOMAINS, SPEC)
    assert recommend_setup(found, "").startswith("No setup can be recommended on split s. ")


def test_what_there_is_nothing_to_recommend_for_is_said():
    away = Scored({cell(domain="dark"): GOOD})
    assert explain_lack(away, DOMAINS) == "no bank of this study was scored in the domain it was fitted on"
    lack = ", so nothing tells whether a setup ranks defects above good images; add a few"
    for images, kind in ((scored([], [0.1, 0.2]), "defective"), (scored([0.1, 0.2], []), "good")):
        assert recommend(Scored({cell(): images}), DOMAINS, SPEC) is None
        assert explain_lack(Scored({cell(): images}), DOMAINS) == f"no {kind} test image{lack}"
    assert explain_lack(Scored({cell(): BROKEN}), DOMAINS).startswith(
        "no bank of this study has an image AUROC in the domain it was fitted on (the score of 20 of 40 "
    )
