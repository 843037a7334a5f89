"""Gather the results of a study's cells into tables. Columns: docs/results.md.

Tested in tests/report/test_tables.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from patchshift.plan.cells import Cell
from patchshift.runtime.files import read_json

METRICS_COLUMNS = ["metric", "value", "low", "high", "undefined"]
SIZES = ("feature_dim", "patches_per_image")
TIMING_COLUMNS = ["stage", "artifact", "seconds", "cpu_seconds", "peak_memory_mb"]


def cell_keys(cell: Cell, *, ranking: bool = False) -> dict[str, str | int]:
    """The columns that name a cell; `ranking`: without threshold, on which ranking metrics do not depend."""
    keys: dict[str, str | int] = {}
    for role, target in (("train", cell.bank.training), ("target", cell.target), ("calibration", cell.calibration)):
        for field in ("dataset", "category", "domain"):
            keys[f"{role}_{field}"] = "" if ranking and role == "calibration" else getattr(target, field)
    bank = cell.bank
    keys |= {"split": bank.split, "backbone": bank.backbone, "weights": bank.weights}
    keys |= {"detector": bank.detector, "seed": bank.seed}
    return keys | {"policy": "" if ranking else cell.threshold}


def row_keys(cell: Cell) -> dict[str, str | int]:
    """The columns that name a row of an experiment: those of its cell, and which alias led there from where, if any."""
    origin = f"{cell.origin.dataset}/{cell.origin.category}" if cell.natural else ""
    return {**cell_keys(cell), "alias": cell.natural.alias if cell.natural else "", "origin": origin}


def tidy_metrics(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per metric: the study's `metrics.csv`.

    Ranking metrics stand once per bank and target, with empty calibration and policy; decision metrics once per cell.
    """
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for cell in cells:
        for path, ranking in ((cell.metrics, True), (cell.decisions, False)):
            keys = cell_keys(cell, ranking=ranking)
            result = read_json(Path(path))
            estimates = dict(result["metrics"])
            estimates |= {name: {"value": result[name]} for name in SIZES if name in result}
            if result["counts"] is not None:
                estimates |= {f"count_{name}": {"value": count} for name, count in result["counts"].items()}
            if not ranking:
                estimates["threshold"] = {"value": result["threshold"]}
            for metric, estimate in estimates.items():
                rows[*keys.values(), metric] = {**keys, "metric": metric, **estimate}
    return pd.DataFrame(list(rows.values()), columns=[*cell_keys(cell), *METRICS_COLUMNS])


def experiment_results(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell, one column per metric with `_low` and `_high` beside it: an experiment's `results.csv`."""
    rows = []
    for cell in cells:
        row: dict[str, Any] = row_keys(cell)
        ranking, decisions = read_json(Path(cell.metrics)), read_json(Path(cell.decisions))
        for name, estimate in {**ranking["metrics"], **decisions["metrics"]}.items():
            row |= {
                name: estimate.get("value"),
                f"{name}_low": estimate.get("low"),
                f"{name}_high": estimate.get("high"),
            }
        row |= {name: ranking[name] for name in SIZES}
        row["threshold"] = decisions["threshold"]
        counts = {**ranking["counts"], **(decisions["counts"] or dict.fromkeys(("tp", "fp", "tn", "fn")))}
        row |= {f"count_{name}": count for name, count in counts.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def predictions(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per test image of each cell: the study's `predictions.csv`. What is null in the decisions is empty."""
    rows = []
    for cell in cells:
        content = read_json(Path(cell.decisions))
        rows += [{**cell_keys(cell), **image, "threshold": content["threshold"]} for image in content["images"]]
    return pd.DataFrame(rows).astype({"decision": "Int64"})  # 0, 1 or empty, never 1.0


def timings(cells: Sequence[Cell], benchmarks: Path, batches: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Wall time, processor time and peak memory of the jobs behind the cells, where they are known.

    Args:
        cells: the study's cells.
        benchmarks: the folder of Snakemake's benchmark files.
        batches: `{target}/{backbone}` -> the batch that it was extracted in, if in one (`plan.batches`).
    """
    rows = []
    jobs = ((stage, (batches or {}).get(artifact, artifact)) for cell in cells for stage, artifact in _jobs(cell))
    for stage, artifact in dict.fromkeys(jobs):
        path = benchmarks / stage / f"{artifact}.tsv"
        if path.is_file():  # absent where results came from elsewhere
            figures = pd.read_csv(path, sep="\t").iloc[0]
            rows.append((stage, artifact, figures["s"], figures["cpu_time"], figures["max_rss"]))
    return pd.DataFrame(rows, columns=TIMING_COLUMNS)


def _jobs(cell: Cell) -> list[tuple[str, str]]:
    """The costly and the repeated jobs that a cell's results come from: stage and artifact."""
    bank, target, calibration = cell.bank, cell.target.path, cell.calibration.path
    return [
        ("extract_features", f"{target}/{bank.backbone}"),
        ("extract_features", f"{calibration}/{bank.backbone}"),
        ("pack_images", target),
        ("fit_detector", bank.path),
        ("score_images", f"{bank.path}/on/{target}"),
        ("score_images", f"{bank.path}/on/{calibration}"),
        ("calibrate_threshold", f"{bank.path}/from/{calibration}/{cell.threshold}"),
        ("evaluate", f"{bank.path}/on/{target}"),
        ("decide", f"{bank.path}/on/{target}/from/{calibration}/{cell.threshold}"),
    ]


def text_table(results: Mapping[str, tuple[str, pd.DataFrame]]) -> str:
    """All experiments as plain text for a terminal: experiment -> (title, its results).

    Ids that are the same in all rows of an experiment stand once, above its table.
    """
    blocks = []
    for title, frame in results.values():
        rows = frame.to_dict("records")
        same = {key: frame[key].iloc[0] for key in SETUP if frame[key].nunique() == 1}
        columns = {
            "scored on": [_scored_on(row) for row in rows],
            "bank of": [f"{row['train_category']} {row['train_domain']}" for row in rows],
            **{key: list(map(str, frame[key])) for key in SETUP if key not in same},
            **{heading: [format_estimate(row, name, interval) for row in rows] for heading, name, interval in SHOWN},
        }
        common = ", ".join(f"{key} {value}" for key, value in same.items())
        blocks.append("\n".join([title, f"  {common}" if common else "", *_aligned(columns), ""]))
    return "\n".join(blocks)


def _scored_on(row: Mapping[Any, Any]) -> str:
    target = f"{row['target_dataset']}/{row['target_category']} {row['target_domain']}"
    return f"{target} ({row['alias']})" if row["alias"] else target


def _aligned(columns: Mapping[str, Sequence[str]]) -> list[str]:
    widths = [max(map(len, [heading, *cells])) for heading, cells in columns.items()]
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return [f"  {line.rstrip()}" for line in padded]


SETUP = ("split", "backbone", "weights", "detector", "seed", "policy")

SHOWN = (
    ("image AUROC", "image_auroc", True),
    ("pixel AUROC", "pixel_auroc", False),
    ("PRO", "pro", False),
    ("F1", "f1", True),
    ("floor", "f1_floor", False),
    ("specificity", "specificity", True),
)
"""Heading, metric, and whether its interval stands beside it."""


def format_estimate(row: Mapping[Any, Any], name: str, interval: bool = True) -> str:
    """`0.912 [0.860, 0.951]`; only the value where there is no interval, a dash where it is undefined."""
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or pd.isna(value):
        return "-"
    return f"{value:.3f}" if not interval or low is None or pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
