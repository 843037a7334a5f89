"""Image AUROC per category and group, as bars.

Tested in tests/report/test_plots.py.
"""

import pandas as pd

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import bars_of_rows
from patchshift.report.figures import draw_bars
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_rows

CAPTION = "Image AUROC per category. Bars start at chance; black lines are intervals."


def draw_auroc_bars(data: StudyData, experiment: str) -> Drawn:
    """One bar for each category and group."""
    bars = bars_of_rows(read_rows(data.experiment_folder(experiment) / "results.csv"))
    columns = ["category", "group", "image_auroc", "low", "high", "undefined"]
    rows = [(bar.category, bar.group, *vars(bar.value).values()) for bar in bars]
    return Drawn(draw_bars(bars, data.plan.experiments[experiment].title), pd.DataFrame(rows, columns=columns))
