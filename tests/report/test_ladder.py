from pathlib import Path

import pytest

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.ladder import arrange_ladders, average_ladders, find_ladders
from patchshift.report.plots.severities import draw_severities
from patchshift.report.results import StudyResults, read_rows

SPEC = EvaluationSpec(bootstrap_resamples=100)
RESULTS = Path("results/studies/made/experiments/ladder/results.csv")
ROW = {
    "train_dataset": "d", "train_category": "a", "train_domain": "clean",
    "target_dataset": "d", "target_category": "a", "target_domain": "clean",
    "split": "s", "backbone": "net", "detector": "bank", "seed": "0", "policy": "p", "alias": "", "origin": "",
}  # fmt: skip
DOMAINS = {
    "clean": {"shift": "none"},
    "dim": {"shift": "photometric", "severity": "mild", "seed": 0},
    "dark": {"shift": "photometric", "severity": "severe", "seed": 0},
    "dark_too": {"shift": "photometric", "severity": "severe", "seed": 1},
    "dim_too": {"shift": "photometric", "severity": 0.5, "seed": 1},
    "turned": {"shift": ["rotation", "crop"], "severity": "mild", "seed": 0},
}


def rows(*domains: str, **keys: str) -> list[dict[str, str]]:
    return [{**ROW, "target_domain": domain, **keys} for domain in domains]


def rungs(found: list[dict[str, str]]) -> dict[str, dict[str, dict[float, str]]]:
    """Ladder -> category -> severity -> domain."""
    return {
        ladder.name: {
            category: {severity: found[number]["target_domain"] for severity, number in steps.items()}
            for category, steps in ladder.rungs.items()
        }
        for ladder in arrange_ladders(found, DOMAINS)
    }


def test_a_ladder_rises_from_the_clean_domain_whatever_the_order_of_rows() -> None:
    found = rungs(rows("dark", "clean", "dim", "turned"))
    assert found == {"photometric": {"a": {0: "clean", 1: "dim", 3: "dark"}}}
    assert list(found["photometric"]["a"]) == [0, 1, 3]


def test_one_strength_is_no_ladder_and_neither_are_two_seeds_of_it() -> None:
    assert rungs(rows("clean", "dark", "turned")) == {}
    assert rungs(rows("clean", "dark", "dark_too")) == {}


def test_each_seed_has_its_own_ladder() -> None:
    assert rungs(rows("dim", "dark", "dim_too", "dark_too")) == {
        "photometric, seed 0": {"a": {1: "dim", 3: "dark"}},
        "photometric, seed 1": {"a": {0.5: "dim_too", 3: "dark_too"}},
    }


def test_each_setup_has_its_own_ladder() -> None:
    assert rungs([*rows("clean", "dim", "dark"), *rows("dim", "dark", detector="other")]) == {
        "photometric: bank": {"a": {0: "clean", 1: "dim", 3: "dark"}},
        "photometric: other": {"a": {1: "dim", 3: "dark"}},
    }


def test_thresholds_make_no_second_ladder() -> None:
    found = [*rows("clean", "dim", "dark"), *rows("clean", "dim", "dark", policy="q")]
    assert list(rungs(found)) == ["photometric"]


def test_a_shift_that_categories_meet_at_different_strengths_is_still_one_ladder() -> None:
    found = [*rows("dim"), *rows("dark", target_category="b", train_category="b")]
    assert rungs(found) == {"photometric": {"a": {1: "dim"}, "b": {3: "dark"}}}


def test_neither_banks_of_shifted_images_nor_other_cameras_stand_on_a_ladder() -> None:
    assert rungs(rows("dim", "dark", train_domain="dim")) == {}
    camera = {**ROW, "target_dataset": "e", "alias": "camera_b", "origin": "d/a"}
    assert rungs([camera, *rows("dim", "dark")]) == {"photometric": {"a": {1: "dim", 3: "dark"}}}


@pytest.fixture
def climbed(make_study) -> StudyResults:
    domains = ["clean", "dim", "dark"]
    study = make_study(detectors=("blunt",), ladder={"title": "", "train": ["d"], "target_domains": domains})
    return StudyResults(study.plan, study.folder)


def test_values_are_those_of_the_experiments_table(climbed: StudyResults) -> None:
    (ladder,) = find_ladders(read_rows(RESULTS), DOMAINS).values()
    assert list(ladder) == ["a", "b"]
    for category, steps in ladder.items():
        cells = [cell for cell in climbed.cells["ladder"] if cell.target.category == category]
        assert steps == [
            (severity, climbed.value(cell, "image_auroc")) for severity, cell in zip((0, 1, 3), cells, strict=True)
        ]


def test_means_are_over_categories_and_changes_from_the_clean_domain(climbed: StudyResults) -> None:
    cells = climbed.cells["ladder"]
    (steps,) = average_ladders(climbed, cells, DOMAINS, SPEC).values()
    assert [(step.severity, step.categories) for step in steps] == [(0, 2), (1, 2), (3, 2)]
    start, *later = steps
    assert start.change is None
    for step, domain in zip(later, ("dim", "dark"), strict=True):
        values = [climbed.value(cell, "image_auroc").value for cell in cells if cell.target.domain == domain]
        assert step.mean.value == pytest.approx(sum(values) / 2)
        assert step.change.value == pytest.approx(step.mean.value - start.mean.value)


def test_categories_that_lack_a_severity_have_no_part_in_the_means(climbed: StudyResults) -> None:
    cells = [cell for cell in climbed.cells["ladder"] if (cell.target.category, cell.target.domain) != ("b", "dim")]
    (steps,) = average_ladders(climbed, cells, DOMAINS, SPEC).values()
    assert {step.categories for step in steps} == {1}


def test_figure_shows_the_steps_of_each_category(make_study) -> None:
    domains = ["clean", "dim", "dark"]
    climbing = {"title": "", "train": ["d"], "target_domains": domains}
    data = make_study(detectors=("blunt",), ladder=climbing, one={"title": "", "train": ["d"]}).data
    drawn = draw_severities(data, "ladder")
    assert drawn is not None
    steps = drawn.data.groupby(["shift", "category"])["severity"].apply(list)
    assert steps.to_dict() == {("photometric", "a"): [0, 1, 3], ("photometric", "b"): [0, 1, 3]}
    assert draw_severities(data, "one") is None


def test_a_ladder_of_untrained_weights_says_so() -> None:
    found = rungs(rows("clean", "dim", "dark", weights="random"))
    assert list(found) == ["photometric: bank on net (random weights)"]
