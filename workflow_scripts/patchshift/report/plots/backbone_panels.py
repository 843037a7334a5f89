"""Setups side by side: at home, away from home, category by category, and the gap between home and away.

Tested in tests/report/test_robustness_plots.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.analyses.rankings import GRADES, IN_DOMAIN, RELATIONS
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend
from patchshift.report.labels import category_labels, name_backbone, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import Value, read_estimate, read_rows
from patchshift.report.style import MUTED, RULE, colour, figure_style, marker

CAPTION = (
    "Setups compared: mean image AUROC in the domain that banks are fitted on; on other targets; the gap between the "
    "two, where 0 would be no loss; and what each category gets from other banks. Lines are intervals. Dotted: from "
    "there on an AUROC counts as fair, good or excellent."
)

HEADINGS = {
    "home": "in domain",
    "away": "away from home",
    "gap": "generalisation gap",
    "category": "per category, away from home",
}
_STEP = 0.15  # inches from one mark to the next
_MARKERS = {name: marker(number) for number, name in enumerate(RELATIONS[1:])}
"""Relation -> marker: what the target is to the bank."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """One mark: where it stands, what it says, and of which relation and setup it is."""

    panel: str
    line: str
    setup: str
    relation: str
    value: Value


def draw_backbone_panels(data: StudyData, experiment: str) -> Drawn | None:
    """Four panels; None with one backbone and detector, or where no bank is scored away from home."""
    rows = read_rows(data.experiment_folder(experiment) / "transfer.csv")
    if len({(row["backbone"], row["detector"]) for row in rows}) < 2:
        return None
    named = dict(zip(map(id, rows), _name_setups(rows), strict=True))
    pairs = [row for row in rows if row["kind"] == "pair"]
    marks = []
    for row in rows:
        if row["kind"] == "mean":
            panel = "home" if row["relation"] == IN_DOMAIN else "away"
            marks.append(
                Mark(panel, named[id(row)], named[id(row)], row["relation"], read_estimate(row, "image_auroc"))
            )
        elif row["kind"] == "gap":
            marks.append(Mark("gap", named[id(row)], named[id(row)], row["relation"], read_estimate(row, "gap")))
    labels = category_labels(pairs)  # of all pairs, or a dataset that is home or away alone would lose its name
    order = {category: number for number, category in enumerate(dict.fromkeys(labels))}
    found: dict[tuple[str, str, str], list[Value]] = {}
    for row, category in sorted(zip(pairs, labels, strict=True), key=lambda each: order[each[1]]):
        if row["relation"] != IN_DOMAIN:
            found.setdefault((category, named[id(row)], row["relation"]), []).append(read_estimate(row, "image_auroc"))
    for (category, setup, relation), values in found.items():
        marks.append(Mark("category", category, setup, relation, _average(values)))
    return Drawn(_draw(marks), _tabulate(marks))


def _name_setups(rows: Sequence[Row]) -> list[str]:
    """What tells setups apart."""
    aspects = [
        [name_backbone(row["backbone"], row["weights"]) for row in rows],
        [row["detector"] for row in rows],
        [row["split"] for row in rows],
        [f"seed {row['seed']}" for row in rows],
        [row["policy"] for row in rows],
    ]
    return [", ".join(parts) for parts in zip(*(each for each in aspects if len(set(each)) > 1), strict=True)]


def _average(values: Sequence[Value]) -> Value:
    """The mean over banks; the interval of a single one."""
    defined = [value for value in values if value.value is not None]
    if len(defined) <= 1:
        return defined[0] if defined else Value(None)
    return Value(float(np.mean([value.value for value in defined if value.value is not None])))


def _draw(marks: Sequence[Mark]) -> Figure:
    setups = list(dict.fromkeys(mark.setup for mark in marks))
    lines = {panel: list(dict.fromkeys(mark.line for mark in marks if mark.panel == panel)) for panel in HEADINGS}
    relations = [name for name in RELATIONS if name in {mark.relation for mark in marks} and name != IN_DOMAIN]
    _, own = split_labels(setups)
    upper = len(setups) * (0.14 + _STEP * len(relations))
    lower = len(lines["category"]) * (0.12 + 0.1 * len(setups))
    with figure_style():
        figure = Figure(figsize=(WIDTH, 1.8 + upper + lower))
        grid = figure.add_gridspec(2, 3, height_ratios=[0.55 + upper, 0.55 + lower])
        places = {"home": grid[0, 0], "away": grid[0, 1], "gap": grid[0, 2], "category": grid[1, :]}
        lowest = _lowest(marks)
        for panel, place in places.items():
            axes = figure.add_subplot(place)
            names = setups if panel != "category" else lines["category"]
            _draw_panel(axes, [mark for mark in marks if mark.panel == panel], names, setups)
            axes.set_title(HEADINGS[panel])
            axes.set_yticks(range(len(names)), {"home": own, "category": names}.get(panel, [""] * len(names)))
            if panel == "gap":
                axes.axvline(0, color=MUTED, linewidth=0.9)
                axes.set_xlabel("image AUROC, home minus away")
            else:
                axes.set_xlim(lowest, 1.005)
                axes.set_xlabel("image AUROC")
                _draw_grades(axes, lowest, named=panel == "category")
        handles = [Line2D([], [], **_look(number, "o")) for number in range(len(setups))]
        named = list(own)
        if len(relations) > 1:
            handles += [Line2D([], [], **{**_look(0, _MARKERS[name]), "color": MUTED}) for name in relations]
            named += relations
        add_legend(figure, handles, named)
    return figure


def _draw_panel(axes: Axes, marks: Sequence[Mark], names: Sequence[str], setups: Sequence[str]) -> None:
    by_line: dict[str, list[Mark]] = {}
    for mark in marks:
        by_line.setdefault(mark.line, []).append(mark)
    for name, members in by_line.items():
        for number, mark in enumerate(members):
            y = names.index(name) + (number - (len(members) - 1) / 2) * 0.75 / max(len(members), 2)
            value, position = mark.value, setups.index(mark.setup)
            if value.value is None:
                continue
            if value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [y, y], color=colour(position), linewidth=1.3)
            shape = _MARKERS.get(mark.relation, "o")
            axes.plot([value.value], [y], zorder=3, **_look(position, shape))
    for y in range(1, len(names)):
        axes.axhline(y - 0.5, color=RULE, linewidth=0.6)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_grades(axes: Axes, lowest: float, *, named: bool) -> None:
    top = axes.get_xaxis_transform()  # x in data, y in shares of the axes
    for grade, start in GRADES.items():
        if lowest <= start and start > 0:
            axes.axvline(start, color=MUTED, linewidth=0.7, linestyle=":")
            if named:
                axes.text(start + 0.003, 1.01, grade, transform=top, fontsize=7, color=MUTED, va="bottom")


def _lowest(marks: Sequence[Mark]) -> float:
    """Where axes of image AUROC begin: a little below the lowest mark."""
    ends = [
        end for mark in marks if mark.panel != "gap" for end in (mark.value.low, mark.value.value) if end is not None
    ]
    return float(np.floor((min(ends, default=0.5) - 0.01) * 20) / 20)


def _look(position: int, shape: str) -> dict[str, Any]:
    return {
        "color": colour(position), "marker": shape, "markersize": 5.5, "linestyle": "", "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }  # fmt: skip


def _tabulate(marks: Sequence[Mark]) -> pd.DataFrame:
    rows = [
        (mark.panel, mark.line, mark.setup, mark.relation, mark.value.value, mark.value.low, mark.value.high)
        for mark in marks
    ]
    return pd.DataFrame(rows, columns=["panel", "line", "setup", "relation", "value", "low", "high"])
