"""Which defects are found: recall by the size and the position of the defect, for every detector.

Tested in tests/report/test_failure_plots.py.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from patchshift.evaluation.failures import SIZES
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.cells import Cell
from patchshift.report.analyses.defects import BORDER, CENTRE, POSITION, SIZE
from patchshift.report.analyses.failures import read_table, row_names
from patchshift.report.analyses.shown import name_condition, select_condition
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend, count_columns, wrap_title
from patchshift.report.grammar import count
from patchshift.report.keys import row_keys
from patchshift.report.labels import group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import RULE, colour, dot, figure_style

CAPTION = (
    "Share of defects found, by the third of its category's defects that its area is in, and by whether it comes near "
    "the border of its image. All categories together, with Wilson's intervals: where these hold other shares of"
    " each place, it is theirs that differ, too. Without images that have no mask."
)

PANELS = {
    SIZE: ("size of the defect: thirds of its category", SIZES),
    POSITION: ("place of the defect", (BORDER, CENTRE)),
}
_LINE = 0.14  # inches between two detectors
_COLUMNS = ("detector", "by", "value", "images", "found", "recall", "recall_low", "recall_high")


def draw_defect_sizes(data: StudyData, experiment: str) -> Drawn | None:
    """Recall by thirds of the defects' area and by place, all categories together; None where none has a size.

    Of each detector in the experiment's first condition, with Wilson's intervals.
    """
    rows = _count_found(data, experiment)
    if not rows:
        return None
    labels = list(dict.fromkeys(str(row["detector"]) for row in rows))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    shared, own = split_labels(labels)
    with figure_style():
        legend = 0.2 * -(-len(own) // count_columns(own)) if len(own) > 1 else 0
        tallest = len(SIZES) * (0.22 + _LINE * len(labels))
        figure = Figure(figsize=(WIDTH, 1.15 + legend + tallest))
        for axes, (by, (title, values)) in zip(figure.subplots(1, 2, sharex=True), PANELS.items(), strict=True):
            _draw_panel(axes, frame[frame["by"] == by], list(values), labels)
            axes.set(title=title, xlim=(-0.02, 1.02), xlabel="recall at the threshold")
        condition = name_condition(select_condition(data, experiment)[0])
        said = f"{shared}: {condition}" if shared else condition
        figure.suptitle("\n".join(wrap_title(said, 110)), x=0.01, ha="left", fontsize=9)
        if len(own) > 1:
            handles = [figure.axes[0].plot([], [], **dot(position))[0] for position in range(len(own))]
            add_legend(figure, handles, own)
    return Drawn(figure, frame)


def _draw_panel(axes: Axes, frame: pd.DataFrame, values: list[str], labels: list[str]) -> None:
    ticks = []
    for y, value in enumerate(values):
        here = frame[frame["value"] == value]
        ticks.append(f"{value}\n{count(here['images'].max(), 'image')}" if len(here) else f"{value}\nnone")
        if y:
            axes.axhline(y - 0.5, color=RULE, linewidth=0.6)
        for row in here.to_dict("records"):
            position = labels.index(row["detector"])
            place = y + (position - (len(labels) - 1) / 2) * 0.8 / max(len(labels), 3)
            axes.plot([row["recall_low"], row["recall_high"]], [place, place], color=colour(position), linewidth=1.2)
            axes.plot(row["recall"], place, zorder=3, clip_on=False, **dot(position))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_yticks(range(len(values)), ticks)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _count_found(data: StudyData, experiment: str) -> list[dict[str, object]]:
    """Rows of the figure's data: found defects of each detector and class, over its categories."""
    cells = select_condition(data, experiment)
    table = read_table(data, experiment, "defects.csv")
    by_label: dict[str, list[Cell]] = {}
    for label, cell in zip(group_labels([row_keys(cell) for cell in cells]), cells, strict=True):
        by_label.setdefault(label, []).append(cell)
    found: list[dict[str, object]] = []
    for label, of_label in by_label.items():
        rows = [row for cell in of_label for row in table[row_names(cell)] if row["called_defective"]]
        for by, (_, values) in PANELS.items():
            for value in values:
                members = [row for row in rows if (row["by"], row["value"]) == (by, value)]
                total = sum(int(row["images"]) for row in members)
                if total:
                    called = sum(int(row["called_defective"]) for row in members)
                    low, high = wilson_interval(called, total, data.spec.confidence)
                    line = (label, by, value, total, called, called / total, low, high)
                    found.append(dict(zip(_COLUMNS, line, strict=True)))
    return found
