"""All setups and all categories at a glance.

Tested in tests/report/test_comparison_plots.py.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import rank_rows
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.labels import category_labels, group_labels, split_labels
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import as_value, read_rows
from patchshift.report.style import INK, figure_style

CAPTION = "Image AUROC of every setup on every category. Bold: the highest of a category. Darker is higher."

COLOURS = "cividis_r"  # rises evenly in lightness, also for colour-blind readers and in grey
LETTER = 0.075  # inches


def draw_auroc_heatmap(data: StudyData, experiment: str) -> Drawn | None:
    """A row for each group, a column for each category; None if there is one of either."""
    rows = rank_rows(read_rows(data.experiment_folder(experiment) / "results.csv"))
    groups, categories = group_labels(rows), category_labels(rows)
    if len(set(groups)) < 2 or len(set(categories)) < 2:
        return None
    values = [as_value(dict(row), "image_auroc", "image_auroc_low", "image_auroc_high").value for row in rows]
    table = pd.DataFrame({"group": groups, "category": categories, "image_auroc": values})
    table["image_auroc"] = table["image_auroc"].astype(float)
    return Drawn(_draw(table), table)


def _draw(table: pd.DataFrame) -> Figure:
    grid = table.pivot_table(index="group", columns="category", values="image_auroc", sort=False, dropna=False)
    grid = grid.reindex(index=list(dict.fromkeys(table["group"])), columns=list(dict.fromkeys(table["category"])))
    shared, own = split_labels(list(grid.index))
    values = grid.to_numpy(float)
    best = np.round(values, 3) == np.round(np.nanmax(np.where(np.isnan(values), -1, values), axis=0), 3)
    lowest = float(np.floor(min(0.5, np.nanmin(values) if np.isfinite(values).any() else 0.5) * 20) / 20)
    with figure_style():
        width = min(WIDTH, 0.9 + LETTER * max(map(len, own)) + 0.85 * len(grid.columns))
        figure = Figure(figsize=(width, 0.95 + 0.2 * bool(shared) + 0.3 * len(grid)))
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap=COLOURS, vmin=lowest, vmax=1, aspect="auto")
        middle = (lowest + 1) / 2
        for (row, column), value in np.ndenumerate(values):
            text = "\N{EN DASH}" if np.isnan(value) else f"{value:.3f}"
            weight = "bold" if best[row, column] else "normal"
            shade = "white" if value > middle else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=shade, fontweight=weight)
        slanted = len(grid.columns) > 6
        axes.set_xticks(range(len(grid.columns)), list(grid.columns), rotation=35 * slanted,
                        ha="right" if slanted else "center")  # fmt: skip
        axes.set_yticks(range(len(grid)), own if len(grid) > 1 else list(grid.index))
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if shared:
            axes.set_title("\n".join(wrap_title(shared, 100)), fontsize=9, fontweight="normal")
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("image AUROC")
        bar.outline.set_visible(False)
    return figure
