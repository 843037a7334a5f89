"""The figure of shifted domains: what each leaves of the metrics, and what adaptation brings back.

Tested in tests/report/test_shift_figure.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.conditions import ADAPTED, IN_DOMAIN, NO_ADAPTATION, RECALIBRATED
from patchshift.report.figures import WIDTH, add_legend
from patchshift.report.results import Value
from patchshift.report.style import INK, MUTED, RULE, colour, figure_style

SHIFT_METRICS = {"image_auroc": "image AUROC", "miss_rate": "miss rate", "false_alarm_rate": "false-alarm rate"}
CHANCE = 0.5
LOOKS = {NO_ADAPTATION: (1, "o"), RECALIBRATED: (2, "s"), ADAPTED: (0, "D")}  # position of the colour, and marker

_STEP = 0.15  # inches from one condition to the next
_GAP = 0.12  # inches more from one domain to the next
_LOWEST = 0.75  # inches of a row, so that the category's name has room

Conditions = Mapping[str, Mapping[str, Value]]


def draw_shift(panels: Mapping[str, Mapping[str, Conditions]], conditions: Sequence[str]) -> Figure:
    """One row of panels per category, one line per shifted domain, one mark per condition, the reference upright.

    Args:
        panels: category -> shifted domain -> condition -> metric -> its value; the reference domain's values are those
            of `IN_DOMAIN`, the same for all domains of a category.
        conditions: those to show.
    """
    shifted = [name for name in conditions if name != IN_DOMAIN]
    line = _STEP * len(shifted) + _GAP
    heights = [max(_LOWEST, line * len(domains) + 0.1) for domains in panels.values()]
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.8 + sum(heights) + 0.08 * len(heights)))
        grid = figure.subplots(
            len(panels), len(SHIFT_METRICS), squeeze=False, sharex="col", height_ratios=heights
        )  # fmt: skip
        for row, (category, domains) in zip(grid, panels.items(), strict=True):
            for axes, metric in zip(row, SHIFT_METRICS, strict=True):
                _draw_domains(axes, domains, metric, shifted, step=_STEP / line)
            row[0].set_yticks(range(len(domains)), list(domains))
            row[0].set_ylabel(category, fontweight="bold", labelpad=8)
        for axes, heading in zip(grid[0], SHIFT_METRICS.values(), strict=True):
            axes.set_title(heading)
        for axes in grid[:, 0]:
            axes.axvline(CHANCE, color=MUTED, linewidth=0.8, linestyle=":")
        for column, low in zip(grid.T, (_lowest_auroc(panels) - 0.03, -0.03, -0.03), strict=True):
            column[0].set_xlim(low, 1.03)
        figure.align_ylabels(grid[:, 0])
        add_legend(figure, [_handle(name) for name in conditions], conditions)
    return figure


def _lowest_auroc(panels: Mapping[str, Mapping[str, Conditions]]) -> float:
    """Where the axis of image AUROC begins: at chance, or below it where something lies there."""
    values = (
        value
        for domains in panels.values()
        for conditions in domains.values()
        for metrics in conditions.values()
        if (value := metrics.get("image_auroc")) is not None
    )
    return min([CHANCE, *(end for value in values for end in (value.low, value.value) if end is not None)])


def _draw_domains(
    axes: Axes, domains: Mapping[str, Conditions], metric: str, shifted: Sequence[str], *, step: float
) -> None:
    """All domains of one category; `step` is the distance between conditions, where that between domains is 1."""
    start = next((values[IN_DOMAIN].get(metric) for values in domains.values() if IN_DOMAIN in values), None)
    if start is not None and start.value is not None:
        if start.low is not None and start.high is not None:
            axes.axvspan(start.low, start.high, color=RULE, alpha=0.55, linewidth=0)
        axes.axvline(start.value, color=INK, linewidth=1.2)
    drawn = []
    for y, values in enumerate(domains.values()):
        present = [name for name in shifted if name in values]
        for position, name in enumerate(present):
            height = y + (position - (len(present) - 1) / 2) * step
            drawn.append(_draw_mark(axes, values[name].get(metric), height, name))
    if not any(drawn):
        axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    for y in range(1, len(domains)):
        axes.axhline(y - 0.5, color=RULE, linewidth=0.6)
    axes.set_ylim(len(domains) - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_mark(axes: Axes, value: Value | None, y: float, condition: str) -> bool:
    """Draw a value with its interval; whether there is one."""
    if value is None or value.value is None:
        return False
    look = _look(condition)
    if value.low is not None and value.high is not None:
        axes.plot([value.low, value.high], [y, y], color=look["color"], linewidth=1.2, solid_capstyle="butt")
    axes.plot([value.value], [y], **look, linestyle="", zorder=3)
    return True


def _look(condition: str) -> dict[str, Any]:
    """A condition looks the same in every figure, whichever others are shown beside it."""
    position, marker = LOOKS[condition]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"color": colour(position), "marker": marker, "markersize": 5.5, **edge}


def _handle(condition: str) -> Line2D:
    if condition == IN_DOMAIN:
        return Line2D([], [], color=INK, linestyle="", marker="|", markersize=11, markeredgewidth=1.4)
    return Line2D([], [], **_look(condition), linewidth=1.2)
