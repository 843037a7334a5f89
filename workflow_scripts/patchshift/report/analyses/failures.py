"""Single test images that a study decides wrongly, beside the best and the worst of the others; what failures share.

Tested in tests/report/test_failures.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchshift.data.image_facts import FACTS, IMAGE_FACTS
from patchshift.data.packs import Pack
from patchshift.evaluation.comparisons import correct_holm
from patchshift.evaluation.failures import contrast_values
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import FALSE_ALARM, FOUND, MISSED, PASSED
from patchshift.report.keys import cell_keys, row_keys
from patchshift.report.results import Images, read_rows

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

FAILURE, WORST, BEST = "failure", "worst", "best"
DEFECTIVE, GOOD = "defective", "good"


@dataclass(frozen=True)
class Judged:
    """The test images of a cell and what is known of each.

    Attributes:
        cell: the cell.
        images: its decided test images.
        facts: name in `image_facts.FACTS` -> [n], NaN where there is nothing to measure.
        margins: [n] score minus threshold; NaN without either.
        deviations: the same in standard deviations of normal validation scores; NaN also where these have none.
        reason: why images are not decided; empty if they are.
    """

    cell: Cell
    images: Images
    facts: dict[str, Float64]
    margins: Float64
    deviations: Float64
    reason: str

    @property
    def is_decided(self) -> bool:
        """Whether there are decisions."""
        return not self.reason

    @property
    def called(self) -> Bool:
        """[n] bool, True where called defective; nowhere without decisions."""
        decisions = self.images.decisions
        return np.zeros(len(self.images.labels), np.bool_) if decisions is None else decisions == 1

    @property
    def wrong(self) -> Bool:
        """[n] bool, True where the decision is not the label."""
        wrong: Bool = self.called != (self.images.labels == 1)
        return wrong


def read_judged(data: StudyData, cells: Sequence[Cell]) -> list[Judged]:
    """The test images of some cells.

    Raises:
        UserError: if a pack is missing, damaged or without facts.
    """
    scales = _read_scales(data, cells)
    packs: dict[str, tuple[dict[str, int], dict[str, Float64]]] = {}
    judged = []
    for cell in cells:
        if cell.pack not in packs:
            with Pack(Path(cell.pack)) as pack:
                packs[cell.pack] = ({name: row for row, name in enumerate(pack.images)}, pack.facts)
        number, facts = packs[cell.pack]
        images = data.results.images(cell)
        rows = [number[name] for name in images.names]
        margins = images.scores - (np.nan if images.threshold is None else images.threshold)
        reason = ""
        if images.decisions is None:
            reason = data.results.value(cell, "accuracy").undefined or "no decision"
        kept = {name: facts[name][rows] for name in FACTS}
        judged.append(Judged(cell, images, kept, margins, margins / scales[_key(cell)], reason))
    return judged


def choose_images(judged: Judged, count: int) -> Iterator[tuple[str, str, int, int]]:
    """(kind, choice, rank, row) of the images to look at, the most telling of each kind and choice first.

    All failures, and of the other images the `count` that came nearest to failing (worst) and then the `count`
    farthest from it (best); no image twice. Without decisions, the worst and best of either label. Images whose score
    is not finite are left out.
    """
    scores, anomalous = judged.images.scores, judged.images.labels == 1
    finite, called = np.isfinite(scores), judged.called
    ascending, descending = np.argsort(scores, kind="stable"), np.argsort(-scores, kind="stable")
    if judged.is_decided:
        for kind, wanted, order in (
            (MISSED, anomalous & ~called, ascending),
            (FALSE_ALARM, ~anomalous & called, descending),
        ):
            yield from ((kind, FAILURE, rank, row) for rank, row in enumerate(_take(order, wanted & finite), start=1))
    kinds = (
        (FOUND if judged.is_decided else DEFECTIVE, anomalous & ~(judged.is_decided & ~called), ascending, descending),
        (PASSED if judged.is_decided else GOOD, ~anomalous & ~called, descending, ascending),
    )
    for kind, wanted, worst_first, best_first in kinds:
        worst = _take(worst_first, wanted & finite)[:count]
        best = [row for row in _take(best_first, wanted & finite) if row not in worst][:count]
        for choice, rows in ((WORST, worst), (BEST, best)):
            yield from ((kind, choice, rank, row) for rank, row in enumerate(rows, start=1))


def failures_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per image of `choose_images` and cell: an experiment's `failures.csv`. Columns: docs/results.md."""
    rows = []
    for judged in read_judged(data, data.cells(experiment)):
        keys, images = row_keys(judged.cell), judged.images
        for kind, choice, rank, row in choose_images(judged, data.analysis.cases):
            rows.append(
                {
                    **keys,
                    **{"kind": kind, "choice": choice, "rank": rank},
                    **{"image": images.names[row], "defect": images.defects[row]},
                    **{"score": images.scores[row], "threshold": images.threshold},
                    **{"margin": judged.margins[row], "margin_deviations": judged.deviations[row]},
                    **{name: shorten(judged.facts[name][row]) for name in FACTS},
                }
            )
    columns = ("kind", "choice", "rank", "image", "defect", "score", "threshold", "margin", "margin_deviations")
    return pd.DataFrame(rows, columns=[*key_columns(data, experiment), *columns, *FACTS])


def failure_factors_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """How facts of failures differ from those of successes, for every cell: an experiment's `failure_factors.csv`."""
    rows = []
    for judged in read_judged(data, data.cells(experiment)):
        keys = row_keys(judged.cell)
        rows += [{**keys, **row} for row in compare_facts(judged, data.spec.confidence)]
    columns = (
        *("kind", "fact", "failures", "successes", "median_failures", "median_successes"),
        *("effect", "effect_low", "effect_high", "p", "p_corrected", "undefined"),
    )
    return pd.DataFrame(rows, columns=[*key_columns(data, experiment), *columns])


def compare_facts(judged: Judged, confidence: float) -> list[dict[str, object]]:
    """One row per fact: missed against found defects, false alarms against passed good images.

    P-values are corrected over all that the cell defines.
    """
    rows: list[dict[str, object]] = []
    p_values: list[float | None] = []
    for kind, label, names in ((MISSED, 1, FACTS), (FALSE_ALARM, 0, IMAGE_FACTS)):
        for name in names:
            values = judged.facts[name]
            there = (judged.images.labels == label) & ~np.isnan(values)
            sides = {"failures": values[there & judged.wrong], "successes": values[there & ~judged.wrong]}
            row: dict[str, object] = {"kind": kind, "fact": name}
            try:
                if not judged.is_decided:
                    raise Undefined(judged.reason)
                row |= {side: len(members) for side, members in sides.items()}
                row |= {f"median_{side}": shorten(np.median(of)) for side, of in sides.items() if len(of)}
                contrast = contrast_values(sides["failures"], sides["successes"], confidence)
            except Undefined as undefined:
                rows.append({**row, "undefined": str(undefined)})
                p_values.append(None)
                continue
            low, high = contrast.interval
            rows.append({**row, "effect": contrast.effect, "effect_low": low, "effect_high": high, "p": contrast.p})
            p_values.append(contrast.p)
    for row, corrected in zip(rows, correct_holm(p_values), strict=True):
        row["p_corrected"] = corrected
    return rows


def key_columns(data: StudyData, experiment: str) -> list[str]:
    """The columns that name a row."""
    return list(row_keys(data.cells(experiment)[0]))


def read_table(data: StudyData, experiment: str, name: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """A table of an experiment that is made, by the fields that name a row (`row_names`)."""
    columns = key_columns(data, experiment)
    table: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(data.experiment_folder(experiment) / name):
        table[tuple(row[column] for column in columns)].append(row)
    return table


def row_names(cell: Cell) -> tuple[str, ...]:
    """The fields that name a cell's rows in a table of its experiment."""
    return tuple(str(value) for value in row_keys(cell).values())


def shorten(value: float) -> float:
    """A fact with the digits that single precision holds."""
    return float(str(np.float32(value)))


def _take(order: Int64, wanted: Bool) -> list[int]:
    return [int(row) for row in order if wanted[row]]


def _key(cell: Cell) -> tuple[str, ...]:
    return tuple(str(value) for value in cell_keys(cell).values())


def _read_scales(data: StudyData, cells: Sequence[Cell]) -> dict[tuple[str, ...], float]:
    """The standard deviation of normal validation scores, which `normalised_score` is in units of; NaN if undefined.

    Both scores are linear in each other, so two images tell it: the lowest and the highest scored.
    """
    columns = list(cell_keys(cells[0]))
    scored: dict[tuple[str, ...], list[tuple[float, float]]] = {_key(cell): [] for cell in cells}
    for row in read_rows(data.folder / "predictions.csv"):
        key = tuple(row[column] for column in columns)
        if key in scored and row["score"] and row.get("normalised_score"):
            scored[key].append((float(row["score"]), float(row["normalised_score"])))
    scales = {}
    for key, pairs in scored.items():
        (low, below), (high, above) = (min(pairs), max(pairs)) if pairs else ((0.0, 0.0), (0.0, 0.0))
        scales[key] = (high - low) / (above - below) if high > low and above > below else float("nan")
    return scales
