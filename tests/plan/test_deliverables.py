import json
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.deliverable_specs import DeliverableSpec
from patchshift.plan.deliverables import (
    deliverable_constraint,
    deliverable_inputs,
    deliverable_plan,
    deliverable_spec,
    deliverable_splits,
    find_split_uses,
    list_deliverables,
)
from patchshift.plan.experiments import StudyPlan

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]

EXPERIMENTS = "results/studies/trial/experiments"


@pytest.fixture(autouse=True)
def experiments(study: Settings) -> None:
    study["experiments"] = {
        "clean": {"title": "In domain", "train": ["parts"]},
        "shifted": {"title": "Shifted", "train": ["parts/bolt"], "target_domains": ["dim", "turned"]},
    }


def test_a_study_without_deliverables_has_none_and_no_name_matches(load: Load) -> None:
    assert list_deliverables(load()) == []
    assert deliverable_constraint(load()) == "(?!)"


def test_each_file_is_a_path_of_the_study(study: Settings, load: Load) -> None:
    study["deliverables"] = {
        "results.csv": {"columns": {"category": "target_category"}},
        "a.b.json": {"splits": True},
    }
    assert list_deliverables(load()) == [
        "results/studies/trial/deliverables/results.csv",
        "results/studies/trial/deliverables/a.b.json",
    ]
    assert deliverable_constraint(load()) == r"results\.csv|a\.b\.json"


@pytest.mark.parametrize(
    ("name", "spec", "inputs"),
    [
        ("r.csv", {"columns": {"auroc": "image_auroc"}}, ["clean/results.csv", "shifted/results.csv"]),
        (
            "r.json",
            {"experiments": ["shifted"], "columns": {"low": "pro_low", "ms": "inference_ms"}},
            ["shifted/results.csv", "shifted/costs.csv"],
        ),
        ("b.png", {"experiments": ["shifted"], "figure": "bars"}, ["shifted/figures"]),
        ("r.svg", {"figure": "recovery"}, ["../figures"]),
    ],
)
def test_a_file_is_made_from_what_it_asks_for(
    study: Settings, load: Load, name: str, spec: Settings, inputs: list[str]
) -> None:
    study["deliverables"] = {name: spec}
    expected = [f"{EXPERIMENTS}/{path}".replace("/experiments/..", "") for path in inputs]
    assert deliverable_inputs(load(), name) == expected


def test_times_thresholds_and_splits_come_from_the_files_of_the_cells(study: Settings, load: Load) -> None:
    study["deliverables"] = {
        "times.csv": {"experiments": ["shifted"], "columns": {"when": "timestamp"}},
        "thresholds.json": {"experiments": ["shifted"], "thresholds": True},
        "splits.json": {"splits": True},
    }
    loaded = load()
    first, second = loaded.cells["shifted"]
    assert set(deliverable_inputs(loaded, "times.csv")[1:]) == {first.metrics, second.metrics}
    assert first.threshold_file == second.threshold_file
    assert deliverable_inputs(loaded, "thresholds.json") == [first.threshold_file]
    assert deliverable_inputs(loaded, "splits.json") == [
        "results/splits/parts/bolt/plan.csv",
        "results/splits/parts/nut/plan.csv",
    ]


def test_the_parts_of_a_split_are_used_in_domains_of_their_own(study: Settings, load: Load) -> None:
    study["experiments"]["recalibrated"] = {**study["experiments"]["shifted"], "calibrate_on": "target"}
    study["experiments"]["pooled"] = {"title": "", "train": ["pools/mixed"], "targets": ["parts/nut"]}
    loaded = load()
    assert find_split_uses(loaded.cells["recalibrated"]) == {
        ("parts/bolt", "plan"): {"train": ["clean"], "val": ["dim", "turned"], "test": ["dim", "turned"]},
    }
    pooled = find_split_uses(loaded.cells["pooled"])
    assert set(pooled) == {("parts/bolt", "plan"), ("parts/nut", "plan"), ("cloth/weave", "plan")}
    assert [parts["test"] for parts in pooled.values()].count(["clean"]) == 1


def test_distances_are_an_input_where_they_are_measured(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["deliverables"] = {"d.csv": {"experiments": ["shifted"], "columns": {"d": "distance_feature_drift_high"}}}
    assert deliverable_inputs(load(), "d.csv")[1:] == ["results/studies/trial/distances.csv"]


def test_a_plan_has_the_experiments_of_the_file_in_its_order(study: Settings, load: Load) -> None:
    study["deliverables"] = {"r.csv": {"experiments": ["shifted", "clean"], "columns": {"b": "backbone"}}}
    loaded = load()
    plan = StudyPlan.model_validate_json(deliverable_plan(loaded, "r.csv"))
    assert plan.cells() == {name: loaded.cells[name] for name in ("shifted", "clean")}
    study["deliverables"]["r.csv"]["experiments"] = ["clean"]
    study["experiments"]["shifted"]["title"] = "Another"
    before = deliverable_plan(load(), "r.csv")
    study["experiments"]["shifted"]["title"] = "Yet another"
    assert deliverable_plan(load(), "r.csv") == before


def test_the_order_of_columns_reaches_the_script(study: Settings, load: Load) -> None:
    study["deliverables"] = {"r.csv": {"columns": {"z": "seed", "a": "pro"}}}
    spec = DeliverableSpec.model_validate_json(deliverable_spec(load(), "r.csv"))
    assert [name for name, _ in spec.sources] == ["z", "a", "a_low", "a_high"]


def test_a_file_gets_the_settings_of_splits_that_its_columns_ask_for(study: Settings, load: Load) -> None:
    study["deliverables"] = {
        "r.csv": {"columns": {"shots": "train_limit"}},
        "other.csv": {"columns": {"split": "split"}},
    }
    loaded = load()
    splits = json.loads(deliverable_splits(loaded, "r.csv"))
    assert splits == {cell.bank.split: {"train_limit": None} for cell in loaded.all_cells()}
    assert deliverable_splits(loaded, "other.csv") == "{}"


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("r.txt", {"columns": {"a": "pro"}}, "deliverables.r.txt: a file of columns ends in .csv or .json or .npy"),
        ("r.csv", {"splits": True}, "deliverables.r.csv: a file of splits ends in .json: rename it"),
        ("r.json", {"figure": "recovery"}, "deliverables.r.json: a file of figure ends in .png or .svg"),
        (
            "r.csv",
            {"columns": {"a": "image_aurok"}},
            "deliverables.r.csv.columns.a: 'image_aurok' is no column of results (did you mean 'image_auroc'?)",
        ),
        ("r.csv", {"columns": {"a": "threshold_low"}}, "deliverables.r.csv.columns.a: 'threshold_low' is no column"),
        (
            "r.csv",
            {"columns": {"a": "distance_feature_drift"}},
            "deliverables.r.csv.columns: the study measures no distances between domains: add `inspection: {}`",
        ),
        (
            "r.json",
            {"experiments": ["claen"], "thresholds": True},
            "deliverables.r.json.experiments: 'claen' is not in experiments (did you mean 'clean'?)",
        ),
        (
            "r.png",
            {"experiments": ["clean"], "figure": "barz"},
            "deliverables.r.png.figure: 'barz' is no figure (did you mean 'bars'?)",
        ),
        (
            "r.png",
            {"figure": "bars"},
            "deliverables.r.png.figure: 'bars' is a figure of an experiment: name one in `experiments`",
        ),
        (
            "r.png",
            {"experiments": ["clean"], "figure": "recovery"},
            "deliverables.r.png.figure: 'recovery' is a figure of the study: leave out `experiments`",
        ),
        ("r.png", {"gap": "pro"}, "deliverables.r.png: a file of gap ends in .csv or .json: rename it"),
        (
            "r.csv",
            {"gap": "prow"},
            "deliverables.r.csv.gap: 'prow' is no metric of which more is better (did you mean 'pro'?)",
        ),
        (
            "r.csv",
            {"experiments": ["clean"], "gap": "pro"},
            "deliverables.r.csv.gap: all targets are of dataset 'parts': name an experiment of another",
        ),
        (
            "r.csv",
            {"experiments": ["clean"], "gap": "miss_rate"},
            "deliverables.r.csv.gap: 'miss_rate' is no metric of which more is better",
        ),
        (
            "r.csv",
            {"experiments": ["clean", "shifted"], "gap": "pro"},
            "deliverables.r.csv.gap: a setup scores parts/bolt with several banks or in several domains",
        ),
        ("r.csv", {}, "deliverables.r.csv: needs one of columns, gap, figure, thresholds, splits, has none"),
        (
            "r.json",
            {"columns": {"a": "pro"}, "splits": True},
            "deliverables.r.json: needs one of columns, gap, figure, thresholds, splits, has columns and splits",
        ),
        (
            "r.png",
            {"experiments": ["clean", "shifted"], "figure": "bars"},
            "deliverables.r.png: a figure is of one experiment, or of the study: name one experiment, or none",
        ),
        (
            "r.csv",
            {"columns": {"a": "pro", "a_low": "pro_low"}},
            "deliverables.r.csv: column 'a_low' would stand in the file twice",
        ),
        ("r.csv", {"colums": {"a": "pro"}}, "deliverables.r.csv.colums: unknown key (did you mean 'columns'?)"),
        ("r.csv", {"columns": {}}, "deliverables.r.csv.columns: "),
        ("r.json", {"experiments": [], "splits": True}, "deliverables.r.json.experiments: is an empty list"),
        ("../r.csv", {"columns": {"a": "pro"}}, "deliverables.../r.csv"),
        ("a/r.csv", {"columns": {"a": "pro"}}, "deliverables.a/r.csv"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_any_job_starts(
    study: Settings, mistakes: Mistakes, name: str, spec: Settings, message: str
) -> None:
    study["deliverables"] = {name: spec}
    lines = mistakes()
    assert any(line.startswith(f"study.yaml: {message}") for line in lines), lines


def test_all_mistakes_of_all_files_are_reported_together(study: Settings, mistakes: Mistakes) -> None:
    study["deliverables"] = {
        "a.txt": {"experiments": ["none"], "columns": {"x": "nothing", "y": "pro"}},
        "b.csv": {"figure": "bars"},
    }
    places = [line.split(": ")[1] for line in mistakes()]
    expected = ["a.txt", "a.txt.experiments", "a.txt.columns.x", "b.csv", "b.csv.figure"]
    assert places == [f"deliverables.{place}" for place in expected]
