import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from patchshift.detectors.pace import ScoringPace
from patchshift.plan.cells import Cell
from patchshift.report.tables import tidy_metrics
from patchshift.report.timings import COLUMNS, fit_seconds, read_scoring_pace, timings
from patchshift.runtime.files import read_json, write_json

FIGURES = {"seconds": 1.5, "cpu_seconds": 2.5, "peak_memory_mb": 200}


def leave_benchmark(folder: Path, stage: str, artifact: str) -> None:
    path = folder / stage / f"{artifact}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("s\th:m:s\tmax_rss\tcpu_time\n1.5\t0:00:01\t200\t2.5\n")


@pytest.fixture
def cells(make_study: Callable[..., object]) -> list[Cell]:
    """The cells of one category, two detectors."""
    return make_study(clean={"title": "In domain", "train": ["d/a"]}).cells()  # type: ignore[attr-defined, no-any-return]


def told(frame: pd.DataFrame) -> dict[str, object]:
    """What the only row says, without what is empty."""
    return frame.iloc[0].dropna().to_dict()


def test_only_jobs_that_left_a_benchmark_have_a_row(cells: list[Cell], tmp_path: Path) -> None:
    assert timings(cells).empty
    assert list(timings(cells).columns) == COLUMNS
    leave_benchmark(tmp_path, "evaluate", artifact := f"{cells[0].bank.path}/on/{cells[0].target.path}")
    assert told(timings(cells, benchmarks=tmp_path)) == {"stage": "evaluate", "artifact": artifact, **FIGURES}


def test_a_fit_stands_beside_the_size_of_its_bank(cells: list[Cell], tmp_path: Path) -> None:
    leave_benchmark(tmp_path, "fit_detector", cells[0].bank.path)
    assert told(timings(cells, benchmarks=tmp_path)) == {
        **{"stage": "fit_detector", "artifact": cells[0].bank.path, **FIGURES},
        **{"fit_seconds": 1.5, "bank_vectors": 300, "bank_bytes": 14400},
    }
    assert [fit_seconds(cell, tmp_path) for cell in cells] == pytest.approx([1.5, float("nan")], nan_ok=True)


def test_scoring_is_divided_into_embedding_and_search(cells: list[Cell], tmp_path: Path) -> None:
    artifact = f"{cells[0].bank.path}/on/{cells[0].target.path}"
    leave_benchmark(tmp_path, "score_images", artifact)
    assert "search_seconds" not in told(timings(cells, benchmarks=tmp_path))  # the log is gone
    log = tmp_path / "logs/score_images" / f"{artifact}.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"2026-01-01 00:00:00,000 INFO {ScoringPace(18, 0.25, 0.5).describe()}\n")
    found = told(timings(cells, benchmarks=tmp_path, logs=tmp_path / "logs"))
    assert (found["embedding_seconds"], found["search_seconds"]) == (0.25, 0.5)
    log.write_text("2026-01-01 00:00:00,000 ERROR killed\n")
    assert read_scoring_pace(artifact, tmp_path / "logs") is None


def test_a_detector_without_a_bank_has_no_sizes(cells: list[Cell], tmp_path: Path) -> None:
    metrics = Path(cells[0].metrics)
    write_json(metrics, read_json(metrics) | {"facts": {"patches_per_image": 16}})
    leave_benchmark(tmp_path, "fit_detector", cells[0].bank.path)
    assert {"bank_vectors", "bank_bytes"}.isdisjoint(told(timings(cells, benchmarks=tmp_path)))


def test_targets_extracted_in_one_job_have_one_row(results, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    cells = results.cells["clean"]
    leave_benchmark(tmp_path, "extract_features", "batches/net/0")
    batches = {f"{cell.target.path}/net": "batches/net/0" for cell in cells}
    assert list(timings(cells, batches, benchmarks=tmp_path).artifact) == ["batches/net/0"]


def test_the_jobs_that_shared_a_fit_each_have_a_row_and_their_sum_is_what_it_took(
    cells: list[Cell], tmp_path: Path
) -> None:
    bank = cells[0].bank.path
    jobs = [
        ("fit_representation", bank),
        *(("choose_shard", f"{bank}.shards/{number}of2") for number in (1, 2)),
        ("fit_detector", bank),
    ]
    for stage, artifact in [*jobs, ("choose_shard", f"{bank}.shards/1of3")]:  # one of an earlier fit
        leave_benchmark(tmp_path, stage, artifact)
    shared = replace(cells[0], bank=replace(cells[0].bank, shards=2))
    found = timings([shared], benchmarks=tmp_path)
    assert list(zip(found.stage, found.artifact, strict=True)) == jobs
    assert fit_seconds(shared, tmp_path) == 4 * 1.5
    assert list(timings(cells, benchmarks=tmp_path).stage) == ["fit_detector"]
    assert fit_seconds(cells[0], tmp_path) == 1.5


def test_the_jobs_that_shared_an_extraction_have_a_row_until_one_job_made_it_anew(
    cells: list[Cell], tmp_path: Path
) -> None:
    store = f"{cells[0].target.path}/net"
    jobs = [
        *(("extract_shard", f"{store}.shards/{number}of2") for number in (1, 2)),
        ("merge_features", store),
    ]
    for age, (stage, artifact) in enumerate([("extract_shard", f"{store}.shards/3of3"), *jobs]):
        leave_benchmark(tmp_path, stage, artifact)
        os.utime(tmp_path / stage / f"{artifact}.tsv", (age, age))
    found = timings(cells, benchmarks=tmp_path)
    assert list(zip(found.stage, found.artifact, strict=True)) == jobs
    leave_benchmark(tmp_path, "extract_features", store)
    assert list(timings(cells, benchmarks=tmp_path).stage) == ["extract_features"]


def test_metrics_hold_sizes_and_never_times(cells: list[Cell]) -> None:
    names = set(tidy_metrics(cells).metric)
    assert {"bank_vectors", "bank_bytes"} <= names
    assert not {name for name in names if "second" in name or name.endswith("_ms")}


def test_making_and_extraction_of_all_places_that_a_row_names_are_listed(
    make_study: Callable[..., object], tmp_path: Path
) -> None:
    crossed = {"title": "", "train": ["d/a"], "targets": ["d/b"], "target_domains": ["dark"], "calibrate_on": "target"}
    cells = make_study(detectors=("sharp",), crossed=crossed).cells()  # type: ignore[attr-defined]
    jobs = [
        ("synthesize_shift", "d/b/dark"),
        ("turn_images", "d/a/clean"),
        ("extract_features", "d/b/dark/net"),
        ("extract_features", "d/a/clean/net"),
    ]
    for stage, artifact in [*jobs, ("synthesize_shift", "d/c/dark")]:
        leave_benchmark(tmp_path, stage, artifact)
    found = timings(cells, benchmarks=tmp_path)
    assert list(zip(found.stage, found.artifact, strict=True)) == jobs
