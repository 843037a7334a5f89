import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from patchshift.detectors.pace import ScoringPace
from patchshift.plan.cells import Cell
from patchshift.report.costs import experiment_costs
from patchshift.report.tables import experiment_results, tidy_metrics
from patchshift.runtime.files import read_json, write_json


def write_logs(cells: Sequence[Cell], seconds: dict[str, float]) -> None:
    for cell in cells:
        log = Path("results/logs/score_images", cell.bank.path, "on", f"{cell.target.path}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        pace = ScoringPace(18, seconds[cell.bank.detector], 2 * seconds[cell.bank.detector])
        log.write_text(f"2026-01-01 00:00:00,000 INFO {pace.describe()}\n")


def test_costs_are_per_image_and_relative_to_the_baseline(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d"]}).cells()
    write_logs(cells, {"blunt": 0.018, "sharp": 0.036})
    store = f"results/features/{cells[0].target.path}/net.h5"
    log = Path("results/logs/extract_features/batches/net/0.log")
    log.parent.mkdir(parents=True)
    log.write_text(f"2026-01-01 00:00:00,000 INFO {store}: passed 200 images through the backbone in 1.000 s\n")
    costs = experiment_costs(cells, "sharp").set_index(["target_category", "detector"])
    assert costs.loc[("a", "blunt"), "scoring_ms"] == pytest.approx(3)
    assert costs.loc[("a", "sharp"), "searching_ms"] == pytest.approx(4)
    assert costs.loc[("a", "blunt"), "inference_ms"] == pytest.approx(5 + 3)
    assert costs.loc["a", "relative_scoring_time"].to_dict() == pytest.approx({"blunt": 0.5, "sharp": 1})
    assert costs.loc["a", "relative_embedding_time"].to_dict() == pytest.approx({"blunt": 0.5, "sharp": 1})
    assert costs.loc["b", "extraction_ms"].isna().all()
    assert set(costs.feature_dim) == {12}


def test_the_images_of_shards_are_those_of_their_store(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()
    write_logs(cells, {"blunt": 0.018, "sharp": 0.036})
    store = f"results/features/{cells[0].target.path}/net"
    folder = Path("results/logs/extract_shard")
    folder.mkdir(parents=True)
    passes = [("3of3", 70, 9.0), ("1of2", 120, 0.5), ("2of2", 80, 0.5)]  # the first of an earlier run
    for age, (shard, images, seconds) in enumerate(passes):
        told = f"{store}.shards/{shard}.h5: passed {images} images through the backbone in {seconds:.3f} s\n"
        (folder / f"{shard}.log").write_text(f"2026-01-01 00:00:00,000 INFO {told}")
        os.utime(folder / f"{shard}.log", (age, age))
    assert list(experiment_costs(cells).extraction_ms) == pytest.approx([5, 5])


def test_times_have_four_digits(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()
    write_logs(cells, {"blunt": 0.1, "sharp": 0.3})
    costs = experiment_costs(cells, "sharp").set_index("detector")
    assert costs.loc["blunt", ["embedding_ms", "searching_ms", "scoring_ms"]].tolist() == [5.556, 11.11, 16.67]
    assert costs.loc["blunt", "relative_scoring_time"] == 0.3333


def test_without_logs_there_are_sizes_and_no_times(make_study) -> None:
    costs = experiment_costs(make_study(clean={"title": "In domain", "train": ["d/a"]}).cells())
    assert list(costs.patches_per_image) == [16, 16]
    assert costs[["scoring_ms", "inference_ms", "relative_scoring_time"]].isna().all(axis=None)


def test_thresholds_do_not_repeat_a_detectors_costs_and_seeds_do(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"], "seeds": [0, 1]}).cells()
    write_logs(cells, {"blunt": 0.018, "sharp": 0.036})
    costs = experiment_costs([*cells, *cells])
    assert len(costs) == 4
    assert costs[costs.detector == "sharp"].relative_scoring_time.tolist() == pytest.approx([2, 2])


def test_sizes_stand_beside_the_metrics(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()
    assert set(experiment_results(cells).feature_dim) == {12}
    tidy = tidy_metrics(cells)
    assert set(tidy[tidy.metric == "patches_per_image"].value) == {16}


def test_no_cells_have_no_costs() -> None:
    assert experiment_costs([]).empty


def test_the_seconds_of_fitting_are_those_of_its_job(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()
    path = Path("results/benchmarks/fit_detector", f"{cells[0].bank.path}.tsv")
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\tcpu_time\n12.3456\t0:00:12\t200\t20\n")
    costs = experiment_costs(cells).set_index("detector")
    assert costs.loc[cells[0].bank.detector, "fit_seconds"] == 12.35
    assert costs.fit_seconds.isna().sum() == 1


def test_a_detector_without_a_bank_leaves_its_sizes_empty_and_others_whole(make_study) -> None:
    cells = make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()
    external = Path(cells[0].metrics)
    write_json(external, read_json(external) | {"facts": {"patches_per_image": 0}})
    for frame in (experiment_costs(cells), experiment_results(cells)):
        text = frame[["detector", "feature_dim", "bank_vectors", "bank_bytes"]].to_csv(index=False)
        assert text == "detector,feature_dim,bank_vectors,bank_bytes\nblunt,,,\nsharp,12,300,14400\n"
