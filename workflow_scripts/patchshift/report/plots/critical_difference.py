"""Average ranks of detectors and backbones, and which are not told apart: the diagram of Demsar 2006, Section 3.2.4.

Tested in tests/report/test_critical_difference.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from patchshift.evaluation.comparisons import count_categories, find_level
from patchshift.report.analyses.ranks import BACKBONE, DETECTOR, SETUP, ranks_table
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH
from patchshift.report.labels import name_backbone
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import INK, MUTED, colour, figure_style

_NAME_SIZE = 9
_NAME_LETTERS = 30  # a longer name goes on in the next line
_HEAD = 1.05  # inches from a panel's top to its axis: title, what was tested, critical difference, numbers
_BAR = 0.12  # inches between bars
_ROW, _LINE = 0.26, 0.14  # inches that a name takes, and each of its further lines
_FOOT = 0.12
_MOST_NUMBERS = 12  # along an axis

CAPTION = (
    "Average ranks by image AUROC over categories, the best on the left. A bar joins those that are not told apart: "
    "their ranks differ by less than the critical difference, or the test of all together finds no difference "
    "(Nemenyi's and Iman and Davenport's test; Demsar 2006)."
)

_PLURAL = {DETECTOR: "detectors", BACKBONE: "backbones", SETUP: "setups"}


@dataclass(frozen=True)
class _Panel:
    """Where the parts of a panel are, in inches from its left and its top."""

    ranks: list[float]
    names: list[list[str]]
    left: float
    right: float
    bars: list[tuple[int, int, int]]
    rows: list[float]
    height: float

    def x(self, rank: float) -> float:
        """Where a rank is: the best on the left."""
        return self.left + (rank - 1) / (len(self.ranks) - 1) * (self.right - self.left)


def draw_critical_difference(data: StudyData, experiment: str) -> Drawn | None:
    """Average ranks on an axis, the best on the left; a bar joins those that are not told apart.

    None where fewer than three setups share two categories.
    """
    table = ranks_table(data, experiment)
    if table.empty:
        return None
    parts = [rows for _, rows in table.groupby("ranked", sort=False)]
    with figure_style():
        panels = [_lay_out(rows) for rows in parts]
        total = sum(panel.height for panel in panels)
        figure = Figure(figsize=(WIDTH, total))
        figure.set_layout_engine("none")
        top = total
        for panel, rows in zip(panels, parts, strict=True):
            top -= panel.height
            axes = figure.add_axes((0, top / total, 1, panel.height / total))
            axes.set(xlim=(0, WIDTH), ylim=(panel.height, 0))  # data are inches from the top left
            axes.axis("off")
            _draw_panel(axes, panel, rows)
    return Drawn(figure, table)


def _lay_out(rows: pd.DataFrame) -> _Panel:
    names = [_wrap(_name(row)) for row in rows.to_dict("records")]
    ranks = [float(rank) for rank in rows["average_rank"]]
    half = (len(names) + 1) // 2  # the better half is named on the left, the other on the right
    margins = [
        0.12 + max(_measure(line) for name in side for line in name) + 0.55 for side in (names[:half], names[half:])
    ]
    bars = _stack_bars([str(groups).split() for groups in rows["groups"]])
    below = _HEAD + 0.12 + _BAR * (1 + max((level for *_, level in bars), default=-1)) + 0.14
    heights = [_ROW + _LINE * (len(name) - 1) for name in names]
    # from the outermost name inwards each stands lower, so that no line crosses another
    on_left = [below + sum(heights[:n]) + heights[n] / 2 for n in range(half)]
    on_right = [below + sum(heights[n + 1 :]) + heights[n] / 2 for n in range(half, len(names))]
    deepest = below + max(sum(heights[:half]), sum(heights[half:]))
    return _Panel(ranks, names, margins[0], WIDTH - margins[1], bars, [*on_left, *on_right], deepest + _FOOT)


def _stack_bars(groups: Sequence[Sequence[str]]) -> list[tuple[int, int, int]]:
    """(first, last, level) of each group of two or more, in as few levels as keep bars apart."""
    bars: list[tuple[int, int, int]] = []
    for number in dict.fromkeys(number for of_row in groups for number in of_row):
        members = [position for position, of_row in enumerate(groups) if number in of_row]
        if len(members) > 1:
            first, last = members[0], members[-1]
            taken = {level for start, end, level in bars if start <= last and first <= end}
            bars.append((first, last, next(level for level in range(len(bars) + 1) if level not in taken)))
    return bars


def _draw_panel(axes: Axes, panel: _Panel, rows: pd.DataFrame) -> None:
    shared = rows.iloc[0]
    axes.text(0.08, 0.14, _title(shared), fontsize=9.5, fontweight="bold", va="center")
    axes.text(0.08, 0.33, _test(shared), fontsize=8, color=MUTED, va="center")
    axes.plot([panel.left, panel.right], [_HEAD, _HEAD], color=INK, linewidth=1)
    for number in range(1, len(panel.ranks) + 1, -(-len(panel.ranks) // _MOST_NUMBERS)):
        axes.plot([panel.x(number)] * 2, [_HEAD - 0.07, _HEAD], color=INK, linewidth=1)
        axes.text(panel.x(number), _HEAD - 0.1, str(number), ha="center", va="bottom", fontsize=8)
    for x, words, align in ((panel.left - 0.12, "best", "right"), (panel.right + 0.12, "worst", "left")):
        axes.text(x, _HEAD, words, ha=align, va="center", fontsize=8, color=MUTED)
    _draw_critical_difference(axes, panel, float(shared["critical_difference"]))
    for first, last, level in panel.bars:
        y = _HEAD + 0.12 + _BAR * level
        ends = [panel.x(panel.ranks[first]) - 0.05, panel.x(panel.ranks[last]) + 0.05]
        axes.plot(ends, [y, y], color=colour(0), linewidth=4, solid_capstyle="butt", zorder=3)
    half = (len(panel.names) + 1) // 2
    for position, (rank, name, y) in enumerate(zip(panel.ranks, panel.names, panel.rows, strict=True)):
        left = position < half
        edge = panel.left - 0.12 if left else panel.right + 0.12
        axes.plot([panel.x(rank), panel.x(rank), edge], [_HEAD, y, y], color=MUTED, linewidth=0.8)
        axes.plot(panel.x(rank), _HEAD, "o", color=INK, markersize=4, zorder=4)
        look: dict[str, Any] = {"va": "center", "ha": "right" if left else "left"}
        out = -0.06 if left else 0.06
        axes.text(edge + out, y, f"{rank:.2f}", fontsize=8, color=MUTED, **look)
        axes.text(edge + 6.5 * out, y, "\n".join(name), fontsize=_NAME_SIZE, linespacing=1.1, **look)


def _draw_critical_difference(axes: Axes, panel: _Panel, difference: float) -> None:
    """How far apart ranks must be, to scale, above the axis; only said where it is longer than the axis."""
    y, words = _HEAD - 0.36, f"critical difference {difference:.2f}"
    if difference > len(panel.ranks) - 1:
        axes.text(WIDTH / 2, y, f"{words}: longer than the axis", ha="center", va="center", fontsize=8)
        return
    start = panel.left
    end = start + difference / (len(panel.ranks) - 1) * (panel.right - panel.left)
    axes.plot([start, end], [y, y], color=colour(1), linewidth=1.6)
    for x in (start, end):
        axes.plot([x, x], [y - 0.05, y + 0.05], color=colour(1), linewidth=1.6)
    if end + 1.5 < WIDTH:
        axes.text(end + 0.08, y, words, va="center", fontsize=8)
    else:
        axes.text(end, y - 0.12, words, ha="right", va="center", fontsize=8)


def _name(row: dict[Any, Any]) -> str:
    backbone = name_backbone(str(row["backbone"]), row["weights"])
    if row["ranked"] == SETUP:
        return f"{row['detector']} on {backbone}"
    return str(row["detector"]) if row["ranked"] == DETECTOR else backbone


def _measure(line: str) -> float:
    """Inches that a line of a name takes."""
    width, *_ = text_to_path.get_text_width_height_descent(line, FontProperties(size=_NAME_SIZE), ismath=False)
    return float(width) / 72


def _wrap(name: str) -> list[str]:
    """A name in lines, each of which ends after one of its words, if they are not too long."""
    lines = [""]
    for word in re.findall(rf"[^_/ -]{{1,{_NAME_LETTERS - 1}}}[_/ -]?|[_/ -]", name):
        if lines[-1] and len(lines[-1] + word) > _NAME_LETTERS:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def _title(shared: "pd.Series[Any]") -> str:
    plural = _PLURAL[shared["ranked"]].capitalize()
    return f"{plural}: average rank by image AUROC over {count_categories(int(shared['blocks']))}"


def _test(shared: "pd.Series[Any]") -> str:
    """Whether all could be alike, in words that its p supports."""
    if shared["undefined"]:
        said = f"Friedman chi-square {shared['friedman']:.1f}, {_show_p(shared['friedman_p'])}"
        p = shared["friedman_p"]
    else:
        said = f"Iman-Davenport F {shared['iman_davenport']:.1f}, {_show_p(shared['iman_davenport_p'])}"
        p = shared["iman_davenport_p"]
    told = "" if p < find_level(shared["confidence"]) else ": the ranks are not told apart"
    return f"{said}{told}"


def _show_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"
