"""Equal bytes wherever and however a study runs: on 1, 2 or 4 cores, in another folder, order and environment."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import TINY_STUDY

TIMED = {"timings.csv", "costs.csv"}
"""Artifacts that hold times (docs/architecture.md, 'Determinism')."""

HANDLED = {"manifest.json", "rules.csv", "run.log", "summary.json"}
"""What the handlers of a run write, beside the logs of each run."""

ALONE = {
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    **{"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
}
CROWDED = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "PYTHONHASHSEED": "11", "TZ": "America/Caracas"}

FROM_THE_END = (
    "results/domains/tiny/weave/turned",
    "results/features/tiny/weave/turned/tiny_scattering.h5",
    "results/studies/tiny/report.pdf",
    "all",
)
"""Targets one after another, shifted images before clean ones, which a run for `all` makes first."""


@pytest.fixture(scope="module", params=["one core, one target at a time", "four cores, the other way round"])
def other(request: pytest.FixtureRequest, make_checkout: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny study made anew, in a folder of another name and depth."""
    alone = request.param.startswith("one")
    folder = tmp_path_factory.mktemp("elsewhere") / ("a place" if alone else "deep/down")
    folder.parent.mkdir(exist_ok=True)
    checkout = make_checkout(folder, TINY_STUDY)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ALONE if alone else CROWDED).items():
            patch.setenv(name, value)
        if alone:
            runs = [("--cores", "1", target) for target in FROM_THE_END]
        else:
            runs = [("--cores", "4", "--scheduler", "greedy", "--prioritize", FROM_THE_END[1], "--", "all")]
        for arguments in runs:
            run = checkout.run(*arguments)
            assert run.returncode == 0, run.stderr
    return checkout


def listed(checkout: Any) -> dict[str, str]:
    """Path of each artifact -> its digest."""
    manifest = json.loads((checkout.folder / "results/studies/tiny/manifest.json").read_text())
    return {path: entry["sha256"] for path, entry in manifest["artifacts"].items()}


def files(checkout: Any) -> dict[str, Path]:
    """All files of results but logs, costs of jobs, and what Snakemake or a run's handlers write."""
    results = checkout.folder / "results"
    found = {path.relative_to(results).as_posix(): path for path in results.rglob("*") if path.is_file()}
    run = {name for name in found if name.startswith(("logs/", "benchmarks/")) or Path(name).name.startswith("run_")}
    own = {name for name in found if name.endswith((".snakemake_timestamp", ".digests.csv"))}  # hold times of files
    return {name: path for name, path in found.items() if Path(name).name not in HANDLED and name not in run | own}


def test_every_artifact_but_those_of_times_has_the_same_digest(finished_tiny: Any, other: Any) -> None:
    expected, found = listed(finished_tiny), listed(other)
    assert found.keys() == expected.keys()
    different = {Path(path).name for path in expected if found[path] != expected[path]}
    assert different <= TIMED
    kinds = ("features/", "banks/", "scores/", "metrics/", "studies/tiny/experiments/shifted/figures", "report.html")
    assert all(any(kind in path for path in expected) for kind in kinds)


def test_every_file_of_the_results_has_the_same_bytes(finished_tiny: Any, other: Any) -> None:
    """Also those that no manifest lists: notes of how folders were made, files in folders."""
    expected, found = files(finished_tiny), files(other)
    assert found.keys() == expected.keys()
    different = {name for name, path in expected.items() if found[name].read_bytes() != path.read_bytes()}
    assert {Path(name).name for name in different} <= TIMED


def test_tables_of_times_have_the_same_rows_and_differ_in_times_alone(finished_tiny: Any, other: Any) -> None:
    for path in listed(finished_tiny):
        if Path(path).name in TIMED:
            before, after = ((each.folder / path).read_text().splitlines() for each in (finished_tiny, other))
            assert after[0] == before[0]
            assert len(after) == len(before)
