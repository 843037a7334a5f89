"""Results by defect type, by size and by position of the defect: which defects are found.

Tested in tests/report/test_defects.py.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchshift.evaluation.failures import SIZES, classify_sizes, superiority_interval
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import wilson_interval
from patchshift.evaluation.undefined import Undefined
from patchshift.report.analyses.failures import DEFECTIVE, GOOD, Judged, key_columns, read_judged
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import row_keys

Bool = npt.NDArray[np.bool_]

ALL, DEFECT, SIZE, POSITION = "all", "defect", "size", "position"
BORDER, CENTRE = "border", "centre"

COLUMNS = (
    *("by", "value", "images", "called_defective", "called_good"),
    *("recall", "recall_low", "recall_high"),
    *("false_alarm_rate", "false_alarm_rate_low", "false_alarm_rate_high"),
    *("image_auroc", "image_auroc_low", "image_auroc_high", "median_margin", "median_margin_deviations", "undefined"),
)


def defects_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per group of test images and cell: an experiment's `defects.csv`. Columns: docs/results.md."""
    rows = []
    for judged in read_judged(data, data.cells(experiment)):
        keys = row_keys(judged.cell)
        for by, value, members in group_images(judged, data.analysis.border_share):
            measured = _measure(judged, members, data.spec.confidence, is_good=value == GOOD and by == ALL)
            rows.append({**keys, "by": by, "value": value, **measured})
    table = pd.DataFrame(rows, columns=[*key_columns(data, experiment), *COLUMNS])
    return table.astype(dict.fromkeys(("images", "called_defective", "called_good"), "Int64"))


def group_images(judged: Judged, border_share: float) -> Iterator[tuple[str, str, Bool]]:
    """(by, value, members) of each group of a cell's test images, members being [n] bool; none is empty.

    Good images and defective ones, then of these each type, the thirds by area, and those that come as near to the
    image's border as `border_share` of its shorter side or not. Defects without a marked pixel have no size and no
    position.
    """
    anomalous = judged.images.labels == 1
    defects = np.array(judged.images.defects, np.str_)
    areas = np.where(anomalous, judged.facts["defect_area"], np.nan)
    sizes = np.array(classify_sizes(areas), np.str_)
    distances = np.where(anomalous, judged.facts["border_distance"], np.nan)
    near = distances <= float(np.float32(border_share))  # facts are of single precision
    groups = {(ALL, GOOD): ~anomalous, (ALL, DEFECTIVE): anomalous}
    groups |= {(DEFECT, name): anomalous & (defects == name) for name in np.unique(defects[anomalous]).tolist() if name}
    groups |= {(SIZE, name): sizes == name for name in SIZES}
    groups |= {(POSITION, BORDER): near, (POSITION, CENTRE): ~near & ~np.isnan(distances)}
    yield from ((by, value, members) for (by, value), members in groups.items() if members.any())


def _measure(judged: Judged, members: Bool, confidence: float, *, is_good: bool) -> dict[str, object]:
    total, reasons = int(members.sum()), []
    row: dict[str, object] = {"images": total}
    if judged.is_decided:
        called = int(judged.called[members].sum())
        row |= {"called_defective": called, "called_good": total - called}
        name = "false_alarm_rate" if is_good else "recall"
        row |= _named(name, called / total, wilson_interval(called, total, confidence))
    else:
        reasons.append(judged.reason)
    if not is_good:
        normal = judged.images.labels == 0
        try:
            compared = members | normal
            auroc = image_auroc(members[compared], judged.images.scores[compared])
        except Undefined as undefined:
            reasons.append(str(undefined))
        else:
            interval = superiority_interval(auroc, total, int(normal.sum()), confidence)
            row |= _named("image_auroc", auroc, interval)
    for name, margins in (("median_margin", judged.margins), ("median_margin_deviations", judged.deviations)):
        known = margins[members & ~np.isnan(margins)]
        row[name] = float(np.median(known)) if known.size else None
    return {**row, "undefined": "; ".join(dict.fromkeys(reasons))}


def _named(name: str, value: float, interval: tuple[float, float]) -> dict[str, object]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
