"""What accuracy costs: image AUROC against time per image, size of the bank and length of an embedding.

Tested in tests/report/test_efficiency_plots.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend, count_columns, wrap_title
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called, group_labels, split_labels, trained_on
from patchshift.report.pairing import mean_auroc
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_rows
from patchshift.report.style import MUTED, dot, figure_style, scale_axis, whisker

CAPTION = (
    "Mean image AUROC over the categories against what it costs, with intervals, in the domains that the title names. "
    "The line joins the setups that no other beats in both; one that lacks categories of the others is left out. Times "
    "are those of one run on this machine, start-up left out: they differ by some per cent from run to run, and a "
    "difference as small says nothing."
)

COSTS = {
    "milliseconds": "milliseconds per image",
    "bank_bytes": "bank, bytes",
    "feature_dim": "numbers per embedding",
}


Place = tuple[str, str]
"""Dataset and category, as the config calls them."""

COLUMNS = ("group", "fitted_on", "scored_on", "categories", "image_auroc", "low", "high", "time", *COSTS, "left_out")


def draw_pareto(data: StudyData, experiment: str) -> Drawn | None:
    """One mark for each setup in each panel; a cost that is unknown, or the same for all, has none."""
    table = measure_costs(data, experiment)
    marks = table[table["left_out"] == ""].reset_index(drop=True)
    if len(marks) < 2:
        return None
    shown = [cost for cost in COSTS if marks[cost].nunique() > 1]
    return Drawn(_draw(marks, shown), table) if shown else None


def measure_costs(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per setup: mean image AUROC with its interval, and the mean of each cost over its targets.

    Setups are compared where the experiment's first cell is fitted and scored, on the categories of the one that has
    the most; one that lacks some of these is left out, and has no numbers. Time is that from file to score; where that
    of the forward pass is not known for all, from features to score.
    """
    cells = _choose_cells(data.cells(experiment))
    rows = [row_keys(cell) for cell in cells]
    costs = {_cost_key(row): row for row in read_rows(data.experiment_folder(experiment) / "costs.csv")}
    found: dict[str, dict[Place, tuple[Cell, dict[str, str]]]] = {}
    for group, cell, row in zip(group_labels(rows), cells, rows, strict=True):
        pairs = found.setdefault(group, {})
        own = costs.get(_cost_key({key: str(value) for key, value in row.items()}))
        if own and data.results.value(cell, "image_auroc").value is not None:
            pairs[cell.origin.dataset, cell.origin.category] = cell, own
    widest = max((set(pairs) for pairs in found.values()), key=len)
    compared = {group: pairs for group, pairs in found.items() if widest and set(pairs) >= widest}
    everywhere = all(own["inference_ms"] for pairs in compared.values() for _, own in pairs.values())
    time = "inference_ms" if everywhere else "scoring_ms"
    domains = {"fitted_on": cells[0].bank.training.domain, "scored_on": cells[0].domain}
    marks = []
    for group, pairs in found.items():
        mark: dict[str, Any] = {"group": group, **domains, "categories": len(pairs), "left_out": ""}
        if group in compared:
            chosen = list(pairs.values())
            value = mean_auroc(data.results, [cell for cell, _ in chosen], data.spec)
            mark |= {"image_auroc": value.value, "low": value.low, "high": value.high, "time": time}
            for name in COSTS:
                column = time if name == "milliseconds" else name
                mark[name] = _mean([own[column] for _, own in chosen])
        else:
            mark["left_out"] = f"lacks {len(widest - set(pairs))} of {len(widest)} categories"
        marks.append(mark)
    return pd.DataFrame(marks, columns=list(COLUMNS))


def _choose_cells(cells: Sequence[Cell]) -> list[Cell]:
    """One cell per bank and target, fitted and scored in the first one's domains.

    Banks of another category than the target's are kept only where there are no others, and then those of the first.
    """
    chosen = [cell for cell in cells if _domains(cell) == _domains(cells[0])]
    trained = [trained_on(as_called(row_keys(cell))) for cell in chosen]
    kept = {name for name in trained if not name.startswith("bank of")} or {trained[0]}
    chosen = [cell for cell, name in zip(chosen, trained, strict=True) if name in kept]
    return list({(cell.bank, cell.target): cell for cell in chosen}.values())


def _domains(cell: Cell) -> tuple[str, str]:
    return cell.bank.training.domain, cell.domain


def find_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The numbers of those that no other beats: none is as cheap and better, or cheaper and as good; cheapest first."""
    order = sorted(range(len(costs)), key=lambda number: (costs[number], -values[number]))
    front: list[int] = []
    for number in order:
        if not front or values[number] > values[front[-1]]:
            front.append(number)
    return front


def _cost_key(row: dict[str, str]) -> tuple[str, ...]:
    names = ("train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain")
    return tuple(row[name] for name in (*names, "split", "backbone", "detector", "seed", "alias"))


def _mean(values: Sequence[str]) -> float:
    return float(np.mean([float(value) for value in values])) if all(values) else float("nan")


def _draw(marks: pd.DataFrame, shown: Sequence[str]) -> Figure:
    groups = list(marks["group"])
    shared, own = split_labels(groups)
    with figure_style():
        rows = -(-len(groups) // count_columns(own))
        figure = Figure(figsize=(WIDTH if len(shown) > 1 else WIDTH * 0.65, 3.1 + 0.2 * rows))
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, cost in zip(panels, shown, strict=True):
            _draw_panel(axes, marks, cost)
        panels[0].set_ylabel("mean image AUROC")
        where = f"fitted on {marks['fitted_on'][0]}, scored on {marks['scored_on'][0]}"
        heading = wrap_title(f"{shared}: {where}" if shared else where.capitalize(), 110 if len(shown) > 1 else 70)
        figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=9)
        add_legend(figure, [Line2D([], [], **dot(position)) for position in range(len(groups))], own)
    return figure


def _draw_panel(axes: Axes, marks: pd.DataFrame, cost: str) -> None:
    known = marks[marks[cost].notna()]
    front = known.iloc[find_front(list(known[cost]), list(known["image_auroc"]))]
    axes.plot(front[cost], front["image_auroc"], color=MUTED, linewidth=1, drawstyle="steps-post", zorder=1)
    for position, mark in zip(known.index, known.to_dict("records"), strict=True):
        axes.plot([mark[cost]] * 2, [mark["low"], mark["high"]], **whisker(position))
        axes.plot(mark[cost], mark["image_auroc"], **{**dot(position), "markersize": 6.5}, zorder=3)
    words = COSTS[cost]
    if cost == "milliseconds" and (marks["time"] == "scoring_ms").any():
        words += ", from features to score"
    axes.set(xlabel=words)
    scale_axis(axes.xaxis, known[cost])
    if axes.get_xscale() == "linear":  # so that a cost of twice the length is twice the cost
        axes.set_xlim(0, 1.05 * known[cost].max())
    axes.tick_params(labelleft=True)
