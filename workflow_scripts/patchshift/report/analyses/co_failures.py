"""Which images two detectors both decide wrongly, and which only one of them.

Tested in tests/report/test_co_failures.py.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from patchshift.evaluation.failures import SharedErrors
from patchshift.plan.cells import Cell
from patchshift.report.analyses.failures import Judged, key_columns, read_judged
from patchshift.report.analyses.shown import select_shown
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import FALSE_ALARM, MISSED
from patchshift.report.keys import row_keys

PAIR, IMAGE = "pair", "image"
COUNTS = ("images", "both_right", "first_wrong", "second_wrong", "both_wrong")
COLUMNS = (
    *("other_backbone", "other_detector", "other_seed", "kind", "record"),
    *COUNTS,
    *("phi", "p", "image", "defect", "undefined"),
)


def co_failures_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """An experiment's `co_failures.csv`. Columns: docs/results.md.

    For each pair of detectors and each kind of error one row of record `pair`, then one of record `image` for every
    image that both decide wrongly. The detector that is shown of the experiment is the first of its pairs.
    """
    rows: list[dict[str, object]] = []
    shown = select_shown(data, experiment)[0].bank.detector
    cells = sorted(data.cells(experiment), key=lambda cell: cell.bank.detector != shown)  # stable
    for first, second in pair_detectors(read_judged(data, cells)):
        other = second.cell.bank
        keys: dict[str, object] = {
            **row_keys(first.cell),
            **{"other_backbone": other.backbone, "other_detector": other.detector, "other_seed": other.seed},
        }
        for kind, label in ((MISSED, 1), (FALSE_ALARM, 0)):
            rows += [{**keys, "kind": kind, **row} for row in _compare(first, second, label)]
    table = pd.DataFrame(rows, columns=[*key_columns(data, experiment), *COLUMNS])
    return table.astype(dict.fromkeys(COUNTS, "Int64"))


def pair_detectors(judged: Sequence[Judged]) -> Iterator[tuple[Judged, Judged]]:
    """Every two detectors that decide the same images after the same training and calibration.

    Backbone and seed are the same, unless one is another method's scores, of which they are but names.
    """
    for first, second in combinations(judged, 2):
        cell, other = first.cell, second.cell
        both = cell.bank.is_fitted and other.bank.is_fitted
        alike = _circumstances(cell) == _circumstances(other)
        if alike and cell.bank.detector != other.bank.detector and (not both or _making(cell) == _making(other)):
            yield first, second


def count_shared(first: Judged, second: Judged, label: int) -> SharedErrors:
    """The errors of two detectors on the images of one label, all of which both decide.

    Raises:
        ValueError: if they were scored on different images.
    """
    if first.images.names != second.images.names:
        raise ValueError(f"{first.cell.scores} and {second.cell.scores} hold different test images")
    members = first.images.labels == label
    return SharedErrors.count(first.wrong[members], second.wrong[members])


def _compare(first: Judged, second: Judged, label: int) -> Iterator[dict[str, object]]:
    reason = first.reason or second.reason
    members = first.images.labels == label
    if not reason and not members.any():
        reason = "no anomalous image" if label else "no normal image"
    if reason:
        yield {"record": PAIR, "images": int(members.sum()), "undefined": reason}
        return
    shared = count_shared(first, second, label)
    counts = {name: getattr(shared, name) for name in COUNTS[1:]}
    yield {"record": PAIR, "images": shared.total, **counts, "phi": shared.phi, "p": shared.p}
    for row in np.flatnonzero(members & first.wrong & second.wrong):
        yield {"record": IMAGE, "image": first.images.names[row], "defect": first.images.defects[row]}


def _circumstances(cell: Cell) -> tuple[object, ...]:
    return (cell.bank.training, cell.bank.split, cell.target, cell.natural, cell.calibration, cell.threshold)


def _making(cell: Cell) -> tuple[object, ...]:
    return (cell.bank.backbone, cell.bank.seed)
