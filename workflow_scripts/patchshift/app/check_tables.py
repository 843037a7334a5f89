"""Whether a study's tables hold what is planned, and values that can be.

Tested in tests/workflow/test_closing.py and tests/app/test_check_tables.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from patchshift.data.splits import read_split
from patchshift.errors import UserError
from patchshift.evaluation.decisions import PIXEL_DECISION_METRICS
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS
from patchshift.evaluation.image_metrics import DECISION_METRICS
from patchshift.evaluation.reliability import PROBABILITY_METRICS
from patchshift.plan import Study
from patchshift.plan.cells import Cell
from patchshift.report.keys import cell_keys, row_keys

Key = tuple[str, ...]

MEASURED = {*IMAGE_METRICS, *PIXEL_METRICS, *DECISION_METRICS, *PIXEL_DECISION_METRICS, *PROBABILITY_METRICS}
"""Metrics that lie between 0 and 1, and are undefined for a reason."""

SHARES = {
    *("search_recall", "positive_search_recall", "foreground_share", "own_vector_share"),
    *("foreign_neighbours_normal", "foreign_neighbours_anomalous"),
}
"""What is told of banks and lies between 0 and 1."""

ROUNDING = 1e-9
"""By how much an end may miss its value, where both are computed in another order."""


def check_results(study: Study) -> tuple[str, list[str], list[str]]:
    """Every experiment's `results.csv` has one row for each of its cells, and no other; those that do not are the third
    result.
    """
    problems, rebuild, rows = [], [], 0
    for name, cells in study.cells.items():
        table = _read(study, f"experiments/{name}/results.csv")
        planned = [_name(row_keys(cell)) for cell in cells]
        wrong = _compare(f"{name}/results.csv", planned, _list_keys(table, list(row_keys(cells[0]))))
        problems += wrong
        rebuild += [f"{study.folder}/experiments/{name}/results.csv"] if wrong else []
        rows += len(table)
    return f"{rows} rows in {len(study.cells)} experiments", problems, rebuild


def check_metrics(study: Study) -> tuple[str, list[str], list[str]]:
    """`metrics.csv` has every bank and target, every decision, no other, and each metric once; else it is the third
    result.
    """
    table, cells = _read(study, "metrics.csv"), study.all_cells()
    keys = list(cell_keys(cells[0]))
    planned = dict.fromkeys(_name(cell_keys(cell, ranking=ranking)) for cell in cells for ranking in (True, False))
    problems = _compare("metrics.csv", planned, dict.fromkeys(_list_keys(table, keys)))
    twice = int(table.duplicated([*keys, "metric"]).sum())
    problems += [f"metrics.csv: {twice} metrics stand there twice"] if twice else []
    ranked = set(_list_keys(table[table["metric"] == "image_auroc"], keys))
    lacking = [cell for cell in cells if not ranked & {_name(cell_keys(cell, ranking=each)) for each in (True, False)}]
    problems += [f"metrics.csv: no image_auroc of {_show(_name(cell_keys(cell)))}" for cell in lacking]
    return f"{len(table)} metrics", problems, [f"{study.folder}/metrics.csv"] if problems else []


def check_predictions(study: Study) -> tuple[str, list[str], list[str]]:
    """`predictions.csv` has each test image of each cell once, and no other; else it is the third result."""
    cells = study.all_cells()
    found = _images_by_cell(study)
    problems = _compare("predictions.csv", [_name(cell_keys(cell)) for cell in cells], found)
    for cell in cells:
        images = list(found.get(_name(cell_keys(cell)), pd.DataFrame({"image": []}))["image"])
        planned = read_split(Path(cell.split)).of("test")
        if images and Counter(images) != Counter(planned):
            problems.append(
                f"predictions.csv: {_show(_name(cell_keys(cell)))} has {len(images)} rows of {len(set(images))} "
                f"images, {cell.split} has {len(planned)} test images"
            )
    told = f"{sum(map(len, found.values()))} test images in {len(cells)} cells"
    return told, problems, [f"{study.folder}/predictions.csv"] if problems else []


def check_ranges(study: Study) -> tuple[str, list[str]]:
    """Metrics lie in [0, 1] and in their intervals, counts are whole, and decisions follow from score and threshold."""
    metrics = _read(study, "metrics.csv")
    value, low, high = (pd.to_numeric(metrics[column]) for column in ("value", "low", "high"))
    bounded = metrics["metric"].isin(MEASURED | SHARES)
    counts = metrics["metric"].str.startswith("count_")
    wrong = {
        "is not between 0 and 1": bounded & ((value < 0) | (value > 1) | (low < 0) | (high > 1)),
        "is not in its interval": (value < low - ROUNDING) | (value > high + ROUNDING) | (low > high),
        "is no count": counts & value.notna() & ((value < 0) | (value != value.round())),
        "is empty without a reason": metrics["metric"].isin(MEASURED) & value.isna() & (metrics["undefined"] == ""),
        "is not finite": np.isinf(value),
    }
    problems = [
        f"metrics.csv, line {line + 2}: {metrics['metric'][line]} {metrics['value'][line]} {what}"
        for what, rows in wrong.items()
        for line in np.flatnonzero(rows)
    ]
    images = _read(study, "predictions.csv")
    score, threshold, decision = (pd.to_numeric(images[name]) for name in ("score", "threshold", "decision"))
    decided = score.notna() & threshold.notna()
    odd = {
        "label is neither 0 nor 1": ~images["label"].isin(["0", "1"]),
        "decision is neither 0, 1 nor empty": ~images["decision"].isin(["0", "1", ""]),
        "decision does not follow from score and threshold": decided & (decision != (score >= threshold)),
        **{
            f"{name} is not between 0 and 1": (pd.to_numeric(images[name]) < 0) | (pd.to_numeric(images[name]) > 1)
            for name in ("probability", "probability_isotonic")
        },
    }
    problems += [
        f"predictions.csv, line {line + 2}: {what}" for what, rows in odd.items() for line in np.flatnonzero(rows)
    ]
    return f"{len(metrics)} metrics, {len(images)} predictions", problems


def check_counts(study: Study) -> tuple[str, list[str]]:
    """What metrics count is what stands in the predictions: images of both labels, and decisions of both kinds."""
    found, values = _images_by_cell(study), _read_values(study)
    problems = []
    for cell in study.all_cells():
        images = found.get(_name(cell_keys(cell)))
        if images is None:
            continue
        counted: dict[str, int] = {
            "normal": int((images["label"] == "0").sum()),
            "anomalous": int((images["label"] == "1").sum()),
        }
        if (images["decision"] != "").all():
            for name, label, decision in (("tp", "1", "1"), ("fn", "1", "0"), ("fp", "0", "1"), ("tn", "0", "0")):
                counted[name] = int(((images["label"] == label) & (images["decision"] == decision)).sum())
        told = {name: values.get((*_key_of(cell, name), f"count_{name}"), "") for name in counted}
        problems += [
            f"{_show(_name(cell_keys(cell)))}: count_{name} is {told[name] or 'missing'} in metrics.csv, "
            f"but predictions.csv has {count}"
            for name, count in counted.items()
            if told[name] == "" or float(told[name]) != count
        ]
    return f"{len(found)} cells", problems


def check_agreement(study: Study) -> tuple[str, list[str]]:
    """Every metric of an experiment's `results.csv` is the one of `metrics.csv`."""
    values, problems, compared = _read_values(study), [], 0
    for name, cells in study.cells.items():
        table = _read(study, f"experiments/{name}/results.csv")
        rows = dict(zip(_list_keys(table, list(row_keys(cells[0]))), table.to_dict("records"), strict=True))
        for cell in cells:
            row = rows.get(_name(row_keys(cell)), {})
            for metric in MEASURED & row.keys():
                told = values.get((*_name(cell_keys(cell, ranking=True)), metric))
                told = values.get((*_name(cell_keys(cell)), metric)) if told is None else told
                compared += 1
                if (told or "") != row[metric]:
                    where = f"{name}/results.csv: {metric} of {_show(_name(row_keys(cell)))}"
                    problems.append(f"{where} is {row[metric] or 'empty'}, in metrics.csv {told or 'empty'}")
    return f"{compared} values", problems


def _read(study: Study, name: str) -> pd.DataFrame:
    """A table of a study, as text; what is empty stays the empty string."""
    path = Path(study.folder, name)
    if not path.is_file():
        raise UserError(f"{path} does not exist: run the study again")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        what = "is empty" if isinstance(error, pd.errors.EmptyDataError) else "is no table any more"
        raise UserError(f"{path} {what}: delete it and run the study again") from error


def _read_values(study: Study) -> dict[Key, str]:
    """`metrics.csv`: the columns that name a row, and a metric -> its value."""
    table = _read(study, "metrics.csv")
    keys = list(cell_keys(study.all_cells()[0]))
    return dict(zip(_list_keys(table, [*keys, "metric"]), table["value"], strict=True))


def _images_by_cell(study: Study) -> dict[Key, pd.DataFrame]:
    """`predictions.csv`: the columns that name a row -> its images."""
    keys = list(cell_keys(study.all_cells()[0]))
    groups = _read(study, "predictions.csv").groupby(keys, sort=False)
    return {tuple(map(str, key)): rows for key, rows in groups}


def _key_of(cell: Cell, count: str) -> Key:
    """Where a count stands: those of images with the ranking, those of decisions with the cell."""
    return _name(cell_keys(cell, ranking=count in ("normal", "anomalous")))


def _name(keys: Mapping[str, object]) -> Key:
    return tuple(map(str, keys.values()))


def _list_keys(table: pd.DataFrame, columns: list[str]) -> list[Key]:
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise UserError(f"a table has no column {', '.join(lacking)}")
    return list(table[columns].itertuples(index=False, name=None))


def _compare(what: str, planned: Iterable[Key], found: Iterable[Key]) -> list[str]:
    missing, other = Counter(list(planned)), Counter(list(found))
    missing, other = missing - other, other - missing
    return [
        f"{what}: {sum(rows.values())} rows {wrong}, such as {_show(next(iter(rows)))}"
        for rows, wrong in ((missing, "are missing"), (other, "are not planned, or stand there twice"))
        if rows
    ]


def _show(key: Key) -> str:
    return " ".join(filter(None, key))
