"""Image AUROC against pixel AUROC.

Tested in tests/report/test_comparison_plots.py.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import rank_rows
from patchshift.report.figures import WIDTH, add_legend, count_columns, wrap_title
from patchshift.report.labels import category_labels, group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_estimate, read_rows
from patchshift.report.style import INK, MUTED, dot, figure_style, whisker

CAPTION = (
    "Image AUROC against pixel AUROC: one mark for each category and setup, thin lines are intervals. The two are on "
    "no common scale: good pixels are many and easy."
)

METRICS = ("image_auroc", "pixel_auroc")
_NAME_STEP = 0.035  # of the axes' height: a line of names

MOST_NAMES = 12
"""Categories that are named; of more, names would be no help."""


def draw_auroc_scatter(data: StudyData, experiment: str) -> Drawn | None:
    """One mark for each category and group with both metrics; None if there are fewer than three."""
    rows = rank_rows(read_rows(data.experiment_folder(experiment) / "results.csv"))
    marks = []
    for category, group, row in zip(category_labels(rows), group_labels(rows), rows, strict=True):
        values = [read_estimate(row, name) for name in METRICS]
        if all(value.value is not None for value in values):
            ends = {f"{name}{end}": getattr(value, field)
                    for name, value in zip(METRICS, values, strict=True)
                    for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))}  # fmt: skip
            marks.append({"category": category, "group": group, **ends})
    if len(marks) < 3:
        return None
    return Drawn(_draw(marks), pd.DataFrame(marks))


def _draw(marks: list[dict[str, Any]]) -> Figure:
    groups = list(dict.fromkeys(str(mark["group"]) for mark in marks))
    shared, own = split_labels(groups)
    left, bottom = (
        float(np.floor(min(float(mark[f"{name}_low"] or mark[name] or 0) for mark in marks) * 20) / 20)
        for name in METRICS
    )
    # of each category one mark bears its name: that furthest to the right, where the names stand
    named = {mark["category"]: mark for mark in sorted(marks, key=lambda mark: float(mark["image_auroc"] or 0))}
    with figure_style():
        rows = -(-len(groups) // count_columns(own))
        figure = Figure(figsize=(WIDTH * 0.72, WIDTH * 0.62 + 0.2 * rows))
        axes = figure.add_subplot()
        for mark in marks:
            position = groups.index(str(mark["group"]))
            x, y = (float(mark[name] or 0) for name in METRICS)
            if mark["image_auroc_low"] is not None:
                axes.plot([mark["image_auroc_low"], mark["image_auroc_high"]], [y, y], **whisker(position))
            if mark["pixel_auroc_low"] is not None:
                axes.plot([x, x], [mark["pixel_auroc_low"], mark["pixel_auroc_high"]], **whisker(position))
            axes.plot(x, y, **{**dot(position), "markersize": 6.5}, zorder=3)
        if 1 < len(named) <= MOST_NAMES:
            _name_categories(axes, named, bottom)
        axes.set(xlabel="image AUROC", ylabel="pixel AUROC")
        for set_limits, lowest in ((axes.set_xlim, left), (axes.set_ylim, bottom)):
            set_limits(lowest, 1 + 0.02 * (1 - lowest))
        if shared:
            axes.set_title("\n".join(wrap_title(shared, 80)), fontsize=9, fontweight="normal")
        if len(groups) > 1:
            handles = [Line2D([], [], **dot(position)) for position in range(len(groups))]
            add_legend(figure, handles, own)
    return figure


def _name_categories(axes: Axes, named: dict[str, dict[str, Any]], bottom: float) -> None:
    """Each name beside the axes, in the order of the marks from the top, with a line to its mark: it hides nothing."""
    ordered = sorted(named.items(), key=lambda entry: -float(entry[1]["pixel_auroc"]))
    top = 1 + 0.02 * (1 - bottom)
    heights = [(float(mark["pixel_auroc"]) - bottom) / (top - bottom) for _, mark in ordered]
    for number in range(1, len(heights)):
        heights[number] = min(heights[number], heights[number - 1] - _NAME_STEP)
    lifted = max(0.0, _NAME_STEP / 2 - heights[-1])
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "linestyle": ":", "shrinkA": 1, "shrinkB": 4}
    for (category, mark), height in zip(ordered, heights, strict=True):
        at = float(mark["image_auroc"]), float(mark["pixel_auroc"])
        axes.annotate(category, at, (1.03, height + lifted), textcoords="axes fraction", va="center", fontsize=7.5,
                      color=INK, arrowprops=line)  # fmt: skip
