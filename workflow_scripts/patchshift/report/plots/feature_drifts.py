"""Which layers and fusions move with the domain: their drift away from home and at home.

Tested in tests/report/test_feature_drifts.py.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.analyses.feature_drifts import FeatureRow, read_features
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH, add_legend
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import INK, colour, dot, figure_style

CAPTION = (
    "How far the mean feature vector of good test images lies from that of the training images, in multiples of its "
    "length, for every layer and fusion that is measured. Filled: away from home, the mean over the targets. Open: at "
    "home, where nothing has shifted. Every backbone has features of its own: compare within one."
)

_LINE = 0.21  # inches of a row
_LONGEST = 60  # characters of a name beside its row


def draw_feature_drifts(data: StudyData) -> Drawn | None:
    """A row per layer and fusion, lowest first within its backbone, a colour per backbone; None with fewer than two."""
    rows = [row for row in read_features(data) if row.away is not None]
    if len(rows) < 2:
        return None
    backbones = list(dict.fromkeys(row.backbone for row in rows))
    ordered = sorted(rows, key=lambda row: (backbones.index(row.backbone), row.away))
    return Drawn(_draw(ordered, backbones), _tabulate(ordered))


def _draw(rows: list[FeatureRow], backbones: list[str]) -> Figure:
    with figure_style():
        figure = Figure(figsize=(WIDTH, 1.1 + 0.12 * len(backbones) + _LINE * len(rows)))
        axes = figure.add_subplot()
        heights = [place + 0.6 * backbones.index(row.backbone) for place, row in enumerate(rows)]
        for y, row in zip(heights, rows, strict=True):
            assert row.away is not None  # the others are left out
            number = backbones.index(row.backbone)
            if row.home is not None:
                axes.plot([row.home, row.away], [y, y], color=colour(number), linewidth=0.9, alpha=0.55)
                axes.plot([row.home], [y], **_open(number), clip_on=False, zorder=3)
            axes.plot([row.away], [y], **dot(number), clip_on=False, zorder=4)
        axes.set_yticks(heights, [_shorten(row.name) for row in rows])
        axes.set(xlabel="drift of the mean, in multiples of its length", ylim=(heights[-1] + 0.6, -0.6))
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0, pad=9)  # beside marks at 0
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        handles = [Line2D([], [], **dot(number)) for number in range(len(backbones))]
        names = [f"{name}, away from home" if len(backbones) == 1 else name for name in backbones]
        if any(row.home is not None for row in rows):
            look = {**_open(0), "marker": "o", "markeredgecolor": INK} if len(backbones) > 1 else _open(0)
            handles.append(Line2D([], [], **look))
            names.append("at home: no shift")
        add_legend(figure, handles, names)
    return figure


def _open(number: int) -> dict[str, Any]:
    return {**dot(number), "markerfacecolor": "white", "markeredgecolor": colour(number), "markeredgewidth": 1.1}


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _tabulate(rows: list[FeatureRow]) -> pd.DataFrame:
    columns = ["backbone", "features", "pairs", "feature_drift", "home_feature_drift"]
    return pd.DataFrame([(row.backbone, row.name, row.pairs, row.away, row.home) for row in rows], columns=columns)
