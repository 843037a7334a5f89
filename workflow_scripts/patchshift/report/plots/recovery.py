"""What each shift leaves, and what recalibration and adaptation bring back.

Tested in tests/report/test_robustness_plots.py.
"""

from collections.abc import Sequence

import pandas as pd

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN, Setup
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import Value, read_estimate, read_rows
from patchshift.report.shift_figure import SHIFT_METRICS, draw_shift

CAPTION = (
    "Image AUROC (dotted: chance), miss rate and false-alarm rate in every shifted domain, with intervals, of the "
    "first setup of robustness.csv. Upright: in the reference domain; grey is its interval. A mean of rates weighs the "
    "categories alike, with an interval from theirs (MOVER)."
)
MOST = 6
"""Categories beside their mean; of more, the mean alone is drawn."""

SETUP = ("split", "backbone", "detector", "seed", "policy")
Panels = dict[str, dict[str, dict[str, dict[str, Value]]]]


def draw_recovery(data: StudyData) -> Drawn | None:
    """The first setup in the reference domain and under every condition: the mean over its categories, then each."""
    rows = read_rows(data.folder / "robustness.csv")
    rows = [row for row in rows if all(row[name] == rows[0][name] for name in SETUP)]
    if not rows:
        return None
    categories = list(dict.fromkeys(row["category"] for row in rows if row["kind"] == "category"))
    panels = _panels(rows, categories)
    conditions = [IN_DOMAIN, *(row["condition"] for row in rows if int(row["categories"]))]
    shown = [name for name in CONDITIONS if name in conditions]
    return Drawn(draw_shift(panels, shown), _tabulate(panels))


def is_drawn_of(setup: Setup, data: StudyData) -> bool:
    """Whether the study's figure is of this setup."""
    named = (setup.split, setup.backbone, setup.detector, str(setup.seed), setup.threshold)
    first = next(iter(read_rows(data.folder / "robustness.csv")), {})
    return tuple(first.get(name) for name in SETUP) == named


def _panels(rows: Sequence[dict[str, str]], categories: Sequence[str]) -> Panels:
    mean = f"mean of {len(categories)}"
    panels: Panels = {}
    for row in sorted(rows, key=lambda row: row["kind"] != "mean"):
        alone = row["kind"] == "category" and len(categories) == 1
        if row["kind"] == "mean" and len(categories) > 1:
            name = mean
        elif alone or (row["kind"] == "category" and len(categories) <= MOST):
            name = row["category"]
        else:
            continue
        if not int(row["categories"]):
            continue
        domain = panels.setdefault(name, {}).setdefault(row["domain"], {})
        start = {metric: read_estimate(row, f"{metric}_reference") for metric in SHIFT_METRICS}
        if any(value.value is not None for value in start.values()):
            domain.setdefault(IN_DOMAIN, start)
        domain[row["condition"]] = {metric: read_estimate(row, metric) for metric in SHIFT_METRICS}
    return panels


def _tabulate(panels: Panels) -> pd.DataFrame:
    rows = [
        (category, domain, condition, metric, value.value, value.low, value.high)
        for category, domains in panels.items()
        for domain, conditions in domains.items()
        for condition, metrics in conditions.items()
        for metric, value in metrics.items()
    ]
    return pd.DataFrame(rows, columns=["category", "domain", "condition", "metric", "value", "low", "high"])
