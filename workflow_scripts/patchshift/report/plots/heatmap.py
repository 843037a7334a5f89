"""All setups and all categories at a glance.

Tested in tests/report/test_comparison_plots.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from patchshift.plan.cells import POOLS
from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import rank_rows
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.labels import Keys, as_called, category_labels, group_labels, split_labels, trained_on
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import Value, read_estimate, read_rows
from patchshift.report.style import MUTED, figure_style

CAPTION = (
    "Image AUROC of every setup on every category, with the digits that its interval supports. Bold: the highest of a "
    "category, among setups scored in the same domain; it is no test. Darker is higher."
)

COLOURS = "cividis_r"  # rises evenly in lightness, also for colour-blind readers and in grey
LETTER = 0.075  # inches
DASH = "\N{EN DASH}"


def draw_auroc_heatmap(data: StudyData, experiment: str) -> Drawn | None:
    """A row for each setup and domain, a column for each category; None if there is one setup or one category."""
    rows = rank_rows(read_rows(data.experiment_folder(experiment) / "results.csv"))
    groups, categories = group_labels(rows), category_labels(rows)
    if len(set(map(_setup, rows))) < 2 or len(set(categories)) < 2:
        return None
    values = [read_estimate(row, "image_auroc") for row in rows]
    places = [_place(row) for row in rows]
    fields = [
        {"group": group, "category": category, "fitted_on": place[0], "scored_on": place[1],
         "image_auroc": value.value, "low": value.low, "high": value.high,
         "highest": int(_is_highest(value, [
             other for other, where, name in zip(values, places, categories, strict=True)
             if (where, name) == (place, category)
         ]))}
        for group, category, place, value in zip(groups, categories, places, values, strict=True)
    ]  # fmt: skip
    order = {place: number for number, place in enumerate(dict.fromkeys(places))}
    ranks = sorted(range(len(fields)), key=lambda number: order[places[number]])  # the setups of a domain together
    table = pd.DataFrame([fields[number] for number in ranks])
    numbers = ["image_auroc", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    return Drawn(_draw(table), table)


def choose_ink(image: ScalarMappable, number: float) -> str:
    """Black or white, whichever stands out from the field of a number; its contrast is 4.5 to 1 or more (WCAG 2.2)."""
    field = image.to_rgba(np.array([number]))[0, :3]
    red, green, blue = np.where(field <= 0.04045, field / 12.92, ((field + 0.055) / 1.055) ** 2.4)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def _setup(row: Keys) -> tuple[str | int, ...]:
    """What is compared: a pool's bank is another setup than a category's; that of another category is not."""
    pool = row["train_category"] if row["train_dataset"] == POOLS else ""
    return (pool, *(row[name] for name in ("split", "backbone", "detector", "seed")))


def _place(row: Keys) -> tuple[str, str, str]:
    """Where setups are compared: domains fitted on and scored, and the other category that banks are of."""
    called = as_called(row)
    trained = trained_on(called)
    other = trained if trained.startswith("bank of") else ""
    return str(called["train_domain"]), str(called["target_domain"]), other


def _is_highest(value: Value, rivals: Sequence[Value]) -> bool:
    """Whether none of several (itself among them) is seen to be higher."""
    defined = [rival for rival in rivals if rival.value is not None]
    if value.value is None or len(defined) < 2:
        return False
    best = max(defined, key=lambda rival: rival.value or 0)
    return value.value == best.value or _show(value) == _show(best)


def _show(value: Value) -> str:
    return DASH if value.value is None else show_value(value.value, value.low, value.high)


def _draw(table: pd.DataFrame) -> Figure:
    groups, categories = (list(dict.fromkeys(table[name])) for name in ("group", "category"))
    shared, own = split_labels(groups)
    values: npt.NDArray[np.float64] = np.full((len(groups), len(categories)), np.nan)
    fields: dict[tuple[int, int], dict[str, Any]] = {}
    for record in table.to_dict("records"):
        place = groups.index(str(record["group"])), categories.index(str(record["category"]))
        values[place] = record["image_auroc"]
        fields[place] = {str(name): entry for name, entry in record.items()}
    lowest = float(np.floor(min(0.5, np.nanmin(values) if np.isfinite(values).any() else 0.5) * 20) / 20)
    with figure_style():
        width = min(WIDTH, 0.9 + LETTER * max(map(len, own)) + 0.85 * len(categories))
        figure = Figure(figsize=(width, 0.95 + 0.2 * bool(shared) + 0.3 * len(groups)))
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap=COLOURS, vmin=lowest, vmax=1, aspect="auto")
        for (row, column), number in np.ndenumerate(values):
            text, shade, weight = DASH, MUTED, "normal"
            if not np.isnan(number):
                field = fields[row, column]
                text = show_value(number, *(None if np.isnan(field[end]) else field[end] for end in ("low", "high")))
                shade = choose_ink(image, number)
                weight = "bold" if field["highest"] else "normal"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=shade, fontweight=weight)
        cell = (width - 0.9 - LETTER * max(map(len, own))) / len(categories)
        slanted = len(categories) > 6 or LETTER * max(map(len, categories)) > cell
        axes.set_xticks(range(len(categories)), categories, rotation=35 * slanted,
                        ha="right" if slanted else "center")  # fmt: skip
        axes.set_yticks(range(len(groups)), own if len(groups) > 1 else groups)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if shared:
            axes.set_title("\n".join(wrap_title(shared, 100)), fontsize=9, fontweight="normal")
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("image AUROC")
        bar.outline.set_visible(False)
    return figure
