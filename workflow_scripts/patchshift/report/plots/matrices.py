"""What is trained on against what is tested on, as matrices.

Tested in tests/report/test_robustness_plots.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from patchshift.plan.cells import POOLS
from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.distances import HEADINGS
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.labels import name_backbone, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.plots.heatmap import COLOURS, choose_ink
from patchshift.report.results import Value, as_value, read_estimate, read_rows
from patchshift.report.style import MUTED, figure_style

TRANSFER_CAPTION = (
    "Rows: what banks are fitted on. Columns: what is tested. Framed: a bank's own domain. Image AUROC and pixel AUROC "
    "are darker where they are higher, distance and drift where they are larger; a dash was not measured."
)
CROSS_SHIFT_CAPTION = (
    "Banks fitted on one domain (rows), tested on another (columns): means over the categories. Framed: the same "
    "domain. F1 is at the threshold of the domain fitted on. A dash was not measured."
)

AUROCS = ("image_auroc", "pixel_auroc")
MOST = 4
"""Setups in one figure; its table has all."""

_NAMES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "f1": "F1", "feature_drift": "drift of the mean"}
_CELL = 0.5  # inches that a value takes
_LINE = 0.3  # inches of a row
_LETTER = 0.075  # inches
_LONGEST = 26  # characters of a name beside a row

Row = Mapping[str, str]


@dataclass(frozen=True)
class Matrix:
    """One panel.

    Attributes:
        setup: whose figures; part of the panel's title.
        measure: the metric or distance.
        values: (row, column) -> its value.
        home: (row, column) of own domains.
        rows: names, from top to bottom.
        columns: names, from left to right.
        limits: the numbers at both ends of the colours.
    """

    setup: str
    measure: str
    values: dict[tuple[str, str], Value]
    home: set[tuple[str, str]]
    rows: list[str]
    columns: list[str]
    limits: tuple[float, float]


def draw_transfer_matrix(data: StudyData, experiment: str) -> Drawn | None:
    """Image AUROC, pixel AUROC, distance and drift of every bank and target; None without another category."""
    found = read_rows(data.experiment_folder(experiment) / "transfer.csv")
    pairs = [row for row in found if row["kind"] == "pair"]
    if all(row["same_category"] == "1" for row in pairs):
        return None
    names = {side: _name_places(pairs, side) for side in ("train", "target")}
    rows, columns = (list(dict.fromkeys(names[side])) for side in ("train", "target"))
    distance = pairs[0]["distance_name"]
    measures = [*AUROCS, "distance", *(["feature_drift"] if distance != "feature_drift" else [])]
    groups: dict[str, list[int]] = {}
    for number, setup in enumerate(_name_setups(pairs)):
        groups.setdefault(setup, []).append(number)
    matrices, seen = [], set()
    for setup, numbers in list(groups.items())[:MOST]:
        features = tuple(pairs[numbers[0]][key] for key in ("split", "backbone"))
        for measure in measures:
            if measure not in AUROCS and features in seen:
                continue  # of several detectors features are the same
            values = {
                (names["train"][n], names["target"][n]): as_value(
                    dict(pairs[n]), measure, f"{measure}_low", f"{measure}_high"
                )
                for n in numbers
            }
            home = {(names["train"][n], names["target"][n]) for n in numbers if pairs[n]["relation"] == "in domain"}
            if any(value.value is not None for value in values.values()):
                called = distance if measure == "distance" else measure
                matrices.append(Matrix(setup, called, values, home, rows, columns, (0.0, 1.0)))
        seen.add(features)
    return _draw_all(matrices, len(groups), "transfer.csv") if matrices else None


def draw_cross_shift(data: StudyData) -> Drawn | None:
    """Mean image AUROC, pixel AUROC and F1 of every domain fitted on and tested; None if there is one of either."""
    means = [row for row in read_rows(data.folder / "cross_shift.csv") if row["kind"] == "mean"]
    rows, columns = (list(dict.fromkeys(row[name] for row in means)) for name in ("trained_on", "tested_on"))
    if min(len(rows), len(columns)) < 2:
        return None
    columns.sort(key=lambda name: rows.index(name) if name in rows else len(rows))  # so that the diagonal is one
    groups: dict[str, list[Row]] = {}
    for setup, row in zip(_name_setups(means), means, strict=True):
        groups.setdefault(setup, []).append(row)
    groups = {name: found for name, found in groups.items() if _is_matrix(found)}
    matrices = []
    for setup, members in list(groups.items())[:MOST]:
        for measure in (*AUROCS, "f1"):
            chosen = [row for row in members if measure != "f1" or row["calibrated_on"] == row["trained_on"]]
            values: dict[tuple[str, str], Value] = {}
            for each in chosen:
                place = each["trained_on"], each["tested_on"]
                values.setdefault(place, read_estimate(each, measure))
            home = {place for place in values if place[0] == place[1]}
            if any(value.value is not None for value in values.values()):
                matrices.append(Matrix(setup, measure, values, home, rows, columns, (0.0, 1.0)))
    return _draw_all(matrices, len(groups), "cross_shift.csv") if matrices else None


def _is_matrix(rows: Sequence[Row]) -> bool:
    """Whether a setup has more than one domain on either side."""
    return all(len({row[name] for row in rows}) > 1 for name in ("trained_on", "tested_on"))


def _name_setups(rows: Sequence[Row]) -> list[str]:
    """Detector, backbone and what else varies; the policy only where rankings depend on it."""
    aspects = [
        [row["detector"] for row in rows],
        [name_backbone(row["backbone"], row["weights"]) for row in rows],
        [row["split"] for row in rows],
        [f"seed {row['seed']}" for row in rows],
        [row["policy"] for row in rows],
    ]
    kept = aspects[:2] + [aspect for aspect in aspects[2:] if len(set(aspect)) > 1]
    return [", ".join(parts) for parts in zip(*kept, strict=True)]


def _name_places(rows: Sequence[Row], side: str) -> list[str]:
    """Category, with dataset and domain where there are several of them, trained on or tested."""
    places = [(row[f"{each}_dataset"], row[f"{each}_domain"]) for row in rows for each in ("train", "target")]
    datasets = {dataset for dataset, _ in places} - {POOLS}
    domains = {domain for _, domain in places}
    names = []
    for row in rows:
        dataset, category = row[f"{side}_dataset"], row[f"{side}_category"]
        name = f"pool {category}" if dataset == POOLS else f"{dataset}/{category}" if len(datasets) > 1 else category
        names.append(f"{name}, {row[f'{side}_domain']}" if len(domains) > 1 else name)
    return names


def _draw_all(matrices: Sequence[Matrix], setups: int, table: str) -> Drawn:
    """All panels: those of one setup side by side as far as their values stay readable."""
    scaled = [_with_limits(matrix, matrices) for matrix in matrices]
    rows, columns = scaled[0].rows, scaled[0].columns
    beside = _LETTER * min(_LONGEST, max(map(len, rows)))
    groups: dict[str, list[Matrix]] = {}
    for matrix in scaled:
        groups.setdefault(matrix.setup, []).append(matrix)
    most = max(map(len, groups.values()))
    fitting = [n for n in range(1, most + 1) if beside + n * (0.35 + _CELL * len(columns)) <= WIDTH]
    across = max([1, *(n for n in fitting if n == most or most % n == 0)])
    bands = [group[start : start + across] for group in groups.values() for start in range(0, len(group), across)]
    slanted = _LETTER * max(map(len, columns)) > (WIDTH - beside) / across / len(columns) - 0.1
    below = 0.72 * _LETTER * min(_LONGEST, max(map(len, columns))) if slanted else 0.12
    height = _LINE * len(rows) + 0.5 + below
    shared, own = split_labels(list(groups))
    heading = shared if len(groups) > 1 or shared else own[0]
    if setups > len(groups):
        heading = f"{heading}: the first {len(groups)} of {setups} setups; {table} has all"
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.35 + len(bands) * height))
        figure.suptitle("\n".join(wrap_title(heading, 100)), x=0.01, ha="left", fontsize=9)
        grid = figure.subplots(len(bands), across, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for line, band in zip(grid, bands, strict=True):
            for number, (axes, matrix) in enumerate(zip(line, band, strict=False)):
                name = own[list(groups).index(matrix.setup)] if len(groups) > 1 else ""
                _draw_matrix(axes, matrix, name if number == 0 else "", names=number == 0, slanted=slanted)
    return Drawn(figure, _tabulate(scaled))


def _with_limits(matrix: Matrix, others: Sequence[Matrix]) -> Matrix:
    """With the limits that all panels of a measure share: from chance or below to 1, or from 0 to the largest."""
    numbers = [
        value.value
        for other in others
        if other.measure == matrix.measure
        for value in other.values.values()
        if value.value is not None
    ]
    if matrix.measure in _NAMES and matrix.measure != "feature_drift":
        limits = (math.floor(min(0.5, *numbers) * 20) / 20, 1.0)
    else:
        limits = (0.0, max(numbers) or 1.0)
    return Matrix(matrix.setup, matrix.measure, matrix.values, matrix.home, matrix.rows, matrix.columns, limits)


def _draw_matrix(axes: Axes, matrix: Matrix, setup: str, *, names: bool, slanted: bool) -> None:
    values: npt.NDArray[np.float64] = np.full((len(matrix.rows), len(matrix.columns)), np.nan)
    for (row, column), value in matrix.values.items():
        if value.value is not None:
            values[matrix.rows.index(row), matrix.columns.index(column)] = value.value
    low, high = matrix.limits
    axes.set_visible(True)
    image = axes.imshow(values, cmap=COLOURS, vmin=low, vmax=high, aspect="auto")
    for (y, x), number in np.ndenumerate(values):
        place = matrix.rows[y], matrix.columns[x]
        text, shade = "\N{EN DASH}", MUTED
        if not np.isnan(number):
            text, shade = _show(matrix, place), choose_ink(image, number)
        home = place in matrix.home
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=shade,
                  fontweight="bold" if home else "normal")  # fmt: skip
        if home:
            axes.add_patch(Rectangle((x - 0.45, y - 0.42), 0.9, 0.84, fill=False, edgecolor=shade, linewidth=1.2))
    columns = [_shorten(name) for name in matrix.columns]
    axes.set_xticks(range(len(columns)), columns, rotation=35 * slanted, ha="right" if slanted else "center",
                    rotation_mode="anchor" if slanted else "default", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(matrix.rows)), [_shorten(name) for name in matrix.rows] if names else [], fontsize=8)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    measure = _NAMES.get(matrix.measure) or HEADINGS[matrix.measure].replace("\n", " ")
    axes.set_title(f"{setup}\n{measure}" if setup else measure, fontsize=9)


def _show(matrix: Matrix, place: tuple[str, str]) -> str:
    """A metric with the digits that its interval supports; a distance, which is on no common scale, with its own."""
    value = matrix.values[place]
    if matrix.measure in _NAMES and matrix.measure != "feature_drift":
        return show_value(value.value or 0.0, value.low, value.high)
    return f"{value.value:.{3 if matrix.limits[1] <= 1 else 2}f}"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _tabulate(matrices: Sequence[Matrix]) -> pd.DataFrame:
    rows = [
        (matrix.setup, matrix.measure, row, column, int((row, column) in matrix.home), value.value, value.low,
         value.high)
        for matrix in matrices
        for (row, column), value in matrix.values.items()
    ]  # fmt: skip
    names = ["setup", "measure", "trained_on", "tested_on", "own_domain", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names)
