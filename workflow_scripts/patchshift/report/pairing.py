"""Means over categories and differences between banks on the same test images, with bootstrap intervals.

Both sides of a difference see the same resamples, so what makes an image hard for both does not count as noise.
Tested in tests/report/test_pairing.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.statistics import bootstrap_image_ranking, percentile_interval, wilson_interval
from patchshift.plan.experiments import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.results import StudyResults, Value

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """Mistakes among images, with Wilson's interval.

    Attributes:
        count: mistakes.
        total: images that could have been mistaken.
        low: lower end of the share's interval.
        high: upper end.
    """

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """Mistakes per image."""
        return self.count / self.total


def estimate_of(share: Share | None) -> Value:
    """The share as a metric with its interval; no value where it is undefined."""
    return Value(None) if share is None else Value(share.value, share.low, share.high)


def hundredths(share: float) -> str:
    """A share as a number of 100, with one decimal below ten."""
    number = 100 * share
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Summary:
    """What several cells, one per category, are worth together.

    Attributes:
        auroc: mean image AUROC over the categories where it is defined, each weighing the same.
        misses: missed among the anomalous images of all categories; None where that is undefined.
        false_alarms: flagged among the normal images of all categories; None where that is undefined.
        categories: number of cells.
        reason: why misses or false alarms are undefined; empty if they are not.
    """

    auroc: Value
    misses: Share | None
    false_alarms: Share | None
    categories: int
    reason: str


def summarise(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Summary:
    """Pool the cells of several categories."""
    confusions = [results.confusion(cell) for cell in cells]
    reasons = [results.value(cell, metric).undefined for cell in cells for metric in ("miss_rate", "false_alarm_rate")]
    reason = next(filter(None, reasons), "")
    misses = false_alarms = None
    counts = [confusion for confusion in confusions if confusion is not None]
    if len(counts) == len(cells):
        misses = _share(sum(int(c.fn) for c in counts), sum(int(c.anomalous) for c in counts), spec.confidence)
        false_alarms = _share(sum(int(c.fp) for c in counts), sum(int(c.normal) for c in counts), spec.confidence)
    return Summary(mean_auroc(results, cells, spec), misses, false_alarms, len(cells), reason)


def mean_auroc(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Value:
    """The mean image AUROC of cells of different categories, where it is defined."""
    values = [results.value(cell, "image_auroc") for cell in cells]
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        return Value(None, undefined=next((value.undefined for value in values), "no image"))
    interval = percentile_interval(_resample_mean(results, cells, spec), spec.confidence)
    return Value(float(np.mean(defined)), *interval)


def mean_difference(
    results: StudyResults, cells: Sequence[Cell], others: Sequence[Cell], spec: EvaluationSpec
) -> Value:
    """How much higher the mean image AUROC of `cells` is than that of `others`, category by category.

    Raises:
        ValueError: if two that are paired were scored on different images.
    """
    for cell, other in zip(cells, others, strict=True):
        if results.images(cell).names != results.images(other).names:
            raise ValueError(f"{cell.scores} and {other.scores} hold different test images: they cannot be paired")
    means = [mean_auroc(results, side, spec).value for side in (cells, others)]
    if means[0] is None or means[1] is None:
        return Value(None, undefined="an image AUROC is undefined")
    differences = _resample_mean(results, cells, spec) - _resample_mean(results, others, spec)
    return Value(means[0] - means[1], *percentile_interval(differences, spec.confidence))


def _resample_mean(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Float64:
    """[R] mean image AUROC of each resample; the draws depend on a cell's position and its images only."""
    sampled = []
    for position, cell in enumerate(cells):
        if results.value(cell, "image_auroc").value is None:
            continue
        images = results.images(cell)
        seed = spec.bootstrap_seed + position  # categories are drawn independently of each other
        draws = bootstrap_image_ranking(
            images.labels == 1, images.scores, resamples=spec.bootstrap_resamples, seed=seed
        )
        sampled.append(draws["image_auroc"])
    mean: Float64 = np.mean(sampled, axis=0)
    return mean


def _share(count: int, total: int, confidence: float) -> Share | None:
    return Share(count, total, *wilson_interval(count, total, confidence)) if total else None
