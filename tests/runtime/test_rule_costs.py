import csv
import io
from pathlib import Path

import pytest

from patchshift.runtime.rule_costs import read_benchmark, sum_up_rules

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def write(path: Path, *, seconds: float, memory: str = "10.5", read: str = "1.25") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t0\t0\t0\t{read}\t2.0\t0\t0.5\n")
    return str(path)


def sum_up(*jobs: tuple[str, str | None]) -> list[dict[str, str]]:
    table = sum_up_rules([{"stage": stage, "benchmark": path} if path else {"stage": stage} for stage, path in jobs])
    return list(csv.DictReader(io.StringIO(table)))


def test_times_add_up_and_memory_is_the_largest(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tsv", seconds=3, memory="20")
    second = write(tmp_path / "b.tsv", seconds=5, memory="100.5")
    fit, score = sum_up(
        ("score_images", write(tmp_path / "c.tsv", seconds=2)), ("fit_detector", first), ("fit_detector", second)
    )
    assert (fit["rule"], fit["jobs"], fit["seconds"], fit["longest_seconds"]) == ("fit_detector", "2", "8.0", "5.0")
    assert (fit["share"], score["share"]) == ("0.8", "0.2")
    assert (fit["cpu_seconds"], fit["peak_memory_mb"]) == ("1.0", "100.5")
    assert (fit["read_mb"], fit["written_mb"]) == ("2.5", "4.0")


def test_a_job_with_several_outputs_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", seconds=3)
    (row,) = sum_up(("collect_study", path), ("collect_study", path))
    assert (row["jobs"], row["seconds"]) == ("1", "3.0")


def test_what_snakemake_could_not_measure_is_empty(tmp_path: Path) -> None:
    (row,) = sum_up(("split_images", write(tmp_path / "a.tsv", seconds=0.1, memory="-", read="NA")))
    assert (row["seconds"], row["peak_memory_mb"], row["read_mb"], row["written_mb"]) == ("0.1", "", "", "2.0")


@pytest.mark.parametrize("path", [None, "gone.tsv"])
def test_jobs_without_a_benchmark_have_no_part_in_it(path: str | None) -> None:
    assert sum_up(("all", path)) == []
    assert read_benchmark(Path("gone.tsv")) == {}
