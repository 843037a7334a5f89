"""Figures of other people's publications, to stand beside measured ones and never among them.

They are in `report/published.csv`: shares of 1, each with its source. Their protocols differ from ours (input, split,
thresholds; docs/protocol.md, "What others do"), so a difference of a point says little.
Tested in tests/report/test_published.py.
"""

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchshift.errors import UserError
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN

PUBLISHED = Path(__file__).parents[1] / "published.csv"
COLUMNS = (
    *("dataset", "category", "method", "backbone", "coreset", "condition"),
    *("metric", "value", "value_to", "source", "protocol"),
)
UNNAMED = "one bank for all"
"""A condition without a name among ours: a bank of several categories."""
METHOD_NAMES = {
    "patchcore": "PatchCore",
    "patchcore (anomalib)": "PatchCore of anomalib",
    "padim": "PaDiM",
    "patchcore_dual": "PatchCore, dual bank",
    "anomalydino": "AnomalyDINO",
    "dinomaly": "Dinomaly",
    "efficientad-m": "EfficientAD-M",
}


@dataclass(frozen=True)
class Figure:
    """One published number.

    Attributes:
        dataset: its id in the catalog.
        category: one category, several joined by `+` (their mean), or `mean of {number}` (of all).
        method: a detection method as configs call it, or another's name.
        backbone: its id in the catalog; empty where the source does not state it.
        coreset: share of the training patches that a bank keeps; None where there is none or it is not stated.
        condition: of `CONDITIONS`, or `one bank for all`.
        metric: as in `metrics.csv`, or `seconds_per_image`.
        value: a share of 1, or seconds.
        value_to: the upper end, where the source gives a span; None where it gives one number.
        source: who published it.
        protocol: how it was measured, as far as it is stated.
        decimals: with how many it was published.
    """

    dataset: str
    category: str
    method: str
    backbone: str
    coreset: float | None
    condition: str
    metric: str
    value: float
    value_to: float | None
    source: str
    protocol: str
    decimals: int = 3

    @property
    def covers(self) -> str:
        """What it is of, in words."""
        return ", ".join(self.category.split("+"))

    @property
    def names(self) -> str:
        """Method, backbone and coreset share, in words."""
        name, _, rest = self.method.partition(", ")
        parts = [METHOD_NAMES.get(self.method) or ", ".join(filter(None, (METHOD_NAMES.get(name, name), rest)))]
        parts += [self.backbone] if self.backbone else []
        return ", ".join(parts + ([f"coreset {100 * self.coreset:g} %"] if self.coreset else []))


def read_published(path: Path = PUBLISHED) -> list[Figure]:
    """All published figures, in the order of the file.

    Raises:
        UserError: if a column is missing, or a row lacks its source or is out of range.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path.name}: the published figures cannot be read: {error.strerror}") from error
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path.name}: column '{missing[0]}' is missing; it needs {', '.join(COLUMNS)}")
    return [_as_figure(row, f"{path.name}, line {line}") for line, row in enumerate(rows, start=2)]


def figures_of(figures: Iterable[Figure], dataset: str, categories: Collection[str]) -> list[Figure]:
    """The figures that say something of an experiment on these categories: of one of them, or of a mean with them.

    A mean of chosen categories counts if all of them are there; one of the whole dataset always counts.
    """
    return [
        figure
        for figure in figures
        if figure.dataset == dataset
        and (figure.category.startswith("mean of ") or set(figure.category.split("+")) <= set(categories))
    ]


def matching(
    figures: Iterable[Figure], dataset: str, categories: Collection[str], backbone: str, detector: Mapping[str, Any]
) -> dict[str, Figure]:
    """Metric -> the first figure in the file of the same categories, backbone, method and coreset share, in domain.

    Spans and figures that do not state their backbone stand beside none of ours.

    Args:
        figures: of the file.
        dataset: the dataset measured on.
        categories: the category measured on, or all those whose mean it is.
        backbone: the backbone's id.
        detector: the detector's settings.
    """
    sampler = detector.get("sampler") or {}
    share = 1.0 if sampler.get("method") == "none" else sampler.get("share")
    found: dict[str, Figure] = {}
    for figure in figures:
        setup = (figure.dataset, figure.backbone, figure.method, figure.coreset)
        same = setup == (dataset, backbone, _published_method(detector), share) and figure.condition == IN_DOMAIN
        if same and figure.backbone and figure.value_to is None and _names_all(figure.category, categories):
            found.setdefault(figure.metric, figure)
    return found


def _published_method(detector: Mapping[str, Any]) -> str:
    """What publications call a detector: other samplers than theirs, and their other presets, are others' methods."""
    method, sampler = str(detector.get("method", "")), (detector.get("sampler") or {}).get("method")
    if sampler in ("variance_weighted", "kmeans"):
        return ""
    if sampler == "random":
        return f"{method}, random patches"
    return "anomalydino" if detector.get("compat") == "anomalydino" else method


def _names_all(category: str, categories: Collection[str]) -> bool:
    return category == f"mean of {len(categories)}" or set(category.split("+")) == set(categories)


def _as_figure(row: Mapping[str, str], place: str) -> Figure:
    for column in ("dataset", "category", "method", "metric", "source"):
        if not (row[column] or "").strip():
            raise UserError(f"{place}: {column} is empty; every published figure needs one")
    if row["condition"] not in (*CONDITIONS, UNNAMED):
        raise UserError(f"{place}: condition '{row['condition']}' is none of {', '.join((*CONDITIONS, UNNAMED))}")
    value = _number(row, "value", place)
    if value is None:
        raise UserError(f"{place}: value is empty; every published figure needs one")
    value_to, coreset = _number(row, "value_to", place), _number(row, "coreset", place)
    for name, share in (("value", value), ("value_to", value_to), ("coreset", coreset)):
        is_time = row["metric"] == "seconds_per_image" and name != "coreset"
        if share is not None and not (share > 0 if is_time else 0 <= share <= 1):
            raise UserError(f"{place}: {name} {share:g} is out of range; shares are of 1, not percent")
    if value_to is not None and value_to <= value:
        raise UserError(f"{place}: value_to {value_to:g} is not above value {value:g}")
    texts = {column: row[column] for column in ("dataset", "category", "method", "backbone", "condition", "metric")}
    sources = {"source": row["source"], "protocol": row["protocol"]}
    decimals = len(row["value"].partition(".")[2])
    return Figure(**texts, coreset=coreset, value=value, value_to=value_to, **sources, decimals=decimals)


def _number(row: Mapping[str, str], column: str, place: str) -> float | None:
    try:
        return float(row[column]) if row[column] else None
    except ValueError:
        raise UserError(f"{place}: {column} '{row[column]}' is no number") from None
