"""An experiment as the report shows it: its table, and what its figures are drawn from.

Tested in tests/report/test_experiments.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from patchshift.plan.cells import Cell
from patchshift.report.analyses.digits import show_value
from patchshift.report.figures import Bar
from patchshift.report.keys import row_keys
from patchshift.report.labels import Keys, category_labels, group_labels
from patchshift.report.results import Images, StudyResults, Value, read_estimate

METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pro": "PRO",
    "aupimo": "AUPIMO",
    "pixel_iou": "pixel IoU",
    "f1": "F1",
    "f1_floor": "F1 floor",
    "specificity": "specificity",
}
"""Columns of the results table."""

PROPERTIES = {"f1_floor"}  # of the test set: nothing to compare, no uncertainty


@dataclass(frozen=True)
class Entry:
    """One field of the results table.

    Attributes:
        value: the metric.
        is_best: whether no other row of the same target is seen to be higher.
        note: number of the note that says why it is undefined; 0 for none.
        has_interval: whether the value is uncertain at all.
    """

    value: Value
    is_best: bool = False
    note: int = 0
    has_interval: bool = True


@dataclass(frozen=True)
class Line:
    """One row of the results table."""

    group: str
    normal: int
    anomalous: int
    entries: list[Entry]


@dataclass
class ResultsTable:
    """Target category -> its rows, and why what is undefined is so."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    has_marks: bool = False


def results_table(results: StudyResults, cells: Sequence[Cell]) -> ResultsTable:
    """All metrics of an experiment's cells."""
    rows = [row_keys(cell) for cell in cells]
    table = ResultsTable()
    for category, group, cell in zip(category_labels(rows), group_labels(rows, policies=True), cells, strict=True):
        same_target = [other for other in cells if other.target == cell.target]
        entries = []
        for metric in METRICS:
            value = results.value(cell, metric)
            is_best, note = False, 0
            if value.value is None:
                if value.undefined not in table.notes:
                    table.notes.append(value.undefined)
                note = table.notes.index(value.undefined) + 1
            elif metric not in PROPERTIES:
                is_best = _is_best(value, [results.value(other, metric) for other in same_target])
            entries.append(Entry(value, is_best, note, metric not in PROPERTIES))
            table.has_marks |= is_best
        table.lines.setdefault(category, []).append(Line(group, *results.sizes(cell), entries))
    return table


def _is_best(value: Value, all_values: Sequence[Value]) -> bool:
    """Whether none of those of the same target (itself among them) is seen to be higher, and some are lower."""
    defined = [other for other in all_values if other.value is not None]
    if len({f"{other.value:.3f}" for other in defined}) < 2 or value.value is None:
        return False
    best = max(defined, key=lambda other: other.value or 0)
    return value.value == best.value or _show(value) == _show(best)


def _show(value: Value) -> str:
    return "" if value.value is None else show_value(value.value, value.low, value.high)


def bars_of_rows(rows: Sequence[Mapping[str, str]]) -> list[Bar]:
    """Image AUROC per category and group of an experiment's `results.csv`."""
    ranked = rank_rows(rows)
    values = [read_estimate(row, "image_auroc") for row in ranked]
    return [
        Bar(*labels) for labels in zip(category_labels(ranked), group_labels(ranked), values, strict=True)
    ]  # fmt: skip


def rank_rows(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """One of the rows that differ in their threshold only, on which rankings do not depend."""
    return [rows[number] for number in number_rankings(rows)]


def number_rankings(rows: Sequence[Keys]) -> list[int]:
    """The numbers of the rows that `rank_rows` keeps."""
    numbers: dict[tuple[str | int, ...], int] = {}
    for number, row in enumerate(rows):
        numbers.setdefault(tuple(row[key] for key in _RANKING_KEYS), number)
    return list(numbers.values())


_RANKING_KEYS = [
    *(f"{role}_{part}" for role in ("train", "target") for part in ("dataset", "category", "domain")),
    *("split", "backbone", "detector", "seed"),
]


def curve_panels(results: StudyResults, cells: Sequence[Cell]) -> dict[str, dict[str, Images]]:
    """Category -> group -> the decided images, where they can be ranked."""
    rows = [row_keys(cell) for cell in cells]
    panels: dict[str, dict[str, Images]] = {}
    for category, group, cell in zip(category_labels(rows), group_labels(rows, policies=True), cells, strict=True):
        if results.value(cell, "image_auroc").value is not None:
            panels.setdefault(category, {})[group] = results.images(cell)
    return panels
