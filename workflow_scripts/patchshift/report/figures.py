"""The figures of experiments and studies.

Tested in tests/report/test_figures.py.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.evaluation.ranking import counts_by_score
from patchshift.report.analyses.digits import show_value
from patchshift.report.labels import split_labels
from patchshift.report.results import Images, Value
from patchshift.report.style import INK, MUTED, RULE, colour, dashes, figure_style, hatch

Float64 = npt.NDArray[np.float64]

WIDTH = 8.0  # inches: little wider than a printed page, so that letters stay readable there; the page scales it
_COLUMNS = 4  # panels side by side
_LETTER = 0.08  # inches that a letter of a legend takes, or less


@dataclass(frozen=True)
class Bar:
    """One bar: a category's value in a group."""

    category: str
    group: str
    value: Value


def draw_bars(bars: Sequence[Bar], title: str = "") -> Figure:
    """Image AUROC per category and group, with intervals; bars start at chance, 0.5, and hang below it if worse."""
    categories = list(dict.fromkeys(bar.category for bar in bars))
    groups = list(dict.fromkeys(bar.group for bar in bars))
    height = 0.8 / len(groups)
    ends = [end for bar in bars for end in (bar.value.low, bar.value.value) if end is not None]
    lowest = min([0.5, *(np.floor(end * 20) / 20 for end in ends)])
    shared, own = split_labels(groups)
    with figure_style():
        legend_rows = -(-len(groups) // count_columns(own))
        inches = 0.85 + 0.2 * bool(shared) + 0.2 * legend_rows + (0.14 + 0.2 * len(groups)) * len(categories)
        figure = Figure(figsize=(WIDTH, inches))
        axes = figure.add_subplot()
        for bar in bars:
            position = groups.index(bar.group)
            y = categories.index(bar.category) + (position + 0.5) * height - 0.4
            _draw_bar(axes, bar.value, y, height, position)
        axes.set(xlim=(lowest, 1.0), ylim=(len(categories) - 0.5, -0.5), xlabel="image AUROC (chance is 0.5)")
        axes.set_yticks(range(len(categories)), categories)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.axvline(0.5, color=MUTED, linewidth=0.9)
        if title:
            figure.suptitle(
                textwrap.fill(title, 95), x=0.01, ha="left", fontsize=11, fontweight="bold", linespacing=1.3
            )
        axes.set_title("\n".join(wrap_title(shared, 110)), fontsize=9, fontweight="normal")
        if len(groups) > 1:
            add_legend(figure, [_patch(axes, position) for position in range(len(groups))], own)
    return figure


def _draw_bar(axes: Axes, value: Value, y: float, height: float, position: int) -> None:
    right = axes.get_yaxis_transform()  # x in shares of the axes, y in data
    if value.value is None:
        axes.text(0.005, y, "undefined", va="center", fontsize=7.5, color=MUTED, transform=right)
        return
    axes.barh(
        y, value.value - 0.5, height * 0.86, left=0.5, color=colour(position), hatch=hatch(position), edgecolor="white",
        linewidth=0,
    )  # fmt: skip
    if value.low is not None and value.high is not None:
        axes.plot([value.low, value.high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt", clip_on=False)
        for end in (value.low, value.high):
            axes.plot([end, end], [y - height * 0.2, y + height * 0.2], color=INK, linewidth=1.1, clip_on=False)
    axes.text(1.012, y, show_value(value.value, value.low, value.high), va="center", fontsize=8, transform=right)


def _patch(axes: Axes, position: int) -> BarContainer:
    return axes.barh([np.nan], [np.nan], color=colour(position), hatch=hatch(position), edgecolor="white", linewidth=0)


def draw_curves(panels: Mapping[str, Mapping[str, Images]]) -> Figure:
    """ROC and precision-recall curves of each category, one line per group.

    A dot is where the threshold decides. Grey is chance: the diagonal, and the share of anomalous images.

    Args:
        panels: category -> group -> its decided test images, with both labels present.
    """
    groups = list(dict.fromkeys(group for lines in panels.values() for group in lines))
    # two categories or one leave room for both curves side by side
    beside = len(panels) <= 2
    columns = {1: 3, 2: 4}.get(len(panels), min(_COLUMNS, len(panels)))
    bands = 1 if beside else 2 * -(-len(panels) // columns)
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.4 + bands * (0.2 + 0.85 * WIDTH / columns)))
        grid = figure.subplots(bands, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for number, (category, lines) in enumerate(panels.items()):
            band, column = divmod(number, columns)
            roc = grid[0, 2 * number] if beside else grid[2 * band, column]
            precision_recall = grid[0, 2 * number + 1] if beside else grid[2 * band + 1, column]
            for axes in (roc, precision_recall):
                axes.set(visible=True, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", box_aspect=1)
                axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
                axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            roc.set(title=category, xlabel="false-alarm rate", ylabel="recall" if beside or column == 0 else "")
            precision_recall.set(xlabel="recall", ylabel="precision" if beside or column == 0 else "")
            roc.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
            for group, images in lines.items():
                _draw_ranking(roc, precision_recall, images, groups.index(group))
        handles = [Line2D([], [], color=colour(n), linestyle=dashes(n)) for n in range(len(groups))]
        shared, own = split_labels(groups)
        if len(groups) == 1:
            own = [shared]
        elif shared:
            figure.suptitle("\n".join(wrap_title(shared, 110)), x=0.01, ha="left", fontsize=9)
        add_legend(figure, handles, own)
    return figure


def ranking_points(images: Images) -> tuple[Float64, Float64, Float64]:
    """False-alarm rate, recall and precision at each distinct score, highest score first.

    Args:
        images: scored images, both labels present, no score NaN.

    Returns:
        [K + 1] false-alarm rate and recall, from (0, 0); [K] precision.
    """
    true = np.cumsum(counts_by_score(images.scores, images.labels == 1))
    false = np.cumsum(counts_by_score(images.scores, images.labels == 0))
    zero = np.zeros(1)
    return np.concatenate([zero, false / false[-1]]), np.concatenate([zero, true / true[-1]]), true / (true + false)


def _draw_ranking(roc: Axes, precision_recall: Axes, images: Images, position: int) -> None:
    look: dict[str, Any] = {"color": colour(position), "linestyle": dashes(position)}
    false_alarms, recall, precision = ranking_points(images)
    roc.plot(false_alarms, recall, **look, zorder=3)
    # average precision counts each step of recall at the precision that it ends with
    precision_recall.plot(recall, np.concatenate([precision[:1], precision]), drawstyle="steps-pre", **look, zorder=3)
    share = float((images.labels == 1).mean())
    precision_recall.axhline(share, color=MUTED, linewidth=0.8, linestyle=":")
    if images.decisions is not None:
        called, anomalous = images.decisions == 1, images.labels == 1
        found = float(called[anomalous].mean())
        dot: dict[str, Any] = {
            "marker": "o",
            "markersize": 5.5,
            "color": colour(position),
            "markeredgecolor": "white",
            "zorder": 4,
        }
        roc.plot(float(called[~anomalous].mean()), found, **dot)
        if called.any():
            precision_recall.plot(found, float(anomalous[called].mean()), **dot)


def draw_scores(panels: Mapping[str, Images]) -> Figure:
    """Where each test image's score lies: one panel per category, one row per defect type, the threshold as a line."""
    rows = {
        category: ["good", *sorted({defect for defect in images.defects if defect})]
        for category, images in panels.items()
    }
    columns = min(3, len(panels))
    bands = -(-len(panels) // columns)
    deepest = max(map(len, rows.values()))
    with figure_style():
        figure = Figure(figsize=(WIDTH, bands * (0.75 + 0.24 * deepest)))
        grid = figure.subplots(bands, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, (category, images) in zip(grid.flat, panels.items(), strict=False):
            axes.set_visible(True)
            position = np.array(
                [
                    rows[category].index(defect) if label else 0
                    for defect, label in zip(images.defects, images.labels, strict=True)
                ]
            )
            # a fixed pattern spreads neighbours: no two runs differ
            spread = ((np.arange(len(position)) * 0.618034) % 1 - 0.5) * 0.5
            for label, marker in ((0, "o"), (1, "D")):
                of_label = images.labels == label
                axes.plot(
                    images.scores[of_label], (position + spread)[of_label], marker, color=colour(label), markersize=4,
                    markeredgecolor="white", markeredgewidth=0.4, alpha=0.85, linestyle="",
                )  # fmt: skip
            if images.threshold is not None:
                axes.axvline(images.threshold, color=INK, linewidth=1)
            axes.set(title=category, xlabel="image score", ylim=(len(rows[category]) - 0.4, -0.6))
            axes.set_yticks(range(len(rows[category])), rows[category])
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            for y in range(1, len(rows[category])):
                axes.axhline(y - 0.5, color=RULE, linewidth=0.6)
    return figure


def add_legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Say below a figure what its marks stand for."""
    figure.legend(handles, list(labels), loc="outside lower left", ncols=count_columns(labels), handlelength=1.8)


def count_columns(labels: Sequence[str]) -> int:
    """Columns of a legend that fit a figure's width, four at most."""
    return int(np.clip(WIDTH / (0.6 + _LETTER * max(map(len, labels))), 1, 4))


def wrap_title(title: str, letters: int) -> list[str]:
    """A title in lines of at most so many letters, none of which ends inside parentheses."""
    kept = re.sub(r"\([^)]*\)", lambda words: words[0].replace(" ", "\N{NO-BREAK SPACE}"), title)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(kept, letters)]
