"""Threshold policies beside each other.

Tested in tests/report/test_policy_plots.py.
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
from patchshift.report.keys import row_keys
from patchshift.report.labels import group_labels
from patchshift.report.pairing import summarise
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import INK, MUTED, colour, dot, figure_style, hatch, whisker

CAPTION = (
    "What each threshold policy does: misses against false alarms, means over the categories with intervals from "
    "theirs (left), and the mean F1 beside that of calling every image defective (black line, right). "
    "Rings around a mark are policies that decide alike."
)
PANELS = 6  # setups, at most


def draw_policies(data: StudyData, experiment: str) -> Drawn | None:
    """One row of panels for each setup that is decided by several policies; None if none is."""
    cells = data.cells(experiment)
    groups: dict[str, dict[str, list[Cell]]] = {}
    for name, cell in zip(group_labels([row_keys(cell) for cell in cells]), cells, strict=True):
        groups.setdefault(name, {}).setdefault(cell.threshold, []).append(cell)
    marks = [
        mark
        for name, policies in list(groups.items())[:PANELS]
        if len(policies) > 1
        for policy, decided in policies.items()
        for mark in [_measure(data, name, policy, decided)]
    ]
    table = pd.DataFrame(marks)
    return Drawn(_draw(table), table) if len(table) else None


def _measure(data: StudyData, group: str, policy: str, cells: Sequence[Cell]) -> dict[str, object]:
    summary = summarise(data.results, cells, data.spec)
    mark: dict[str, object] = {"group": group, "policy": policy, "categories": len(cells)}
    for name, share in (("miss_rate", summary.misses), ("false_alarm_rate", summary.false_alarms)):
        mark |= {name: share and share.value, f"{name}_low": share and share.low, f"{name}_high": share and share.high}
    for name in ("f1", "f1_floor"):
        values = [data.results.value(cell, name).value for cell in cells]
        defined = [value for value in values if value is not None]
        mark[name] = float(np.mean(defined)) if len(defined) == len(values) else None
    return {**mark, "undefined": summary.reason}


def _draw(table: pd.DataFrame) -> Figure:
    groups, policies = (list(dict.fromkeys(table[name])) for name in ("group", "policy"))
    with figure_style():
        rows = -(-len(policies) // count_columns(policies))
        height = max(2.3, 0.6 + 0.24 * len(policies))
        figure = Figure(figsize=(WIDTH, 0.3 + (height + 0.45) * len(groups) + 0.2 * rows))
        for (left, right), group in zip(figure.subplots(len(groups), 2, squeeze=False), groups, strict=True):
            marks = table[table["group"] == group]
            left.set_title("\n".join(wrap_title(group, 60)))
            _draw_rates(left, marks, policies)
            _draw_f1(right, marks, policies)
        add_legend(figure, [Line2D([], [], **dot(position)) for position in range(len(policies))], policies)
    return figure


def _draw_rates(axes: Axes, marks: pd.DataFrame, policies: Sequence[str]) -> None:
    drawn: list[tuple[float, float]] = []
    for mark in marks.dropna(subset=["miss_rate", "false_alarm_rate"]).to_dict("records"):
        position = policies.index(mark["policy"])
        x, y = mark["false_alarm_rate"], mark["miss_rate"]
        earlier = drawn.count((x, y))  # marks that would hide this one: it is drawn around them
        drawn.append((x, y))
        axes.plot([mark["false_alarm_rate_low"], mark["false_alarm_rate_high"]], [y, y], **whisker(position))
        axes.plot([x, x], [mark["miss_rate_low"], mark["miss_rate_high"]], **whisker(position))
        look = {**dot(position), "markersize": 6.5 + 4 * earlier}
        if earlier:
            look |= {"fillstyle": "none", "markeredgecolor": colour(position), "markeredgewidth": 1.4}
        axes.plot(x, y, **look, zorder=3, clip_on=False)
    axes.set(xlabel="false-alarm rate", ylabel="miss rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _draw_f1(axes: Axes, marks: pd.DataFrame, policies: Sequence[str]) -> None:
    for row, mark in enumerate(marks.to_dict("records")):
        position = policies.index(mark["policy"])
        if pd.isna(mark["f1"]):
            axes.text(0.01, row, "undefined", va="center", fontsize=7.5, color=MUTED)
            continue
        axes.barh(row, mark["f1"], 0.7, color=colour(position), hatch=hatch(position), edgecolor="white", linewidth=0)
        axes.text(1.012, row, f"{mark['f1']:.3f}", va="center", fontsize=8)
        if not pd.isna(mark["f1_floor"]):
            axes.plot([mark["f1_floor"]] * 2, [row - 0.45, row + 0.45], color=INK, linewidth=1.4)
    axes.set(xlabel="mean F1", xlim=(0, 1), ylim=(len(marks) - 0.5, -0.5))
    axes.set_yticks(range(len(marks)), list(marks["policy"]))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
