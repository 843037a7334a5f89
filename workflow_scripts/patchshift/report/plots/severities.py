"""Image AUROC as one shift grows stronger.

Tested in tests/report/test_ladder.py.
"""

import pandas as pd

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.ladder import find_ladders
from patchshift.report.plots.drawn import Drawn
from patchshift.report.results import read_rows
from patchshift.report.shift_gallery import draw_severity_ladder

CAPTION = (
    "Image AUROC of banks fitted on clean images, as test images shift ever further. Upright lines are intervals; "
    "dotted: chance."
)


def draw_severities(data: StudyData, experiment: str) -> Drawn | None:
    """One panel for each shift; None if none is scored at two strengths or more."""
    panels = find_ladders(read_rows(data.experiment_folder(experiment) / "results.csv"), data.domains)
    if not panels:
        return None
    rows = [
        (shift, category, severity, value.value, value.low, value.high)
        for shift, lines in panels.items()
        for category, steps in lines.items()
        for severity, value in steps
    ]
    columns = ["shift", "category", "severity", "image_auroc", "low", "high"]
    return Drawn(draw_severity_ladder(panels), pd.DataFrame(rows, columns=columns))
