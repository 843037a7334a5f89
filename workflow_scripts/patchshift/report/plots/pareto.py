"""What accuracy costs: image AUROC against time per image, size of the bank and length of an embedding.

Tested in tests/report/test_efficiency_plots.py.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend, count_columns, wrap_title
from patchshift.report.labels import group_labels, split_labels
from patchshift.report.pairing import mean_auroc
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_rows
from patchshift.report.style import MUTED, dot, figure_style, scale_axis, whisker
from patchshift.report.tables import row_keys

CAPTION = (
    "Mean image AUROC over the categories against what it costs, with intervals. The line joins the setups that no "
    "other beats in both. Times are those of this run on this machine, start-up left out."
)

COSTS = {
    "milliseconds": "milliseconds per image",
    "bank_bytes": "bank, bytes",
    "feature_dim": "numbers per embedding",
}


def draw_pareto(data: StudyData, experiment: str) -> Drawn | None:
    """One mark for each group in each panel; a cost that is unknown, or the same for all, has none."""
    marks = measure_costs(data, experiment)
    if len(marks) < 2:
        return None
    shown = [cost for cost in COSTS if marks[cost].nunique() > 1]
    return Drawn(_draw(marks, shown), marks) if shown else None


def measure_costs(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per group: mean image AUROC with its interval, and the mean of each cost over its targets.

    Time is that from file to score; where that of the forward pass is not known for all, from features to score.
    """
    cells = list({(cell.bank, cell.target): cell for cell in data.cells(experiment)}.values())
    rows = [row_keys(cell) for cell in cells]
    costs = {_cost_key(row): row for row in read_rows(data.experiment_folder(experiment) / "costs.csv")}
    found: dict[str, list[tuple[Cell, dict[str, str]]]] = {}
    for group, cell, row in zip(group_labels(rows), cells, rows, strict=True):
        own = costs.get(_cost_key({key: str(value) for key, value in row.items()}))
        if own and data.results.value(cell, "image_auroc").value is not None:
            found.setdefault(group, []).append((cell, own))
    everywhere = all(own["inference_ms"] for pairs in found.values() for _, own in pairs)
    time = "inference_ms" if everywhere else "scoring_ms"
    marks = []
    for group, pairs in found.items():
        value = mean_auroc(data.results, [cell for cell, _ in pairs], data.spec)
        means = {name: _mean([own[column] for _, own in pairs])
                 for name, column in (("milliseconds", time), *((cost, cost) for cost in list(COSTS)[1:]))}  # fmt: skip
        ends = {"image_auroc": value.value, "low": value.low, "high": value.high}
        marks.append({"group": group, "categories": len(pairs), **ends, "time": time, **means})
    columns = ["group", "categories", "image_auroc", "low", "high", "time", *COSTS]
    return pd.DataFrame(marks, columns=columns)


def find_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The numbers of those that no other beats: none is as cheap and better, or cheaper and as good; cheapest first."""
    order = sorted(range(len(costs)), key=lambda number: (costs[number], -values[number]))
    front: list[int] = []
    for number in order:
        if not front or values[number] > values[front[-1]]:
            front.append(number)
    return front


def _cost_key(row: dict[str, str]) -> tuple[str, ...]:
    names = ("train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain")
    return tuple(row[name] for name in (*names, "split", "backbone", "detector", "seed", "alias"))


def _mean(values: Sequence[str]) -> float:
    return float(np.mean([float(value) for value in values])) if all(values) else float("nan")


def _draw(marks: pd.DataFrame, shown: Sequence[str]) -> Figure:
    groups = list(marks["group"])
    shared, own = split_labels(groups)
    with figure_style():
        rows = -(-len(groups) // count_columns(own))
        figure = Figure(figsize=(WIDTH if len(shown) > 1 else WIDTH * 0.65, 3.1 + 0.2 * rows))
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, cost in zip(panels, shown, strict=True):
            _draw_panel(axes, marks, cost)
        panels[0].set_ylabel("mean image AUROC")
        if shared:
            figure.suptitle("\n".join(wrap_title(shared, 110)), x=0.01, ha="left", fontsize=9)
        add_legend(figure, [Line2D([], [], **dot(position)) for position in range(len(groups))], own)
    return figure


def _draw_panel(axes: Axes, marks: pd.DataFrame, cost: str) -> None:
    known = marks[marks[cost].notna()]
    front = known.iloc[find_front(list(known[cost]), list(known["image_auroc"]))]
    axes.plot(front[cost], front["image_auroc"], color=MUTED, linewidth=1, drawstyle="steps-post", zorder=1)
    for position, mark in zip(known.index, known.to_dict("records"), strict=True):
        axes.plot([mark[cost]] * 2, [mark["low"], mark["high"]], **whisker(position))
        axes.plot(mark[cost], mark["image_auroc"], **{**dot(position), "markersize": 6.5}, zorder=3)
    words = COSTS[cost]
    if cost == "milliseconds" and (marks["time"] == "scoring_ms").any():
        words += ", from features to score"
    axes.set(xlabel=words)
    scale_axis(axes.xaxis, known[cost])
    axes.tick_params(labelleft=True)
