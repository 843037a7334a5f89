"""How far a domain lies against what banks lose there.

Tested in tests/report/test_robustness_plots.py.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.distances import HEADINGS
from patchshift.report.figures import WIDTH, add_legend
from patchshift.report.grammar import count
from patchshift.report.labels import name_backbone
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import Value, as_value, read_estimate, read_rows
from patchshift.report.style import INK, MUTED, colour, figure_style, marker

CAPTION = (
    "How far a target's features lie from those trained on, against the image AUROC that the bank loses there, with "
    "intervals. Filled: the same category in another domain; open: another category. Above each panel: Spearman's "
    "correlation over its pairs."
)

_COLUMNS = 2
_SAID = 66  # letters of what is said of a correlation
_LETTERS = 142  # of a title as wide as the figure

Row = Mapping[str, str]


def draw_distance_effects(data: StudyData) -> Drawn | None:
    """A panel per detector, a colour per backbone, a mark per bank and target away from home; None without any."""
    rows = read_rows(data.folder / "distance_effects.csv")
    pairs = [
        row
        for row in rows
        if row["kind"] == "pair" and row["relation"] != "in domain" and row["distance"] and row["loss"]
    ]
    if not pairs:
        return None
    several = len({row["split"] for row in pairs}) > 1
    panels: dict[str, dict[str, list[Row]]] = {}
    for row in pairs:
        panels.setdefault(row["detector"], {}).setdefault(_name_features(row, several), []).append(row)
    found = {
        (row["detector"], _name_features(row, several)): row
        for row in rows
        if row["kind"] == "correlation" and row["distance_name"] == pairs[0]["distance_name"]
    }
    groups = list(dict.fromkeys(group for lines in panels.values() for group in lines))
    return Drawn(_draw(panels, groups, found, pairs[0]["distance_name"]), _tabulate(panels))


def describe_correlation(correlation: Value, pairs: int) -> str:
    """What a rank correlation between distance and loss says, in words."""
    if correlation.value is None:
        return f"{count(pairs, 'pair')}: correlation undefined ({correlation.undefined})"
    said = "not told apart from no relation"
    if correlation.low is not None and correlation.low > 0:
        said = "farther targets lose more"
    if correlation.high is not None and correlation.high < 0:
        said = "farther targets lose less"
    ends = [correlation.value, correlation.low or 0.0, correlation.high or 0.0]
    number, low, high = (f"{end:.2f}".replace("-", "\N{MINUS SIGN}") for end in ends)
    together = f"({low} to {high}), {count(pairs, 'pair')}".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{said}: \N{GREEK SMALL LETTER RHO} = {number} {together}"


def _name_features(row: Row, several: bool) -> str:
    name = name_backbone(row["backbone"], row["weights"])
    return f"{name}, {row['split']}" if several else name


def _draw(
    panels: Mapping[str, Mapping[str, Sequence[Row]]],
    groups: Sequence[str],
    found: Mapping[tuple[str, str], Row],
    distance: str,
) -> Figure:
    across = min(_COLUMNS, len(panels))
    bands = math.ceil(len(panels) / across)
    lines = max(sum(1 + (len(group) + _SAID > _LETTERS // across) for group in members) for members in panels.values())
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.5 + bands * (2.7 + 0.16 * lines)))
        grid = figure.subplots(bands, across, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (detector, members) in zip(grid.flat, panels.items(), strict=False):
            axes.axhline(0, color=MUTED, linewidth=0.9)
            said = []
            for group, rows in members.items():
                _draw_points(axes, rows, groups.index(group))
                if (row := found.get((detector, group))) is not None:
                    words = describe_correlation(as_value(dict(row), *_ENDS), int(row["pairs"]))
                    words = f"{group}: {words}" if len(groups) > 1 else words[0].upper() + words[1:]
                    said += textwrap.wrap(words, _LETTERS // across, subsequent_indent="    ")
            name = detector if len(groups) > 1 else f"{detector} on {groups[0]}"
            axes.set_title("\n".join([name, *said]), fontsize=7.5, fontweight="normal", linespacing=1.35)
            axes.tick_params(labelbottom=True)
        farthest = grid.flat[0].get_xlim()[1]  # of all panels; once they are drawn, or it would stay the first one's
        grid.flat[0].set_xlim(-0.02 * farthest, farthest)
        measure = HEADINGS[distance].replace("\n", " ")
        for number, axes in enumerate(grid.flat[: len(panels)]):
            if number + across >= len(panels):  # the lowest of its column
                axes.set_xlabel(f"distance of the target's features ({measure})")
        figure.supylabel("image AUROC lost", fontsize=9)
        named = list(groups) if len(groups) > 1 else []
        handles = [Line2D([], [], **_look(number, filled=True)) for number in range(len(named))]
        drawn = [row for members in panels.values() for rows in members.values() for row in rows]
        both = {row["relation"] == "shifted" for row in drawn}
        for filled, label in ((True, "same category, another domain"), (False, "another category")):
            if len(both) > 1:
                look = {**_look(0, filled=filled), "color": INK, "markeredgecolor": INK, "marker": "o"}
                look["markerfacecolor"] = INK if filled else "white"
                handles.append(Line2D([], [], **look))
                named.append(label)
        if named:
            add_legend(figure, handles, named)
    return figure


_ENDS = ("correlation", "correlation_low", "correlation_high")


def _draw_points(axes: Axes, rows: Sequence[Row], number: int) -> None:
    for row in rows:
        x = read_estimate(row, "distance")
        y = read_estimate(row, "loss")
        assert x.value is not None
        assert y.value is not None
        thin: dict[str, Any] = {"color": colour(number), "linewidth": 0.8, "alpha": 0.45, "solid_capstyle": "butt"}
        if x.low is not None and x.high is not None:
            axes.plot([x.low, x.high], [y.value, y.value], **thin)
        if y.low is not None and y.high is not None:
            axes.plot([x.value, x.value], [y.low, y.high], **thin)
        axes.plot([x.value], [y.value], zorder=3, **_look(number, filled=row["relation"] == "shifted"))


def _look(number: int, *, filled: bool) -> dict[str, Any]:
    own = colour(number)
    face: dict[str, Any] = {
        "markerfacecolor": own if filled else "white",
        "markeredgecolor": "white" if filled else own,
    }
    width = 0.5 if filled else 1.2
    return {
        "color": own,
        "marker": marker(number),
        "markersize": 5.5,
        "linestyle": "",
        "markeredgewidth": width,
        **face,
    }


def _tabulate(panels: Mapping[str, Mapping[str, Sequence[Row]]]) -> pd.DataFrame:
    columns = [
        *("train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain"),
        *("split", "backbone", "weights", "detector", "seed", "relation", "closeness", "distance_name"),
    ]
    numbers = ["distance", "distance_low", "distance_high", "loss", "loss_low", "loss_high"]
    rows = [
        [*(row[name] for name in columns), *(float(row[name]) if row[name] else None for name in numbers)]
        for members in panels.values()
        for rows in members.values()
        for row in rows
    ]
    return pd.DataFrame(rows, columns=[*columns, *numbers])
