"""A study's results, read back from its tables: what the figures and the report are made from.

Tested in tests/report/test_results.py.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import Confusion
from patchshift.plan.cells import Cell
from patchshift.plan.experiments import StudyPlan
from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.keys import METRICS_COLUMNS, cell_keys

KeyTuple = tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A metric with its interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    undefined: str = ""

    @property
    def plain(self) -> str:
        """`0.91, 0.86 to 0.95`, with the digits that the interval supports, or `undefined`."""
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return show_value(self.value)
        ends = show_ends(self.value, self.low, self.high)
        return f"{show_value(self.value, self.low, self.high)}, {' to '.join(ends)}"


@dataclass(frozen=True)
class Images:
    """The decided test images of one cell.

    Attributes:
        names: the n image keys.
        labels: [n] int64, 1 for anomalous images.
        relabelled: [n] bool, True for images that are anomalous in the split and normal in the domain scored.
        defects: defect type per image, empty for normal ones.
        scores: [n] float64 image scores, NaN where one is not finite.
        decisions: [n] int64, 1 where called defective; None without a threshold, or where a score is not finite.
        threshold: scores at or above it are called defective; None if undefined, or where zones decide.
    """

    names: list[str]
    labels: npt.NDArray[np.int64]
    relabelled: npt.NDArray[np.bool_]
    defects: list[str]
    scores: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.int64] | None
    threshold: float | None

    @property
    def zone_decisions(self) -> npt.NDArray[np.int64] | None:
        """[n] the decisions, where thresholds of zones made them; None where one of the image score did, or nothing."""
        return self.decisions if self.threshold is None else None


class StudyResults:
    """The tables of a study, asked by cell."""

    def __init__(self, plan: StudyPlan, folder: Path) -> None:
        """Read `metrics.csv` and `predictions.csv` of the study's folder."""
        self.titles = {name: experiment.title for name, experiment in plan.experiments.items()}
        self.cells: dict[str, list[Cell]] = plan.cells()
        self._values = _read_metrics(folder / "metrics.csv")
        self._images = _read_predictions(folder / "predictions.csv")

    def all_cells(self) -> list[Cell]:
        """The cells of all experiments, each once."""
        return list(dict.fromkeys(cell for cells in self.cells.values() for cell in cells))

    def all_views(self) -> list[Cell]:
        """The cells of all experiments, each once for its target's own name and for every alias that led there."""
        return list({(cell, cell.natural): cell for cells in self.cells.values() for cell in cells}.values())

    def value(self, cell: Cell, metric: str) -> Value:
        """A metric of a cell: of its ranking, or of its decisions."""
        ranking = self._values.get((*_key(cell, ranking=True), metric))
        return ranking or self._values.get((*_key(cell), metric)) or Value(None, undefined="not measured")

    def is_ranked_once(self, cell: Cell) -> bool:
        """Whether the ranking of a cell is that of its bank and target alone, whatever the calibration."""
        return (*_key(cell, ranking=True), "image_auroc") in self._values

    def sizes(self, cell: Cell) -> tuple[int, int]:
        """The normal and the anomalous test images of a cell."""
        labels = self.images(cell).labels
        return int((labels == 0).sum()), int((labels == 1).sum())

    def confusion(self, cell: Cell) -> Confusion | None:
        """The counts of a cell's decisions; None without a threshold."""
        counts = [self.value(cell, f"count_{name}").value for name in ("tp", "fp", "tn", "fn")]
        if any(count is None for count in counts):
            return None
        return Confusion(*(int(count) for count in counts if count is not None))

    def images(self, cell: Cell) -> Images:
        """The decided test images of a cell."""
        return self._images[_key(cell)]


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV's rows, every field as it is written: a category may be called `NA` or `007`."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_value(row: Mapping[str, str], name: str = "value", low: str = "low", high: str = "high") -> Value:
    """The estimate in three of a row's columns; empty fields are None."""
    value, lowest, highest = (float(row[key]) if row.get(key) else None for key in (name, low, high))
    return Value(value, lowest, highest, row.get("undefined", ""))


def read_estimate(row: Mapping[str, str], metric: str) -> Value:
    """A metric of a row with its interval, `{metric}_low` and `{metric}_high`."""
    return as_value(row, metric, f"{metric}_low", f"{metric}_high")


def _key(cell: Cell, *, ranking: bool = False) -> KeyTuple:
    return tuple(str(value) for value in cell_keys(cell, ranking=ranking).values())


def _read_metrics(path: Path) -> dict[KeyTuple, Value]:
    values = {}
    for row in read_rows(path):
        keys = tuple(text for column, text in row.items() if column not in METRICS_COLUMNS)
        values[*keys, row["metric"]] = as_value(row)
    return values


IMAGE_COLUMNS = (
    *("image", "label", "defect", "relabelled"),
    *("score", "normalised_score", "probability", "probability_isotonic", "zone", "decision", "threshold"),
)


def _read_predictions(path: Path) -> dict[KeyTuple, Images]:
    groups: dict[KeyTuple, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(path):
        groups[tuple(text for column, text in row.items() if column not in IMAGE_COLUMNS)].append(row)
    return {keys: _as_images(rows) for keys, rows in groups.items()}


def _as_images(rows: Sequence[dict[str, str]]) -> Images:
    def column(name: str, dtype: Any) -> Any:
        return np.array([float(row[name] or "nan") for row in rows], np.float64).astype(dtype)

    threshold = rows[0]["threshold"]
    return Images(
        names=[row["image"] for row in rows],
        labels=column("label", np.int64),
        relabelled=column("relabelled", np.bool_),
        defects=[row["defect"] for row in rows],
        scores=column("score", np.float64),
        decisions=column("decision", np.int64) if all(row["decision"] for row in rows) else None,
        threshold=float(threshold) if threshold else None,
    )
