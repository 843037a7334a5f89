"""Image AUROC against pixel AUROC.

Tested in tests/report/test_comparison_plots.py.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import rank_rows
from patchshift.report.figures import WIDTH, add_legend, count_columns, wrap_title
from patchshift.report.labels import category_labels, group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import as_value, read_rows
from patchshift.report.style import INK, MUTED, dot, figure_style, whisker

CAPTION = (
    "Image AUROC against pixel AUROC: one mark for each category and setup, thin lines are intervals. Marks far below "
    "the diagonal find defective images without finding the defect; far above it, the other way round."
)

METRICS = ("image_auroc", "pixel_auroc")


def draw_auroc_scatter(data: StudyData, experiment: str) -> Drawn | None:
    """One mark for each category and group with both metrics; None if there are fewer than three."""
    rows = rank_rows(read_rows(data.experiment_folder(experiment) / "results.csv"))
    marks = []
    for category, group, row in zip(category_labels(rows), group_labels(rows), rows, strict=True):
        values = [as_value(dict(row), name, f"{name}_low", f"{name}_high") for name in METRICS]
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
    ends = [float(mark[f"{name}_low"] or mark[name] or 0) for mark in marks for name in METRICS]
    lowest = float(np.floor(min(ends) * 20) / 20)
    # of each category one mark bears its name: that furthest to the right
    named = {mark["category"]: mark for mark in sorted(marks, key=lambda mark: float(mark["image_auroc"] or 0))}
    with figure_style():
        rows = -(-len(groups) // count_columns(own))
        figure = Figure(figsize=(WIDTH * 0.72, WIDTH * 0.62 + 0.2 * rows))
        axes = figure.add_subplot()
        axes.plot([lowest, 1], [lowest, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for mark in marks:
            position = groups.index(str(mark["group"]))
            x, y = (float(mark[name] or 0) for name in METRICS)
            if mark["image_auroc_low"] is not None:
                axes.plot([mark["image_auroc_low"], mark["image_auroc_high"]], [y, y], **whisker(position))
            if mark["pixel_auroc_low"] is not None:
                axes.plot([x, x], [mark["pixel_auroc_low"], mark["pixel_auroc_high"]], **whisker(position))
            axes.plot(x, y, **{**dot(position), "markersize": 6.5}, zorder=3)
        for category, mark in named.items():
            if 1 < len(named) <= 12:
                at = (float(mark["image_auroc"] or 0), float(mark["pixel_auroc"] or 0))
                axes.annotate(str(category), at, (5, 5), textcoords="offset points", fontsize=7.5, color=INK)
        axes.set(xlabel="image AUROC", ylabel="pixel AUROC", xlim=(lowest, 1.01), ylim=(lowest, 1.01))
        if shared:
            axes.set_title("\n".join(wrap_title(shared, 80)), fontsize=9, fontweight="normal")
        if len(groups) > 1:
            handles = [Line2D([], [], **dot(position)) for position in range(len(groups))]
            add_legend(figure, handles, own)
    return figure
