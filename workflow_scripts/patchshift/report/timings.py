"""Time and memory of the jobs behind a study's results: `timings.csv`. Columns: docs/results.md.

Times differ from run to run, so they stand here and in `costs.csv` alone.
Tested in tests/report/test_timings.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from patchshift.detectors.pace import ScoringPace, read_pace
from patchshift.plan.cells import Bank, Cell
from patchshift.runtime.files import read_json

BENCHMARKS = Path("results/benchmarks")
LOGS = Path("results/logs")

MAKING = ("synthesize_shift", "synthesize_defects", "turn_images", "crop_defects")
"""The stages that make a domain's images; one at most made those of a domain, and left a benchmark."""

Job = tuple[str, str]
"""Stage and artifact."""

COLUMNS = [
    *("stage", "artifact", "seconds", "cpu_seconds", "peak_memory_mb"),
    *("fit_seconds", "bank_vectors", "bank_bytes", "embedding_seconds", "search_seconds"),
]


def timings(
    cells: Sequence[Cell],
    batches: Mapping[str, str] | None = None,
    *,
    benchmarks: Path = BENCHMARKS,
    logs: Path = LOGS,
) -> pd.DataFrame:
    """One row per job: wall time, processor time and peak memory; sizes of banks; what scoring spent its time on.

    Args:
        cells: the study's cells.
        batches: `{target}/{backbone}` -> the batch that it was extracted in, if in one (`plan.batches`).
        benchmarks: the folder of Snakemake's benchmark files. Jobs that left none there have no row.
        logs: the folder of the jobs' logs.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        for stage, name in _jobs(cell, benchmarks):
            artifact = (batches or {}).get(name, name)
            if (stage, artifact) in found:
                continue
            figures = _read_benchmark(benchmarks, stage, artifact)
            if not figures:  # absent where results came from elsewhere
                continue
            if stage == "fit_detector":
                facts = read_json(Path(cell.metrics))["facts"]
                sizes = {name: facts.get(name) for name in ("bank_vectors", "bank_bytes")}
                figures |= {"fit_seconds": figures["seconds"], **sizes}
            elif stage == "score_images" and (pace := read_scoring_pace(artifact, logs)):
                figures |= {"embedding_seconds": pace.embedding_seconds, "search_seconds": pace.searching_seconds}
            found[stage, artifact] = {"stage": stage, "artifact": artifact, **figures}
    return pd.DataFrame(list(found.values()), columns=COLUMNS).astype({"bank_vectors": "Int64", "bank_bytes": "Int64"})


def fit_seconds(cell: Cell, benchmarks: Path = BENCHMARKS) -> float:
    """Wall time of the jobs that fitted a cell's bank, start of Python included, several where it is chosen in shards;
    NaN where it is not known.
    """
    jobs = _fitting(cell.bank)
    return sum(float(_read_benchmark(benchmarks, stage, name).get("seconds", "nan")) for stage, name in jobs)


def read_scoring_pace(artifact: str, logs: Path = LOGS) -> ScoringPace | None:
    """What scoring took, start-up left out: from the log of `{bank}/on/{target}`; None where it does not say."""
    log = logs / "score_images" / f"{artifact}.log"
    return read_pace(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else None


def _read_benchmark(benchmarks: Path, stage: str, artifact: str) -> dict[str, Any]:
    path = benchmarks / stage / f"{artifact}.tsv"
    if not path.is_file():
        return {}
    figures = pd.read_csv(path, sep="\t").iloc[0]
    return {"seconds": figures["s"], "cpu_seconds": figures["cpu_time"], "peak_memory_mb": figures["max_rss"]}


def _fitting(bank: Bank) -> list[Job]:
    """The jobs that fitted a bank."""
    count = bank.shards
    shards = [("choose_shard", f"{bank.path}.shards/{number}of{count}") for number in range(1, count + 1)]
    return [*([("fit_representation", bank.path), *shards] if count > 1 else []), ("fit_detector", bank.path)]


def _extracting(name: str, benchmarks: Path) -> list[Job]:
    """The jobs that made a feature store: one, or those that shared its images the last time, and one that joined."""
    whole, joined = (benchmarks / stage / f"{name}.tsv" for stage in ("extract_features", "merge_features"))
    if not joined.is_file() or (whole.is_file() and whole.stat().st_mtime > joined.stat().st_mtime):
        return [("extract_features", name)]
    folder = benchmarks / "extract_shard" / f"{name}.shards"
    newest = max(folder.glob("*of*.tsv"), key=lambda path: path.stat().st_mtime, default=None)
    count = int(newest.stem.partition("of")[2]) if newest else 0
    shards = [("extract_shard", f"{name}.shards/{number}of{count}") for number in range(1, count + 1)]
    return [*shards, ("merge_features", name)]


def _jobs(cell: Cell, benchmarks: Path) -> list[Job]:
    """The costly and the repeated jobs that a cell's results come from: stage and artifact."""
    bank, target, calibration = cell.bank, cell.target.path, cell.calibration.path
    scored = list(dict.fromkeys(place.path for place in (cell.target, *cell.calibrated_on)))
    places = list(dict.fromkeys([*scored, *(place.path for place in bank.fitted_on)]))
    features = [job for place in places for job in _extracting(f"{place}/{bank.backbone}", benchmarks)]
    fitting = [*features, *_fitting(bank)] if bank.is_fitted else []
    scoring = "score_images" if bank.is_fitted else "import_scores"
    return [
        *((stage, place) for place in places for stage in MAKING),
        *fitting,
        ("pack_images", target),
        *((scoring, f"{bank.path}/on/{place}") for place in scored),
        ("calibrate_threshold", f"{bank.path}/from/{calibration}/{cell.threshold}"),
        ("evaluate", f"{bank.path}/on/{target}"),
        ("decide", f"{bank.path}/on/{target}/from/{calibration}/{cell.threshold}"),
    ]
