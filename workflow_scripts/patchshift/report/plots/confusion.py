"""How many images of each defect type every detector calls defective.

Tested in tests/report/test_failure_plots.py.
"""

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from patchshift.report.analyses.defects import ALL, DEFECT
from patchshift.report.analyses.failures import GOOD, read_table, row_names
from patchshift.report.analyses.shown import name_condition, select_condition
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels, group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import INK, PALETTE, RULE, figure_style

CAPTION = (
    "How many images of each defect type are called defective: the confusion matrix of every detector. Blue: defects "
    "found; orange: good images called defective. Darker: a larger share."
)

# light enough for dark figures at every share
FOUND_COLOURS = LinearSegmentedColormap.from_list("found", ["#ffffff", PALETTE[4]])
FALSE_COLOURS = LinearSegmentedColormap.from_list("false", ["#ffffff", PALETTE[5]])
_COLUMNS = ("category", "defect", "detector", "images", "called_defective", "called_good", "share_called_defective")
_ROW, _WIDEST = 0.24, 1.0  # inches: a row, and a column at most
_NAMES, _LETTER = 0.08, 0.075  # inches: a letter of a defect type, and of a detector


def draw_confusion(data: StudyData, experiment: str) -> Drawn | None:
    """Images called defective of each type, and of the good ones, for every detector in the first condition.

    None without any decision. Blue are defects found, orange good images called defective; the darker, the larger
    the share.
    """
    cells = select_condition(data, experiment)
    table = read_table(data, experiment, "defects.csv")
    keys = [row_keys(cell) for cell in cells]
    lines: list[dict[str, object]] = []
    for cell, category, label in zip(cells, category_labels(keys), group_labels(keys), strict=True):
        for row in table[row_names(cell)]:
            is_good = (row["by"], row["value"]) == (ALL, GOOD)
            if row["called_defective"] and (is_good or row["by"] == DEFECT):
                counts = (int(row["images"]), int(row["called_defective"]), int(row["called_good"]))
                line = (category, "" if is_good else row["value"], label, *counts, counts[1] / counts[0])
                lines.append(dict(zip(_COLUMNS, line, strict=True)))
    if not lines:
        return None
    frame = pd.DataFrame(lines, columns=list(_COLUMNS))
    return Drawn(_draw(frame, name_condition(cells[0])), frame)


def _draw(frame: pd.DataFrame, condition: str) -> Figure:
    categories, labels = list(dict.fromkeys(frame["category"])), list(dict.fromkeys(frame["detector"]))
    kinds = {name: list(dict.fromkeys(frame[frame["category"] == name]["defect"])) for name in categories}
    shared, own = split_labels(labels)
    names = 0.3 + _NAMES * max(len(kind or GOOD) for of_category in kinds.values() for kind in of_category)
    column = min(_WIDEST, (WIDTH - names) / len(labels))
    across = max(1, int(WIDTH / (names + column * len(labels))))
    bands = -(-len(categories) // across)
    deepest = max(map(len, kinds.values()))
    headings = [_break(name, int(column / _LETTER)) for name in own] if len(own) > 1 else [""]
    longest = max(len(line) for heading in headings for line in heading.split("\n"))
    tilted = longest * _LETTER > column
    if tilted:
        headings = own
    head = 0.35 + (0.05 * max(map(len, headings)) if tilted else 0.15 * max(text.count("\n") + 1 for text in headings))
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.5 + bands * (head + _ROW * deepest)))
        grid = figure.subplots(bands, across, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, category in zip(grid.flat, categories, strict=False):
            axes.set_visible(True)
            _draw_panel(axes, frame[frame["category"] == category], kinds[category], labels)
            # all panels have columns of one width, and rows of one height
            axes.set(xlim=(0, max(len(labels), (WIDTH / across - names) / column)), ylim=(deepest, 0))
            axes.set_xticks(np.arange(len(labels)) + 0.5, headings, fontsize=8)
            axes.set_title(category if len(categories) > 1 else "")
            if tilted:
                for tick in axes.get_xticklabels():
                    tick.set(rotation=40, ha="left", rotation_mode="anchor")
        said = f"{shared}: {condition}" if shared else condition
        lines = [*wrap_title(said, 110), "Images called defective: defects found in blue, false alarms in orange"]
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9)
    return figure


def _draw_panel(axes: Axes, frame: pd.DataFrame, kinds: list[str], labels: list[str]) -> None:
    for row in frame.to_dict("records"):
        x, y = labels.index(row["detector"]), kinds.index(row["defect"])
        fill = (FOUND_COLOURS if row["defect"] else FALSE_COLOURS)(row["share_called_defective"])
        axes.add_patch(Rectangle((x + 0.01, y + 0.03), 0.98, 0.94, facecolor=fill, edgecolor=RULE, linewidth=0.5))
        axes.text(
            x + 0.5, y + 0.5, f"{row['called_defective']} of {row['images']}", ha="center", va="center_baseline",
            fontsize=7 if len(labels) > 9 else 8, color=INK,
        )  # fmt: skip
    axes.set_yticks(np.arange(len(kinds)) + 0.5, [kind or GOOD for kind in kinds])
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _break(name: str, letters: int) -> str:
    """A name in lines of at most so many letters where its words allow; they end at an underscore or a space."""
    lines = [""]
    for word in re.split(r"(?<=[_ ,])", name):
        if lines[-1] and len(lines[-1] + word) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)
