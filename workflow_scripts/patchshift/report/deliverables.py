"""Write a study's deliverables: its results in the form that another project's readers and scripts know.

Tested in tests/report/test_deliverables.py.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from patchshift.data.splits import read_split
from patchshift.data.tables import write_table
from patchshift.errors import UserError
from patchshift.plan.cells import Cell
from patchshift.plan.deliverable_specs import COSTS, DISTANCES, ENDS, KEYS, TEXT, TIMESTAMP, DeliverableSpec
from patchshift.plan.deliverables import PARTS, find_split_uses, split_path
from patchshift.plan.experiments import StudyPlan
from patchshift.report.analyses.estimates import as_columns, columns_of, mean_value, value_lost, value_lost_relative
from patchshift.report.keys import DECISION_KEYS, cell_keys, row_keys
from patchshift.report.results import Value, read_estimate, read_rows
from patchshift.runtime.files import atomic_path, read_json, write_json

Row = dict[str, str]

THRESHOLD_FIELDS = (
    "threshold",
    "undefined",
    "criterion",
    "guarantee",
    "normal",
    "anomalous",
    "pixels",
    "zones",
    "combination",
)
"""What is said of each threshold; the same as in its file."""

_SIDES = ("home_dataset", "home_categories", "dataset", "categories")
_SETUP_KEYS = ("split", "backbone", "weights", "detector", "seed", "policy")
_COST_KEYS = tuple(key for key in KEYS if key not in DECISION_KEYS)
_DISTANCE_KEYS = tuple(key for key in KEYS if key.startswith(("train_", "target_")) or key in ("split", "backbone"))


def write_deliverable(
    path: Path, spec: DeliverableSpec, plan: StudyPlan, folder: Path, splits: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write one deliverable.

    Args:
        path: the file; its ending says in which form columns are written.
        spec: what it holds.
        plan: of the experiments that it is of.
        folder: of the study.
        splits: split id -> its settings that columns ask for.

    Raises:
        UserError: if its figure was not drawn, because there is nothing to show, or results are of another plan.
    """
    cells = list(dict.fromkeys(cell for cells in plan.cells().values() for cell in cells))
    match spec.kind:
        case "columns":
            names = [name for name, _ in spec.sources]
            text = {name for name, column in spec.sources if column in TEXT}
            _write_rows(path, names, text, list(gather_rows(spec, plan, folder, splits)))
        case "gap":
            metric = str(spec.gap)
            estimates = (f"home_{metric}", metric, "gap", "gap_relative")
            names = [*_SETUP_KEYS, *_SIDES, *(column for name in estimates for column in columns_of(name))]
            text = {*TEXT, "home_dataset", "dataset"}
            _write_rows(path, names, text, list(gather_gaps(metric, plan, folder)))
        case "figure":
            _copy_figure(path, spec, folder)
        case "thresholds":
            write_json(path, gather_thresholds(cells))
        case "splits":
            write_json(path, gather_splits(cells))


def gather_rows(
    spec: DeliverableSpec, plan: StudyPlan, folder: Path, splits: Mapping[str, Mapping[str, Any]]
) -> Iterator[Row]:
    """The rows of a file of columns, every field as text: one per cell, in the order of experiments and cells.

    A cell that stands in several experiments has one row, of the first. What is not known is empty.
    """
    distances = _read_distances(folder / "distances.csv") if spec.asks_for(DISTANCES) else {}
    costs: dict[tuple[str, ...], Row] = {}
    if spec.asks_for(COSTS):
        for experiment in reversed(plan.order):  # times are relative to others of the experiment: the first counts
            costs |= _index_rows(folder / "experiments" / experiment / "costs.csv", _COST_KEYS)
    for cell, row in _read_results(plan, folder):
        known = costs.get(_pick(row, _COST_KEYS), {}) | distances.get(_pick(row, _DISTANCE_KEYS), {}) | row
        if spec.asks_for([TIMESTAMP]):
            known[TIMESTAMP] = _tell_time(Path(cell.metrics))
        known |= {k: "" if v is None else str(v) for k, v in splits.get(row["split"], {}).items()}
        yield {name: known.get(column, "") for name, column in spec.sources}


def gather_gaps(metric: str, plan: StudyPlan, folder: Path) -> Iterator[Row]:
    """The rows of a file of gaps, every field as text: one per setup and dataset that is not the first.

    Means are over the categories where the metric is defined, as many as are counted beside them. Each category's test
    images are of one row, so those of both sides are independent: intervals follow from those of the rows.
    """
    groups: dict[tuple[str, ...], dict[str, list[Value]]] = {}
    home = ""
    for cell, row in _read_results(plan, folder):
        home = home or cell.target.dataset
        values = groups.setdefault(_pick(row, _SETUP_KEYS), {}).setdefault(cell.target.dataset, [])
        values.append(read_estimate(row, metric))
    for setup, datasets in groups.items():
        at_home = datasets.pop(home, [])
        start = mean_value(at_home)
        for dataset, values in datasets.items():
            mean = mean_value(values)
            estimates = {
                f"home_{metric}": start,
                metric: mean,
                "gap": value_lost(start, mean),
                "gap_relative": value_lost_relative(start, mean),
            }
            columns = {k: v for name, value in estimates.items() for k, v in as_columns(name, value).items()}
            numbers = {name: "" if value is None else repr(value) for name, value in columns.items()}
            sides = [home, str(_count_defined(at_home)), dataset, str(_count_defined(values))]
            yield dict(zip((*_SETUP_KEYS, *_SIDES), (*setup, *sides), strict=True)) | numbers


def _count_defined(values: Sequence[Value]) -> int:
    return sum(value.value is not None for value in values)


def _read_results(plan: StudyPlan, folder: Path) -> Iterator[tuple[Cell, Row]]:
    """Each cell and its row of `results.csv`, in the order of experiments and cells; of several, the first's."""
    seen = set()
    for experiment, cells in plan.cells().items():
        path = folder / "experiments" / experiment / "results.csv"
        rows = _index_rows(path, KEYS)
        for cell in cells:
            if cell in seen:
                continue
            seen.add(cell)
            row = rows.get(tuple(map(str, row_keys(cell).values())))
            if row is None:
                raise UserError(f"{path} is of another plan: delete it and run again")
            yield cell, row


def gather_thresholds(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The thresholds of cells, each once: what names it in tables, and `THRESHOLD_FIELDS`."""
    thresholds = {}
    for cell in cells:
        content = read_json(Path(cell.threshold_file))
        keys = {key: value for key, value in cell_keys(cell).items() if not key.startswith("target_")}
        thresholds[cell.threshold_file] = keys | {field: content.get(field) for field in THRESHOLD_FIELDS}
    return list(thresholds.values())


def gather_splits(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """`dataset/category` -> split -> part -> `{image, label}` each, and `domains`: in which each part is used."""
    found: dict[str, dict[str, Any]] = {}
    for (category, name), domains in find_split_uses(cells).items():
        split = read_split(Path(split_path(category, name)))
        anomalous = split.anomalous | split.contaminants
        parts = {
            part: [{"image": key, "label": int(key in anomalous), "role": split.role(key)} for key in split.of(part)]
            for part in PARTS
        }
        found.setdefault(category, {})[name] = {**parts, "domains": domains}
    return found


def _write_rows(path: Path, names: Sequence[str], text: Collection[str], rows: Sequence[Row]) -> None:
    match path.suffix:
        case ".csv":
            write_table(path, names, [list(row.values()) for row in rows])
        case ".json":
            write_json(path, [{k: v if k in text else _as_number(v) for k, v in row.items()} for row in rows])
        case ".npy":
            _write_array(path, rows, names, text)


def _write_array(path: Path, rows: Sequence[Row], names: Sequence[str], text: Collection[str]) -> None:
    """A structured array, [rows]: a field per column, text or float64. No objects: it loads without pickle."""
    widths = {name: max([1, *(len(row[name]) for row in rows)]) for name in text}
    dtype = np.dtype([(name, f"<U{widths[name]}" if name in text else "<f8") for name in names])
    fields = [tuple(v if k in text else float(v or "nan") for k, v in row.items()) for row in rows]
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.array(fields, dtype), allow_pickle=False)


def _as_number(text: str) -> int | float | None:
    """A number as it is written, whole or not; None where there is none, or none that JSON knows."""
    value = float(text or "nan")
    if not math.isfinite(value):
        return None
    return int(text) if text.lstrip("-").isdigit() else value


def _copy_figure(path: Path, spec: DeliverableSpec, folder: Path) -> None:
    for experiment in spec.experiments or []:
        folder = folder / "experiments" / experiment
    figure = folder / "figures" / f"{spec.figure}{path.suffix}"
    if not figure.is_file():
        raise UserError(
            f"{figure} was not drawn, for there is nothing to show (docs/results.md says when): name another figure "
            f"in deliverables.{path.name}, or remove it"
        )
    with atomic_path(path) as partial:
        partial.write_bytes(figure.read_bytes())


def _index_rows(path: Path, keys: Sequence[str]) -> dict[tuple[str, ...], Row]:
    return {_pick(row, keys): row for row in read_rows(path)}


def _read_distances(path: Path) -> dict[tuple[str, ...], Row]:
    """Distances of each pair of domains, as columns of results."""
    pairs: dict[tuple[str, ...], Row] = {}
    for row in read_rows(path):
        columns = dict(zip(("", *ENDS), (row["value"], row["low"], row["high"]), strict=True))
        pair = pairs.setdefault(_pick(row, _DISTANCE_KEYS), {})
        pair |= {f"distance_{row['distance']}{end}": value for end, value in columns.items()}
    return pairs


def _pick(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[key] for key in keys)


def _tell_time(path: Path) -> str:
    """When a file was written, in UTC, to the second."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
