"""Train on one shift, test on another: a study's `cross_shift.csv`. Columns: docs/results.md.

Tested in tests/report/test_cross_shift.py.
"""

from typing import Any

import pandas as pd

from patchshift.plan.cells import Cell
from patchshift.report.analyses.estimates import as_columns, columns_of, mean_value
from patchshift.report.analyses.rankings import KEY_COLUMNS, describe_domain
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import Setup, is_own_category, setup_of
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called
from patchshift.report.pairing import mean_auroc
from patchshift.report.results import Value

METRICS = ("image_auroc", "pixel_auroc", "f1")
PLACES = tuple(f"{side}_{part}" for side in ("train", "target") for part in ("shift", "severity", "transform"))
COLUMNS = [
    *("kind", "categories", "trained_on", "tested_on", "calibrated_on"),
    *PLACES,
    *KEY_COLUMNS,
    *(column for metric in METRICS for column in columns_of(metric)),
    "undefined",
]

Combination = tuple[Setup, str, str, str]


def cross_shift_table(data: StudyData) -> pd.DataFrame:
    """One row per cell of a category's own bank, and one per combination of domains with the mean over categories.

    Empty where the study trains and tests in one domain only.
    """
    groups: dict[Combination, list[Cell]] = {}
    for cell in filter(is_own_category, data.results.all_views()):
        groups.setdefault((setup_of(cell), *name_domains(cell)), []).append(cell)
    if len({domain for _, trained, tested, _ in groups for domain in (trained, tested)}) < 2:
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for (_, *names), cells in groups.items():
        rows += [_row(data, "category", [cell], names) for cell in cells]
        rows.append(_row(data, "mean", cells, names))
    return pd.DataFrame(rows, columns=COLUMNS)


def name_domains(cell: Cell) -> tuple[str, str, str]:
    """Where a bank was trained, is tested and got its threshold, each as the config calls it."""
    called = as_called(row_keys(cell))
    calibrated = cell.domain if cell.calibration == cell.target else cell.calibration.domain
    return str(called["train_domain"]), str(called["target_domain"]), calibrated


def _row(data: StudyData, kind: str, cells: list[Cell], names: list[str]) -> dict[str, Any]:
    results = data.results
    keys = [row_keys(cell) for cell in cells]
    trained = cells[0].bank.training
    seen = {
        "train": describe_domain(data, trained.domain, natural=bool(cells[0].natural) and trained == cells[0].target),
        "target": describe_domain(data, cells[0].target.domain, natural=bool(cells[0].natural)),
    }
    row: dict[str, Any] = {
        "kind": kind,
        "categories": len(cells),
        **dict(zip(("trained_on", "tested_on", "calibrated_on"), names, strict=True)),
        **{f"{side}_{part}": value for side, parts in seen.items() for part, value in parts.items()},
        **{name: value if all(row[name] == value for row in keys) else "" for name, value in keys[0].items()},
    }
    values: dict[str, Value] = {}
    for metric in METRICS:
        found = [results.value(cell, metric) for cell in cells]
        several = mean_auroc(results, cells, data.spec) if metric == "image_auroc" and len(cells) > 1 else None
        values[metric] = several or (found[0] if len(found) == 1 else mean_value(found))
        row |= as_columns(metric, values[metric])
    row["undefined"] = next((value.undefined for value in values.values() if value.value is None), "")
    return row
