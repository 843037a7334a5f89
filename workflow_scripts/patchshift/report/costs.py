"""What each detector costs to fit and per image, read from what the jobs left behind: an experiment's `costs.csv`.
Columns: docs/results.md.

Times differ from run to run, so they stand here and in `timings.csv` alone.
Tested in tests/report/test_costs.py.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from patchshift.plan.cells import Cell
from patchshift.plan.sharding import find_whole
from patchshift.report.keys import DECISION_KEYS, row_keys
from patchshift.report.tables import COUNTS, SIZES
from patchshift.report.timings import BENCHMARKS, LOGS, fit_seconds, read_scoring_pace
from patchshift.runtime.files import read_json
from patchshift.runtime.pace import read_passes


def experiment_costs(
    cells: Iterable[Cell], baseline: str | None = None, *, logs: Path = LOGS, benchmarks: Path = BENCHMARKS
) -> pd.DataFrame:
    """One row per bank and target: sizes, and seconds of fitting and milliseconds per image where they are known, to
    four digits.

    Args:
        cells: of one experiment.
        baseline: the detector whose scoring time is 1; None: that of the first cell.
        logs: the folder of the jobs' logs.
        benchmarks: the folder of Snakemake's benchmark files.

    Returns:
        An empty frame if there are no cells.
    """
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    passes = _read_passes(logs)
    for cell in cells:
        baseline = baseline or cell.bank.detector
        keys = {key: value for key, value in row_keys(cell).items() if key not in DECISION_KEYS}
        times = {"fit_seconds": fit_seconds(cell, benchmarks), **_times(cell, passes, logs)}
        rows[tuple(keys.values())] = {**keys, **_sizes(cell), **times}
    frame = pd.DataFrame(list(rows.values()))
    if frame.empty:
        return frame
    frame = frame.astype(dict.fromkeys(COUNTS, "Int64"))
    same = [key for key in keys if key != "detector"]
    at_baseline = frame[frame["detector"] == baseline].set_index(same)
    for name in ("embedding", "scoring"):
        of_baseline = at_baseline[f"{name}_ms"]
        frame[f"relative_{name}_time"] = [
            row[f"{name}_ms"] / of_baseline.get(tuple(row[key] for key in same), float("nan"))
            for _, row in frame.iterrows()
        ]
    measured = frame.select_dtypes("float").columns
    frame[measured] = frame[measured].map(lambda value: float(f"{value:.4g}"))
    return frame


def _sizes(cell: Cell) -> dict[str, Any]:
    metrics, bank = read_json(Path(cell.metrics)), Path(f"results/banks/{cell.bank.path}.h5")
    sizes = {name: metrics["facts"].get(name) for name in SIZES}
    return {**sizes, "bank_mb": bank.stat().st_size / 1e6 if bank.is_file() else float("nan")}


def _times(cell: Cell, passes: dict[str, tuple[int, float]], logs: Path) -> dict[str, float]:
    """Milliseconds per image: of decoding and forward pass, and of what follows up to the score."""
    features = f"results/features/{cell.target.path}/{cell.bank.backbone}.h5" if cell.bank.is_fitted else ""
    images, seconds = passes.get(features, (0, 0.0))
    extraction = 1000 * seconds / images if images else float("nan")
    pace = read_scoring_pace(f"{cell.bank.path}/on/{cell.target.path}", logs)
    if pace is None or not pace.images:
        embedding = searching = float("nan")
    else:
        embedding = 1000 * pace.embedding_seconds / pace.images
        searching = 1000 * pace.searching_seconds / pace.images
    scoring = embedding + searching
    return {
        "extraction_ms": extraction,
        "embedding_ms": embedding,
        "searching_ms": searching,
        "scoring_ms": scoring,
        "inference_ms": extraction + scoring,
    }


def _read_passes(logs: Path) -> dict[str, tuple[int, float]]:
    """Path of each store -> its images, and the seconds that they took, of shards added up.

    The oldest logs first, so that of two passes over the same images the later one counts.
    """
    found = [path for stage in ("extract_features", "extract_shard") for path in (logs / stage).rglob("*.log")]
    passes: dict[str, tuple[int, float]] = {}
    parts: dict[tuple[str, int], dict[str, tuple[int, float]]] = {}
    for log in sorted(found, key=lambda path: path.stat().st_mtime):
        for path, pace in read_passes(log.read_text(encoding="utf-8", errors="replace")).items():
            whole = find_whole(path)
            if whole is None:
                passes[path] = pace
                continue
            shards = parts.setdefault(whole, {})
            shards[path] = pace
            passes[whole[0]] = sum(images for images, _ in shards.values()), sum(each for _, each in shards.values())
    return passes
