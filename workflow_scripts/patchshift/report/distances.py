"""The tables and the figure of distances between domains. Columns: docs/results.md.

Tested in tests/report/test_distances_figure.py.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from patchshift.plan.cells import CLEAN, POOLS
from patchshift.plan.fusions import FusionSpec
from patchshift.plan.inspections import DomainPair
from patchshift.report.figures import WIDTH, add_legend, count_columns
from patchshift.report.labels import name_backbone
from patchshift.report.results import Value, as_value
from patchshift.report.style import MUTED, RULE, dot, figure_style
from patchshift.runtime.files import read_json

HEADINGS = {
    "maximum_mean_discrepancy": "MMD",
    "sliced_wasserstein": "sliced\nWasserstein",
    "frechet_distance": "Fréchet",
    "cosine_distance": "cosine",
    "feature_drift": "drift\nof the mean",
}
TRAINING = ("train_dataset", "train_category", "train_domain", "split")
TARGET = ("target_dataset", "target_category", "target_domain")
ESTIMATE = ["value", "low", "high", "plug_in", "undefined"]

_LINE = 0.19  # inches of a target with one backbone
_MARK = 0.1  # inches more for every further backbone
_LONGEST = 34  # characters of a name beside its row
_PALE = 0.55  # opacity of the grey behind targets in domain
_TITLE = "Distances of good test images from the training images (bold)"

Row = Mapping[str, str]
Place = tuple[str, ...]


def tidy_distances(pairs: Iterable[DomainPair], weights: Mapping[str, str]) -> pd.DataFrame:
    """One row per pair and distance: the study's `distances.csv`.

    Args:
        pairs: whose distances are measured.
        weights: backbone -> its weight file, `random` or `none`.
    """
    rows = []
    for pair in pairs:
        content = read_json(Path(pair.path))
        keys, counts = _name_pair(pair, weights), _count_images(content)
        for distance, estimate in content["distances"].items():
            rows.append({**keys, "distance": distance, **dict.fromkeys(ESTIMATE, ""), **estimate, **counts})
    return pd.DataFrame(rows)


def tidy_drifts(pairs: Iterable[DomainPair], weights: Mapping[str, str]) -> pd.DataFrame:
    """One row per pair and way of joining layers: the study's `feature_drifts.csv`; arguments as above."""
    rows = []
    for pair in pairs:
        content = read_json(Path(pair.path))
        keys, counts = _name_pair(pair, weights), _count_images(content)
        for drift in content["drifts"]:
            estimate = {name: drift.get(name, "") for name in ESTIMATE}
            fusion = FusionSpec(**{name: value for name, value in drift.items() if name not in ESTIMATE})
            rows.append({**keys, "layers": " ".join(fusion.layers), "fusion": fusion.words, **estimate, **counts})
    return pd.DataFrame(rows)


def _name_pair(pair: DomainPair, weights: Mapping[str, str]) -> dict[str, str | int]:
    keys = {
        f"{role}_{field}": getattr(target, field)
        for role, target in (("train", pair.training), ("target", pair.target))
        for field in ("dataset", "category", "domain")
    }
    made = {"split": pair.split, "backbone": pair.backbone, "weights": weights.get(pair.backbone, "")}
    return {**keys, "at_home": int(pair.at_home), **made}


def _count_images(content: Mapping[str, Any]) -> dict[str, int]:
    return {name: content["counts"][name] for name in ("training_images", "target_images")}


def draw_distances(rows: Sequence[Row]) -> Figure:
    """One row of panels per training domain, one panel per distance, one line per target, one mark per backbone.

    On grey stand the test images of the training domain itself: what is measured where nothing has shifted.

    Args:
        rows: of `distances.csv`, every field as it is written.
    """
    backbones = list(dict.fromkeys(name_backbone(row["backbone"], row["weights"]) for row in rows))
    groups: dict[Place, dict[Place, list[Row]]] = {}
    for row in rows:
        training, target = (tuple(row[key] for key in keys) for keys in (TRAINING, TARGET))
        groups.setdefault(training, {}).setdefault(target, []).append(row)
    line = _LINE + _MARK * (len(backbones) - 1)
    labels = [*backbones, "in domain: no shift"]
    legend = 0.2 * math.ceil(len(labels) / count_columns(labels))
    heights = [line * len(targets) + 0.08 for targets in groups.values()]
    with figure_style():
        figure = Figure(figsize=(WIDTH, 1.4 + legend + sum(heights) + 0.12 * len(heights)))
        figure.set_layout_engine("constrained", w_pad=0.1)  # else the ends of two panels' scales run together
        grid = figure.subplots(len(groups), len(HEADINGS), squeeze=False, sharex="col", height_ratios=heights)
        for panels, group in zip(grid, groups.values(), strict=True):
            targets = list(group.values())
            for axes, distance in zip(panels, HEADINGS, strict=True):
                _draw_targets(axes, targets, distance, backbones)
            panels[0].set_yticks(range(len(targets)), [_shorten(_name_target(each[0], rows)) for each in targets])
            # above its targets' names: beside them it would take the room of a panel
            place = panels[0].get_yaxis_transform()
            training_name = _shorten(_name_training(targets[0][0], rows))
            panels[0].text(-0.06, -0.62, training_name, transform=place, ha="right", va="bottom", fontweight="bold")
        for axes, heading in zip(grid[0], HEADINGS.values(), strict=True):
            axes.set_title(heading, pad=16)  # above the name of what is trained on
        for axes in grid[-1]:
            axes.set_xlim(left=0)
            axes.locator_params(axis="x", nbins=2)
            axes.xaxis.set_major_formatter("{x:g}")  # with no more digits than a number needs: small ones are long
        figure.suptitle(_TITLE, x=0.01, ha="left", fontsize=11, fontweight="bold")
        dots = [Line2D([], [], **dot(number)) for number in range(len(backbones))]
        add_legend(figure, [*dots, Patch(color=RULE, alpha=_PALE)], labels)
    return figure


def is_at_home(row: Row) -> bool:
    """Whether a row's target is the domain trained on; see `DomainPair`."""
    return row["at_home"] == "1"


def _name_training(row: Row, rows: Sequence[Row]) -> str:
    parts = [f"pool {row['train_category']}" if row["train_dataset"] == POOLS else row["train_category"]]
    if len({other["train_dataset"] for other in rows} - {POOLS}) > 1 and row["train_dataset"] != POOLS:
        parts = [f"{row['train_dataset']}/{row['train_category']}"]
    if row["train_domain"] != CLEAN:
        parts.append(row["train_domain"])
    if len({other["split"] for other in rows}) > 1:
        parts.append(row["split"])
    return ", ".join(parts)


def _name_target(row: Row, rows: Sequence[Row]) -> str:
    """A target as it is seen from what is trained on: what is the same is not said."""
    domain = "in domain" if is_at_home(row) else row["target_domain"]
    if row["train_dataset"] == row["target_dataset"]:
        same = row["train_category"] == row["target_category"]
        return domain if same else f"{row['target_category']}, {domain}"
    known = row["train_dataset"] == POOLS and len({other["target_dataset"] for other in rows}) == 1
    dataset = "" if known else f"{row['target_dataset']}/"
    return f"{dataset}{row['target_category']}, {domain}"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _draw_targets(axes: Axes, targets: Sequence[Sequence[Row]], distance: str, backbones: Sequence[str]) -> None:
    for y, rows in enumerate(targets):
        if is_at_home(rows[0]):
            axes.axhspan(y - 0.5, y + 0.5, color=RULE, alpha=_PALE, linewidth=0)
        for row in rows:
            if row["distance"] == distance:
                number = backbones.index(name_backbone(row["backbone"], row["weights"]))
                height = y + (number - (len(backbones) - 1) / 2) * 0.7 / len(backbones)
                _draw_mark(axes, as_value(dict(row)), height, number)
    axes.set_ylim(len(targets) - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_mark(axes: Axes, value: Value, y: float, number: int) -> None:
    if value.value is None:
        inside = axes.get_yaxis_transform()  # x in shares of the axes, y in data
        axes.text(0.03, y, "undefined", transform=inside, va="center", fontsize=7, color=MUTED)
        return
    look = dot(number)
    if value.low is not None and value.high is not None:
        ends = [value.low, value.high]
        axes.plot(ends, [y, y], color=look["color"], linewidth=1.2, solid_capstyle="butt", clip_on=False)
    axes.plot([value.value], [y], **look, zorder=3, clip_on=False)
