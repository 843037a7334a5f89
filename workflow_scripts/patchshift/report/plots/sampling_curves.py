"""What is left of a detector's image AUROC as its bank, or its embeddings, become smaller.

Tested in tests/report/test_efficiency_plots.py.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from patchshift.plan.cells import Bank, Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend, count_columns
from patchshift.report.pairing import mean_auroc
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import colour, dashes, dot, figure_style, scale_axis, whisker

SAMPLING_CAPTION = (
    "Coreset fraction curve: mean image AUROC over the categories against the vectors that the bank keeps, with "
    "intervals; above, where it is known of all, the share of the training patches. Detectors on one line differ in "
    "nothing but the size of their coreset."
)
REDUCTION_CAPTION = (
    "Mean image AUROC over the categories against the numbers of an embedding, with intervals. Detectors on one line "
    "differ in nothing but how embeddings are reduced."
)

Settings = Mapping[str, Any]


def draw_sampling_curve(data: StudyData, experiment: str) -> Drawn | None:
    """Lines of detectors that differ in the size of their coreset only; None if there are no two."""
    return _draw_curves(data, experiment, _without_size, "bank_vectors", "vectors in the bank")


def draw_reduction_curve(data: StudyData, experiment: str) -> Drawn | None:
    """Lines of detectors that differ in their reduction only; None if there are no two."""
    return _draw_curves(data, experiment, _without_reduction, "feature_dim", "numbers per embedding")


def _without_size(settings: Settings) -> Settings:
    if "sampler" not in settings:
        return settings
    sampler = {key: value for key, value in settings["sampler"].items() if key not in ("share", "count")}
    if sampler.get("method") == "none":  # all patches: the end of every line
        return settings
    return {**settings, "sampler": sampler}


def _without_reduction(settings: Settings) -> Settings:
    representation = {key: value for key, value in settings.get("representation", {}).items() if key != "reduction"}
    return {**settings, "representation": representation}


def _draw_curves(
    data: StudyData, experiment: str, strip: Callable[[Settings], Settings], size: str, words: str
) -> Drawn | None:
    lines: dict[tuple[str, ...], dict[Bank, list[Cell]]] = {}
    for cell in {(cell.bank, cell.target): cell for cell in data.cells(experiment)}.values():
        bank = cell.bank
        kind = json.dumps(strip(data.detectors.get(bank.detector, {"id": bank.detector})), sort_keys=True)
        line = (kind, bank.backbone, bank.split, str(bank.seed), bank.training.domain, cell.domain)
        key = Bank(bank.training, bank.split, bank.backbone, bank.detector, bank.seed)
        lines.setdefault(line, {}).setdefault(key, []).append(cell)
    marks = [mark for line in lines.values() for mark in _measure(data, line, size)]
    columns = ["line", "detector", size, "image_auroc", "low", "high"]
    if size == "bank_vectors":
        marks = [{**mark, "share": _share_of(data.detectors.get(mark["detector"], {}))} for mark in marks]
        columns.insert(2, "share")
    table = pd.DataFrame(marks, columns=columns)
    return Drawn(_draw(table, size, words), table) if len(table) else None


def _share_of(settings: Settings) -> float | None:
    """The share of the training patches that a bank keeps; None where the settings do not name one."""
    sampler = settings.get("sampler", {})
    share: float | None = 1.0 if sampler.get("method") == "none" else sampler.get("share")
    return share


def _mean_sizes(table: pd.DataFrame) -> dict[float, float]:
    """Share -> vectors, for an axis of shares; empty unless each has one size, whichever line it is on."""
    if "share" not in table or table["share"].isna().any():
        return {}
    sizes: dict[float, list[float]] = {}
    for share, size in zip(table["share"], table["bank_vectors"], strict=True):
        sizes.setdefault(float(share), []).append(float(size))
    alike = all(max(found) < 1.1 * min(found) for found in sizes.values())
    return {share: sum(found) / len(found) for share, found in sizes.items()} if alike else {}


def _measure(data: StudyData, line: Mapping[Bank, list[Cell]], size: str) -> list[dict[str, Any]]:
    """One mark per detector of a line, the smallest first; none where there are no two."""
    by_detector: dict[str, list[Cell]] = {}
    for bank, cells in line.items():
        by_detector.setdefault(bank.detector, []).extend(cells)
    marks: list[dict[str, Any]] = []
    for detector, cells in by_detector.items():
        sizes = [data.results.value(cell, size).value for cell in cells]
        value = mean_auroc(data.results, cells, data.spec)
        if value.value is not None and all(known is not None for known in sizes):
            mean = sum(known for known in sizes if known is not None) / len(sizes)
            marks.append({"detector": detector, size: mean, "image_auroc": value.value, "low": value.low,
                          "high": value.high})  # fmt: skip
    if len({mark[size] for mark in marks}) < 2:
        return []
    first = next(iter(line))
    cell = next(iter(line.values()))[0]
    domains = "" if first.training.domain == cell.domain else f", {first.training.domain} to {cell.domain}"
    seed = f", seed {first.seed}" if first.seed else ""
    name = f"{_shared_name(list(by_detector))} on {first.backbone}{domains}{seed}"
    return [{"line": name, **mark} for mark in sorted(marks, key=lambda mark: mark[size])]


def _shared_name(detectors: list[str]) -> str:
    """What the names of detectors begin with alike, in whole words; the first name where that is nothing."""
    parts = zip(*(name.split("_") for name in detectors), strict=False)
    shared = []
    for words in parts:
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    return "_".join(shared) or detectors[0]


def _draw(table: pd.DataFrame, size: str, words: str) -> Figure:
    names = list(dict.fromkeys(table["line"]))
    with figure_style():
        rows = -(-len(names) // count_columns(names))
        figure = Figure(figsize=(WIDTH * 0.75, 3.2 + 0.2 * rows))
        axes = figure.add_subplot()
        for position, name in enumerate(names):
            marks = table[table["line"] == name]
            axes.plot(marks[size], marks["image_auroc"], color=colour(position), linestyle=dashes(position))
            for mark in marks.to_dict("records"):
                axes.plot([mark[size]] * 2, [mark["low"], mark["high"]], **whisker(position))
                axes.plot(mark[size], mark["image_auroc"], **{**dot(position), "markersize": 6}, zorder=3)
        axes.set(xlabel=words, ylabel="mean image AUROC")
        scale_axis(axes.xaxis, table[size])
        shares = _mean_sizes(table)
        if shares:
            above = axes.secondary_xaxis("top")
            ticks = [f"{100 * share:.3g}\N{NO-BREAK SPACE}%" for share in shares]
            above.set_xticks(list(shares.values()), ticks, minor=False)
            above.xaxis.set_minor_locator(NullLocator())
            above.set_xlabel("share of the training patches")
        add_legend(figure, [Line2D([], [], **{**dot(n), "linestyle": dashes(n)}) for n in range(len(names))], names)
    return figure
