import json
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.analyses import (
    EXPERIMENT_TABLES,
    STUDY_TABLES,
    list_figure_folders,
    list_pictured,
    list_tables,
    options,
)

Settings = dict[str, Any]
Load = Callable[[], Study]
Told = Callable[[], dict[str, str]]


@pytest.fixture
def told(load: Load) -> Told:
    """What an analysis is told, as the study now is: option -> value."""

    def read() -> dict[str, str]:
        words = options(load())
        return dict(zip(words[::2], words[1::2], strict=True))

    return read


def test_every_experiment_has_its_tables_and_figures_and_the_study_has_its_own(study: Settings, load: Load) -> None:
    study["experiments"]["cloth"] = {"title": "", "train": ["cloth"]}
    folder, names = "results/studies/trial", ("clean", "cloth")
    experiments = [f"{folder}/experiments/{name}/{table}" for name in names for table in EXPERIMENT_TABLES]
    assert list_tables(load()) == [*experiments, *(f"{folder}/{table}" for table in STUDY_TABLES)]
    assert list_figure_folders(load()) == [
        *(f"{folder}/experiments/{name}/figures" for name in names),
        f"{folder}/figures",
    ]


def test_no_table_has_the_name_of_one_that_is_collected() -> None:
    collected = {"results.csv", "costs.csv", "pools.csv", "metrics.csv", "predictions.csv", "timings.csv"}
    collected |= {"distances.csv", "feature_drifts.csv", "results.txt"}
    names = [*EXPERIMENT_TABLES, *STUDY_TABLES]
    assert len(set(names)) == len(names)
    assert not collected & set(names)


def test_pictures_are_made_from_scores_masks_splits_and_thresholds_of_the_experiment(
    study: Settings, load: Load
) -> None:
    study["experiments"]["cloth"] = {"title": "", "train": ["cloth"]}
    (cell,) = load().cells["cloth"]
    wanted = {cell.scores, cell.pack, cell.split, cell.threshold_file}
    assert list_pictured(load(), "cloth") == sorted(wanted)


def test_an_analysis_gets_what_it_needs_and_nothing_of_how_a_study_is_run(
    study: Settings, load: Load, told: Told
) -> None:
    study["analysis"] = {"cases": 7}
    before = told()
    assert before.keys() == {*("--plan", "--spec", "--analysis", "--domains", "--detectors", "--baselines", "--folder")}
    assert json.loads(before["--analysis"])["cases"] == 7
    assert json.loads(before["--spec"])["confidence"] == 0.95
    assert json.loads(before["--domains"]).keys() == {"clean"}
    assert json.loads(before["--detectors"])["plain"]["sampler"]["share"] == 0.1
    assert before["--folder"] == load().folder
    study |= {"question": "Another?", "data_dir": "elsewhere", "device": "cpu", "inspection": {}}
    assert told() == before


def test_an_edit_of_the_analysis_changes_what_analyses_are_told_and_no_stage_before_them(
    study: Settings, load: Load, told: Told
) -> None:
    before, loaded = told(), load()
    study["analysis"] = {"border_share": 0.2}
    changed = {name for name, value in told().items() if value != before[name]}
    assert changed == {"--analysis"}
    assert load().plan_spec() == loaded.plan_spec()
    assert load().evaluation_spec() == loaded.evaluation_spec()


def test_baselines_stand_apart_and_only_where_an_experiment_names_one(study: Settings, told: Told) -> None:
    assert told()["--baselines"] == "{}"
    before = told()
    study["experiments"]["clean"]["baseline"] = "plain"
    assert json.loads(told()["--baselines"]) == {"clean": "plain"}
    assert {name for name, value in told().items() if value != before[name]} == {"--baselines"}
