from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from patchshift.plan.cells import Cell
from patchshift.report.analyses.co_failures import PAIR, co_failures_table
from patchshift.report.analyses.shown import (
    explain_shown,
    is_recommended,
    name_condition,
    select_condition,
    select_shown,
)
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import setup_of
from tests.report.conftest import MadeStudy
from tests.report.test_failures import copy_study, edit_predictions, no_decisions, open_study, recommend_nothing

CLEAN = {"title": "", "train": ["d"]}


@pytest.fixture
def data(made: MadeStudy) -> StudyData:
    return open_study(made)


def named(cells: list[Cell]) -> list[tuple[str, str]]:
    return [(cell.bank.detector, cell.target.category) for cell in cells]


def explain(data: StudyData, experiment: str) -> str:
    return explain_shown(data, experiment, select_shown(data, experiment)[0])


def test_the_setup_that_the_study_recommends_is_shown_whatever_the_baseline(data: StudyData) -> None:
    assert data.recommendation is not None
    assert data.recommendation.setup.detector == "sharp"
    assert data.baseline("clean") == "blunt"
    assert named(select_condition(data, "clean")) == [("sharp", "a"), ("sharp", "b"), ("blunt", "a"), ("blunt", "b")]
    cells = select_shown(data, "clean")
    assert cells == data.recommendation.cells
    assert all(is_recommended(data, cell) for cell in cells)
    assert explain(data, "clean") == "the setup that the study recommends"


def test_the_baseline_is_shown_where_nothing_is_recommended(data: StudyData, monkeypatch: pytest.MonkeyPatch) -> None:
    recommend_nothing(monkeypatch)
    for baseline in ("blunt", "sharp"):
        unsure = replace(data, baselines={"clean": baseline})
        assert [detector for detector, _ in named(select_shown(unsure, "clean"))] == [baseline] * 2
        assert explain(unsure, "clean") == "the experiment's baseline, since the study recommends none"
        assert not any(is_recommended(unsure, cell) for cell in unsure.cells("clean"))


def test_a_setup_at_chance_is_not_recommended_and_so_not_preferred(data: StudyData) -> None:
    found = data.recommendation
    assert found is not None
    level = replace(found.summary, auroc=replace(found.summary.auroc, low=0.4))
    unsure = replace(data)
    unsure.__dict__["recommendation"] = replace(found, summary=level)
    assert named(select_shown(unsure, "clean"))[0] == ("blunt", "a")
    assert explain(unsure, "clean").endswith("since the study recommends none")


def test_where_the_recommended_setup_is_missing_the_baseline_is_shown_and_why(
    make_study: Callable[..., MadeStudy],
) -> None:
    study = make_study(clean=CLEAN, blunt={**CLEAN, "detectors": ["blunt"]})
    data = open_study(study)
    assert named(select_shown(data, "blunt")) == [("blunt", "a"), ("blunt", "b")]
    assert explain(data, "blunt") == (
        "the experiment's baseline, since sharp on net, which the study recommends, is not in it"
    )


def test_where_the_recommended_setup_decides_nothing_it_says_so(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)

    def silence(frame: pd.DataFrame) -> None:
        frame.loc[frame["detector"] == "sharp", ["decision", "threshold"]] = ""

    edit_predictions(data, silence)
    again = replace(data)
    assert named(select_shown(again, "clean")) == [("blunt", "a"), ("blunt", "b")]
    assert explain(again, "clean").endswith("since sharp on net, which the study recommends, decides nothing in it")


def test_another_threshold_of_the_recommended_detector_is_better_than_another_detector(
    make_study: Callable[..., MadeStudy],
) -> None:
    study = make_study(clean=CLEAN, other={**CLEAN, "thresholds": ["other"]})
    data = open_study(study)
    cells = select_shown(data, "other")
    assert {(cell.bank.detector, cell.threshold) for cell in cells} == {("sharp", "other")}
    assert explain(data, "other") == (
        "the detector that the study recommends, for want of decisions with threshold f1_max"
    )


def test_the_domain_in_which_the_setup_was_chosen_comes_before_others(make_study: Callable[..., MadeStudy]) -> None:
    study = make_study(both={**CLEAN, "target_domains": ["dark", "clean"]})
    data = open_study(study)
    assert data.cells("both")[0].domain == "dark"
    assert {cell.domain for cell in select_shown(data, "both")} == {"clean"}


def test_a_condition_has_one_domain_one_calibration_and_one_seed(make_study: Callable[..., MadeStudy]) -> None:
    shifted = {"title": "", "train": ["d"], "target_domains": ["dark", "clean"], "seeds": [0, 1]}
    study = make_study(shifted=shifted)
    cells = select_condition(open_study(study), "shifted")
    assert len(cells) == 4  # two categories, two detectors
    assert len({(cell.domain, cell.calibration.domain, cell.bank.seed) for cell in cells}) == 1
    assert len({name_condition(cell) for cell in cells}) == 1
    assert name_condition(cells[0]).startswith(f"fitted on clean, scored on {cells[0].domain}, threshold f1_max")


def test_the_condition_shown_is_the_first_that_decides(make_study: Callable[..., MadeStudy]) -> None:
    study = make_study(policies={"title": "", "train": ["d"], "thresholds": ["f1_max", "other"]})
    path = study.folder / "predictions.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[frame["policy"] == "f1_max", ["decision", "threshold"]] = ""
    frame.to_csv(path, index=False)
    assert {cell.threshold for cell in select_condition(study.data, "policies")} == {"other"}


def test_the_detector_shown_is_the_first_of_its_pairs(data: StudyData, monkeypatch: pytest.MonkeyPatch) -> None:
    table = co_failures_table(data, "clean")
    assert set(table.loc[table["record"] == PAIR, "detector"]) == {"sharp"}
    recommend_nothing(monkeypatch)
    other = co_failures_table(replace(data), "clean")
    assert set(other.loc[other["record"] == PAIR, "detector"]) == {"blunt"}


def test_nothing_decided_is_shown_of_the_recommended_setup_still(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    edit_predictions(data, no_decisions)
    again = replace(data)
    assert again.recommendation is not None
    assert {setup_of(cell) for cell in select_shown(again, "clean")} == {again.recommendation.setup}
