import csv
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.data.splits import Split, write_split
from patchshift.errors import UserError
from patchshift.evaluation.decisions import PIXEL_DECISION_METRICS
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS
from patchshift.evaluation.image_metrics import DECISION_METRICS
from patchshift.plan.deliverable_specs import (
    COLUMNS,
    COSTS,
    DISTANCES,
    ENDS,
    EXPERIMENT_FIGURES,
    KEYS,
    METRICS,
    SPLIT_SETTINGS,
    STUDY_FIGURES,
    TIMESTAMP,
    DeliverableSpec,
)
from patchshift.report.keys import row_keys
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, STUDY_PLOTS
from patchshift.report.results import read_rows
from patchshift.runtime.files import read_json, write_json

MakeStudy = Callable[..., Any]


def write(study: Any, name: str, /, settings: str = "{}", **spec: Any) -> Path:
    """One deliverable, through its script; the path of the file."""
    checked = DeliverableSpec.model_validate(spec)
    names = checked.experiments or study.plan.order
    plan = study.plan.model_copy(update={"order": names, "experiments": {n: study.plan.experiments[n] for n in names}})
    path = study.folder / "deliverables" / name
    arguments = ["--spec", checked.model_dump_json(), "--plan", plan.canonical(), "--splits", settings]
    import_module("write_deliverables").main([*arguments, "--folder", str(study.folder), "--deliverable", str(path)])
    return path


def results_of(study: Any, experiment: str) -> list[dict[str, str]]:
    return read_rows(study.folder / "experiments" / experiment / "results.csv")


@pytest.fixture
def clean(make_study: MakeStudy) -> Any:
    """In-domain cells of two categories and two detectors."""
    return make_study(clean={"title": "In domain", "train": ["d"]})


def test_the_plan_knows_every_column_of_results_and_costs(clean: Any) -> None:
    results, costs = ({*read_rows(clean.folder / f"experiments/clean/{name}.csv")[0]} for name in ("results", "costs"))
    with_ends = {f"{name}{end}" for name in METRICS for end in ENDS}
    assert results | costs == {*COLUMNS, *with_ends} - {*DISTANCES, *SPLIT_SETTINGS, TIMESTAMP}
    assert costs - results == set(COSTS)
    assert list(row_keys(clean.cells()[0])) == list(KEYS)
    known = {*IMAGE_METRICS, *PIXEL_METRICS, *DECISION_METRICS, *PIXEL_DECISION_METRICS}
    assert known < set(METRICS)


def test_the_plan_knows_every_figure() -> None:
    assert list(EXPERIMENT_PLOTS) == list(EXPERIMENT_FIGURES)
    assert list(STUDY_PLOTS) == list(STUDY_FIGURES)


def test_a_csv_has_our_values_under_its_own_names_with_intervals_beside_metrics(clean: Any) -> None:
    columns = {"fusion_strategy": "detector", "category": "target_category", "pixel_pr": "pixel_ap", "n": "count_tp"}
    rows = read_rows(write(clean, "results.csv", columns=columns))
    ours = {
        "fusion_strategy": "detector",
        "category": "target_category",
        "pixel_pr": "pixel_ap",
        "pixel_pr_low": "pixel_ap_low",
        "pixel_pr_high": "pixel_ap_high",
        "n": "count_tp",
    }
    assert list(rows[0]) == list(ours)
    assert rows == [{name: row[column] for name, column in ours.items()} for row in results_of(clean, "clean")]
    assert len(rows) == 4
    assert 0 < float(rows[0]["pixel_pr_low"]) <= float(rows[0]["pixel_pr"]) <= float(rows[0]["pixel_pr_high"])


def test_no_rate_of_a_few_images_is_written_as_if_it_were_certain(clean: Any) -> None:
    names = ("precision", "accuracy", "balanced_accuracy", "f1", "recall", "specificity")
    found = read_json(write(clean, "results.json", columns=dict(zip(names, names, strict=True))))
    assert any(row[name] == 1 for row in found for name in names)  # where resamples are all equal
    for row in found:
        for name in names:
            assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1
            assert row[f"{name}_high"] - row[f"{name}_low"] > 0.1


def test_what_is_undefined_is_empty_null_or_nan(make_study: MakeStudy) -> None:
    study = make_study(validation=False, clean={"title": "In domain", "train": ["d/a"], "detectors": ["sharp"]})
    columns = {"f1": "f1", "image_auroc": "image_auroc", "category": "target_category", "tp": "count_tp", "by": "alias"}
    (text,) = read_rows(write(study, "r.csv", columns=columns))
    assert (text["f1"], text["f1_low"], text["f1_high"], text["tp"], text["by"]) == ("", "", "", "", "")
    (row,) = read_json(write(study, "r.json", columns=columns))
    assert row["image_auroc"] == float(text["image_auroc"])
    assert row | {"image_auroc": 0, "image_auroc_low": 0, "image_auroc_high": 0} == {
        **{"f1": None, "f1_low": None, "f1_high": None, "tp": None, "by": "", "category": "a"},
        **{"image_auroc": 0, "image_auroc_low": 0, "image_auroc_high": 0},
    }
    array = np.load(write(study, "r.npy", columns=columns), allow_pickle=False)
    assert np.isnan([array[name][0] for name in ("f1", "f1_low", "f1_high", "tp")]).all()
    assert array["by"][0] == ""


def test_numbers_are_numbers_and_names_are_text_in_json(make_study: MakeStudy) -> None:
    study = make_study(weights="007", clean={"title": "In domain", "train": ["d"]})
    columns = {"weights": "weights", "seed": "seed", "n": "bank_vectors", "auroc": "image_auroc"}
    row = read_json(write(study, "results.json", columns=columns))[0]
    assert (row["weights"], row["seed"], row["n"]) == ("007", 0, 300)
    assert all(isinstance(row[name], int) for name in ("seed", "n"))
    assert row["auroc"] == float(results_of(study, "clean")[0]["image_auroc"])


def test_an_array_has_a_field_for_each_column_and_loads_without_pickle(clean: Any) -> None:
    path = write(clean, "metrics.npy", columns={"category": "target_category", "auroc": "image_auroc", "k": "seed"})
    array = np.load(path, allow_pickle=False)
    rows = results_of(clean, "clean")
    assert array.dtype.names == ("category", "auroc", "auroc_low", "auroc_high", "k")
    assert list(array["category"]) == [row["target_category"] for row in rows]
    assert array["auroc_high"].dtype == np.float64
    assert list(array["auroc_high"]) == [float(row["image_auroc_high"]) for row in rows]


def test_experiments_follow_each_other_and_a_cell_of_two_stands_once(make_study: MakeStudy) -> None:
    study = make_study(
        one={"title": "", "train": ["d"], "detectors": ["sharp"]},
        two={"title": "", "train": ["d/b"], "target_domains": ["clean", "dark"]},
    )
    columns = {name: name for name in ("target_category", "target_domain", "detector")}
    both = [
        (row["target_category"], row["target_domain"], row["detector"])
        for row in read_rows(write(study, "r.csv", experiments=["two", "one"], columns=columns))
    ]
    blunt, sharp = ([("b", domain, name) for domain in ("clean", "dark")] for name in ("blunt", "sharp"))
    assert both == [*blunt, *sharp, ("a", "clean", "sharp")]
    assert len(read_rows(write(study, "r.csv", experiments=["one"], columns=columns))) == 2


def test_costs_stand_beside_the_metrics_of_the_same_bank_and_target(clean: Any) -> None:
    path = clean.folder / "experiments/clean/costs.csv"
    rows = read_rows(path)
    for number, row in enumerate(rows):
        row["inference_ms"] = f"{number}.5"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(reversed(rows))
    written = read_rows(write(clean, "r.csv", columns={"inference_time_ms": "inference_ms", "pro": "pro"}))
    assert [row["inference_time_ms"] for row in written] == ["0.5", "1.5", "2.5", "3.5"]


def test_distances_are_those_of_the_row_s_training_target_split_and_backbone(make_study: MakeStudy) -> None:
    study = make_study(clean={"title": "", "train": ["d/a"], "targets": ["d"], "detectors": ["sharp"]})
    place = {"train_dataset": "d", "train_category": "a", "train_domain": "clean", "target_dataset": "d"}
    place |= {"target_domain": "clean", "split": "s", "backbone": "net"}
    estimates = [
        {"target_category": "a", "distance": "feature_drift", "value": "0.5", "low": "0.25", "high": "0.75"},
        {"target_category": "b", "distance": "cosine_distance", "value": "0.1", "low": "", "high": ""},
        {"target_category": "b", "distance": "feature_drift", "value": "9", "low": "8", "high": "10", "split": "t"},
    ]
    with (study.folder / "distances.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*place, "target_category", "distance", "value", "low", "high"])
        writer.writeheader()
        writer.writerows(place | estimate for estimate in estimates)
    columns = {"drift": "distance_feature_drift", "cosine": "distance_cosine_distance", "c": "target_category"}
    rows = read_rows(write(study, "r.csv", columns=columns))
    assert [list(row.values()) for row in rows] == [
        ["0.5", "0.25", "0.75", "", "", "", "a"],
        ["", "", "", "0.1", "", "", "b"],
    ]


def test_a_timestamp_is_when_the_metrics_of_the_row_were_computed(clean: Any) -> None:
    for number, cell in enumerate(clean.cells()):
        os.utime(cell.metrics, (1_700_000_000 + number, 1_700_000_000 + number + 0.7))
    rows = read_rows(write(clean, "r.csv", columns={"timestamp": "timestamp"}))
    assert [row["timestamp"] for row in rows] == [f"2023-11-14T22:13:2{number}+00:00" for number in range(4)]


def test_a_figure_is_that_of_the_experiment_or_of_the_study(clean: Any) -> None:
    for folder, content in (("experiments/clean/figures", b"own"), ("figures", b"all")):
        path = clean.folder / folder
        path.mkdir(exist_ok=True)
        for name in ("bars.png", "recovery.svg"):
            (path / name).write_bytes(content)
    assert write(clean, "comparison.png", experiments=["clean"], figure="bars").read_bytes() == b"own"
    assert write(clean, "r.svg", figure="recovery").read_bytes() == b"all"


def test_a_figure_that_was_not_drawn_is_named(clean: Any) -> None:
    (clean.folder / "experiments/clean/figures").mkdir()
    with pytest.raises(UserError, match=r"figures/transfer\.png was not drawn.*deliverables\.t\.png, or remove it"):
        write(clean, "t.png", experiments=["clean"], figure="transfer")
    assert not (clean.folder / "deliverables/t.png").exists()


def test_thresholds_are_those_of_the_cells_each_once(make_study: MakeStudy) -> None:
    study = make_study(
        clean={"title": "", "train": ["d"], "detectors": ["sharp"]},
        shifted={"title": "", "train": ["d/a"], "target_domains": ["dark"], "detectors": ["sharp"]},
    )
    cell = study.cells()[0]
    write_json(Path(cell.threshold_file), read_json(Path(cell.threshold_file)) | {"guarantee": "one in ten"})
    first, second = read_json(write(study, "thresholds.json", thresholds=True))
    content = read_json(Path(cell.threshold_file))
    assert first["threshold"] == content["threshold"]
    assert (first["guarantee"], first["policy"], first["normal"], first["anomalous"]) == ("one in ten", "f1_max", 3, 3)
    assert (first["train_category"], first["calibration_domain"], second["train_category"]) == ("a", "clean", "b")
    assert not [key for key in first if key.startswith("target_")]


def test_splits_say_which_images_are_in_which_part_and_which_are_anomalous(clean: Any) -> None:
    parts = {"a.png": "train", "b.png": "train", "c.png": "val", "d.png": "unused", "e.png": "test"}
    split = Split(parts, frozenset({"c.png"}), frozenset({"b.png"}))
    write_split(Path("results/splits/d/a/s.csv"), split)
    content = read_json(write(clean, "splits.json", splits=True))
    assert set(content) == {"d/a", "d/b"}
    assert content["d/a"] == {
        "s": {
            "train": [
                {"image": "a.png", "label": 0, "role": "normal"},
                {"image": "b.png", "label": 1, "role": "contaminant"},
            ],
            "val": [{"image": "c.png", "label": 1, "role": "positive"}],
            "test": [{"image": "e.png", "label": 0, "role": "normal"}],
            "domains": {"train": ["clean"], "val": ["clean"], "test": ["clean"]},
        }
    }
    assert [len(content["d/b"]["s"][part]) for part in ("train", "val", "test")] == [3, 6, 12]


def test_the_same_results_give_the_same_bytes(clean: Any) -> None:
    columns = {"category": "target_category", "auroc": "image_auroc", "f1": "f1"}
    for name in ("r.csv", "r.json", "r.npy"):
        first = write(clean, name, columns=columns).read_bytes()
        assert write(clean, name, columns=columns).read_bytes() == first


def test_results_of_another_plan_are_refused(clean: Any) -> None:
    path = clean.folder / "experiments/clean/results.csv"
    path.write_text(path.read_text().replace("d,b,clean", "d,c,clean"))
    with pytest.raises(UserError, match=r"experiments/clean/results\.csv is of another plan"):
        write(clean, "r.csv", columns={"a": "pro"})


def test_a_gap_is_between_the_means_of_two_datasets_with_the_interval_of_independent_images(
    make_study: MakeStudy,
) -> None:
    study = make_study(
        camera=True,
        home={"title": "Home", "train": ["d"], "detectors": ["blunt"]},
        away={"title": "Away", "train": ["e/a"], "detectors": ["blunt"]},
    )
    rows = read_rows(write(study, "gap.csv", experiments=["home", "away"], gap="image_auroc"))
    assert [(row["detector"], row["home_dataset"], row["dataset"]) for row in rows] == [("blunt", "d", "e")]
    (row,) = rows
    assert (row["home_categories"], row["categories"]) == ("2", "1")
    (away,) = results_of(study, "away")
    home = np.mean([float(each["image_auroc"]) for each in results_of(study, "home")])
    assert float(row["home_image_auroc"]) == pytest.approx(home)
    assert float(row["image_auroc"]) == pytest.approx(float(away["image_auroc"]))
    assert float(row["gap"]) == pytest.approx(home - float(away["image_auroc"]))
    assert float(row["gap_relative"]) == pytest.approx(float(row["gap"]) / home)
    assert float(row["gap_low"]) < float(row["gap"]) < float(row["gap_high"])
    (number,) = read_json(write(study, "gap.json", experiments=["home", "away"], gap="image_auroc"))
    assert (number["gap"], number["weights"], number["seed"]) == (float(row["gap"]), row["weights"], 0)


def test_settings_of_a_rows_split_stand_beside_its_metrics(clean: Any) -> None:
    columns = {"shots": "train_limit", "contamination": "train_contamination"}
    settings = '{"s": {"train_contamination": 0.05, "train_limit": null}}'
    rows = read_rows(write(clean, "r.csv", settings=settings, columns=columns))
    assert rows == [{"shots": "", "contamination": "0.05"}] * 4
    assert read_json(write(clean, "r.json", settings=settings, columns=columns))[0] == {
        "shots": None,
        "contamination": 0.05,
    }
