"""Reliability diagrams: how often images are defective that are said to be so with a probability.

Tested in tests/report/test_reliability_plot.py.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.evaluation.reliability import measure_reliability
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import IN_DOMAIN, condition_of, reference_domain
from patchshift.report.figures import WIDTH, add_legend, wrap_title
from patchshift.report.keys import cell_keys, row_keys
from patchshift.report.labels import group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_rows
from patchshift.report.style import MUTED, colour, dot, figure_style

CAPTION = (
    "Share of defective test images against the probability that they are, in bins of it, of all categories together: "
    "on the diagonal, probabilities are right. The title names the domains. Large marks are of many images, which bars "
    "below count; thin upright lines are Wilson's intervals. Probabilities are fitted to the validation images and "
    "have their share of defective ones: where the test images have another, marks are off the diagonal for that alone."
)
PANELS = 8  # setups, at most
COLUMNS = {"Platt": "probability", "isotonic": "probability_isotonic"}
"""Method -> its column in `predictions.csv`."""
_LINES: tuple[Any, ...] = ("-", "--")

Predicted = dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
"""Method -> labels and probabilities of the same images."""


def draw_reliability(data: StudyData, experiment: str) -> Drawn | None:
    """One panel for each setup; None where no image has a probability."""
    cells = _choose_cells(data, experiment)
    groups = _gather(data, cells)
    if not groups:
        return None
    domains = dict(zip(("fitted_on", "scored_on", "calibrated_on"), _domains(cells[0]), strict=True))
    marks = [
        mark
        for group, (categories, methods) in list(groups.items())[:PANELS]
        for method, (labels, probabilities) in methods.items()
        for mark in _measure(
            data, labels, probabilities, {"group": group, **domains, "method": method, "categories": categories}
        )
    ]
    table = pd.DataFrame(marks)
    others = len({_domains(cell) for cell in data.cells(experiment)}) - 1
    return Drawn(_draw(table, _describe_domains(*_domains(cells[0]), others)), table)


def _choose_cells(data: StudyData, experiment: str) -> list[Cell]:
    """The cells in domain, or else those of the first one's domains; of one policy and seed: each image counts once."""
    cells = data.cells(experiment)
    reference = reference_domain(data.results.all_cells(), data.domains)
    chosen = [cell for cell in cells if reference and condition_of(cell, reference) == IN_DOMAIN]
    chosen = chosen or [cell for cell in cells if _domains(cell) == _domains(cells[0])]
    first = chosen[0]
    return [cell for cell in chosen if (cell.threshold, cell.bank.seed) == (first.threshold, first.bank.seed)]


def _domains(cell: Cell) -> tuple[str, str, str]:
    """What the bank was fitted on, what is scored, and whose validation images the probabilities are fitted to."""
    if cell.calibration == cell.target:
        return cell.bank.training.domain, cell.domain, cell.domain
    return cell.bank.training.domain, cell.domain, cell.calibration.domain


def _describe_domains(fitted: str, scored: str, calibrated: str, others: int) -> str:
    """The domains in words, and how many the experiment has beside them."""
    both = fitted == calibrated
    said = (
        f"Bank and probabilities fitted on {fitted}"
        if both
        else f"Bank fitted on {fitted}, probabilities on {calibrated}"
    )
    beside = f"; of {others + 1} combinations of domains in this experiment, one is shown" if others else ""
    return f"{said}, scored on {scored}{beside}"


def _gather(data: StudyData, cells: Sequence[Cell]) -> dict[str, tuple[int, Predicted]]:
    """Group -> its categories with probabilities, and the images of all of these."""
    by_cell: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    names = list(cell_keys(cells[0]))
    for row in read_rows(data.folder / "predictions.csv"):
        if all(row.get(column) for column in COLUMNS.values()):
            by_cell[tuple(row[name] for name in names)].append(row)
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    categories: Counter[str] = Counter()
    for group, cell in zip(group_labels([row_keys(cell) for cell in cells]), cells, strict=True):
        rows = by_cell.get(tuple(str(value) for value in cell_keys(cell).values()))
        if rows:
            groups[group] += rows
            categories[group] += 1
    return {group: (categories[group], _as_arrays(rows)) for group, rows in groups.items()}


def _as_arrays(rows: Sequence[dict[str, str]]) -> Predicted:
    labels = np.array([int(row["label"]) for row in rows])
    return {method: (labels, np.array([float(row[column]) for row in rows])) for method, column in COLUMNS.items()}


def _measure(
    data: StudyData, labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], keys: dict[str, object]
) -> list[dict[str, object]]:
    measured = measure_reliability(labels, probabilities, data.spec.calibration_bins)
    marks = []
    for each in measured.bins:
        if each.count:
            low, high = wilson_interval(each.defective, each.count, data.spec.confidence)
            counts = {"from": each.low, "to": each.high, "images": each.count, "defective": each.defective}
            observed = {"observed": each.defective / each.count, "observed_low": low, "observed_high": high}
            scores = {"brier": measured.brier, "ece": measured.ece}
            marks.append({**keys, **counts, "predicted": each.predicted, **observed, **scores})
    return marks


def _draw(table: pd.DataFrame, domains: str) -> Figure:
    groups, methods = list(dict.fromkeys(table["group"])), list(COLUMNS)
    shared, own = split_labels(groups)
    columns = min(4, max(3, len(groups)))
    bands = -(-len(groups) // columns)
    with figure_style():
        titles = [_wrap_name(name or shared, 96 // columns) for name in own]
        lines = max(name.count("\n") + 1 for name in titles)
        heading = wrap_title(f"{shared}. {domains}" if shared and len(groups) > 1 else domains, 110)
        figure = Figure(
            figsize=(WIDTH, 0.5 + 0.15 * len(heading) + bands * (0.4 + 0.14 * lines + 1.25 * WIDTH / columns))
        )
        grid = figure.subplots(2 * bands, columns, squeeze=False, sharex=True, height_ratios=[4, 1] * bands)
        for axes in grid.flat:
            axes.set_visible(False)
        for number, (group, title) in enumerate(zip(groups, titles, strict=True)):
            band, column = divmod(number, columns)
            diagram, counts = grid[2 * band, column], grid[2 * band + 1, column]
            marks = table[table["group"] == group]
            for position, method in enumerate(methods):
                of_method = marks[marks["method"] == method]
                _draw_diagram(diagram, of_method, position)
                _draw_counts(counts, of_method, position)
            measures = marks.drop_duplicates("method").to_dict("records")
            said = [f"{mark['method']}: Brier {mark['brier']:.3f}, ECE {mark['ece']:.3f}" for mark in measures]
            below = {"xytext": (0, 6), "textcoords": "offset points", "fontsize": 7, "color": MUTED, "linespacing": 1.3}
            diagram.annotate("\n".join(said), (0, 1), xycoords="axes fraction", va="bottom", **below)
            diagram.set_title(title, fontsize=8.5, pad=31)
            if column == 0:
                diagram.set_ylabel("share defective")
                counts.set_ylabel("images")
            counts.set_xlabel("probability")
        figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=9)
        add_legend(figure, [Line2D([], [], **{**dot(n), "linestyle": _LINES[n]}) for n in range(len(methods))], methods)
    return figure


def _wrap_name(name: str, letters: int) -> str:
    """A name in lines of so many letters; one without spaces ends them at an underscore."""
    return "\n".join(line.replace("_ ", "_") for line in wrap_title(name.replace("_", "_ "), letters))


def _draw_diagram(axes: Axes, marks: pd.DataFrame, position: int) -> None:
    axes.set(visible=True, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelbottom=False)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    for mark in marks.to_dict("records"):
        x = [mark["predicted"]] * 2
        axes.plot(x, [mark["observed_low"], mark["observed_high"]], color=colour(position), linewidth=0.8, alpha=0.7)
    look = {"color": colour(position), "linestyle": _LINES[position], "linewidth": 0.9, "alpha": 0.6}
    axes.plot(marks["predicted"], marks["observed"], **look)
    for mark in marks.to_dict("records"):
        size = 3 + 5 * np.sqrt(mark["images"] / marks["images"].max())  # a bin of one image says little
        x, y = mark["predicted"], mark["observed"]
        axes.plot(x, y, **{**dot(position), "markersize": size}, zorder=3, clip_on=False)


def _draw_counts(axes: Axes, marks: pd.DataFrame, position: int) -> None:
    """Two bars in each bin, side by side."""
    axes.set(visible=True)
    middle, width = (marks["from"] + marks["to"]) / 2, (marks["to"] - marks["from"]) * 0.42
    shift = width * (position - 0.5)
    axes.bar(middle + shift, marks["images"], width, color=colour(position), linewidth=0)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelbottom=True)
    axes.locator_params(axis="y", nbins=2, integer=True)
    axes.grid(visible=False, axis="x")
