"""Gather the results of a study's cells into tables. Columns: docs/results.md.

Tested in tests/report/test_tables.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from patchshift.plan.cells import Cell
from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.keys import METRICS_COLUMNS, cell_keys, row_keys
from patchshift.runtime.files import read_json

COUNTS = ("feature_dim", "patches_per_image", "bank_vectors", "bank_bytes")
SIZES = (*COUNTS, "covering_radius", "search_recall")
"""What metrics hold of a bank beside them; empty where a detector has no such thing."""


def tidy_metrics(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per metric: the study's `metrics.csv`.

    Ranking metrics stand once per bank and target, with empty calibration and policy; decision metrics once per cell,
    and so do ranking metrics that depend on the calibration (`combination: calibrated`).
    """
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for cell in cells:
        results = {ranking: read_json(Path(path)) for path, ranking in ((cell.metrics, True), (cell.decisions, False))}
        if "ranking" in results[False]:
            results[True]["metrics"] = {}
        for ranking, result in results.items():
            keys = cell_keys(cell, ranking=ranking)
            estimates = {**result["metrics"], **result.get("ranking", {})}
            estimates |= {name: {"value": value} for name, value in result.get("facts", {}).items()}
            if result["counts"] is not None:
                estimates |= {f"count_{name}": {"value": count} for name, count in result["counts"].items()}
            if not ranking:
                estimates["threshold"] = {"value": result["threshold"]}
                if result.get("pixel_threshold") is not None:
                    estimates["pixel_threshold"] = {"value": result["pixel_threshold"]}
            for metric, estimate in estimates.items():
                rows[*keys.values(), metric] = {**keys, "metric": metric, **estimate}
    return pd.DataFrame(list(rows.values()), columns=[*cell_keys(cell), *METRICS_COLUMNS])


def experiment_results(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell, one column per metric with `_low` and `_high` beside it: an experiment's `results.csv`."""
    rows = []
    for cell in cells:
        row: dict[str, Any] = row_keys(cell)
        ranking, decisions = read_json(Path(cell.metrics)), read_json(Path(cell.decisions))
        for name, estimate in {**ranking["metrics"], **decisions["metrics"], **decisions.get("ranking", {})}.items():
            row |= {
                name: estimate.get("value"),
                f"{name}_low": estimate.get("low"),
                f"{name}_high": estimate.get("high"),
            }
        row |= {name: ranking["facts"].get(name) for name in SIZES}
        row["threshold"] = decisions["threshold"]
        counts = {**ranking["counts"], **(decisions["counts"] or dict.fromkeys(("tp", "fp", "tn", "fn")))}
        row |= {f"count_{name}": count for name, count in counts.items()}
        rows.append(row)
    return pd.DataFrame(rows).astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers or empty, never 384.0


def predictions(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per test image of each cell: the study's `predictions.csv`. What is null in the decisions is empty."""
    rows = []
    for cell in cells:
        content = read_json(Path(cell.decisions))
        rows += [{**cell_keys(cell), **image, "threshold": content["threshold"]} for image in content["images"]]
    return pd.DataFrame(rows).astype({"decision": "Int64"})  # 0, 1 or empty, never 1.0


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
    """`0.91 [0.86, 0.95]`; only the value where there is no interval, a dash where it is undefined.

    The value has no more digits than its interval supports, whether that is shown or not.
    """
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or pd.isna(value):
        return "-"
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return show_value(value)
    shown = show_value(value, low, high)
    return f"{shown} [{', '.join(show_ends(value, low, high))}]" if interval else shown
