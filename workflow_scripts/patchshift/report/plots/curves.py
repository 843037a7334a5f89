"""ROC and precision-recall curves.

Tested in tests/report/test_plots.py.
"""

import pandas as pd

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import curve_panels
from patchshift.report.figures import draw_curves, ranking_points
from patchshift.report.plots.drawn import Drawn

CAPTION = (
    "ROC curve and precision-recall curve of each category's test images. Dots: where the threshold decides. "
    "Dotted: chance."
)


def draw_ranking_curves(data: StudyData, experiment: str) -> Drawn | None:
    """One line for each category and group; None if no images can be ranked."""
    panels = curve_panels(data.results, data.cells(experiment))
    if not panels:
        return None
    frames = []
    for category, lines in panels.items():
        for group, images in lines.items():
            false_alarms, recall, precision = ranking_points(images)
            points = {"false_alarm_rate": false_alarms, "recall": recall, "precision": [float("nan"), *precision]}
            frames.append(pd.DataFrame({"category": category, "group": group, **points}))
    return Drawn(draw_curves(panels), pd.concat(frames, ignore_index=True))
