"""Means over categories and differences between banks or domains on the same images, with bootstrap intervals.

Both sides of a difference see the same resamples, so what makes an image hard for both does not count as noise.
Tested in tests/report/test_pairing.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.rates import estimate_rates
from patchshift.evaluation.statistics import bootstrap_image_auroc, percentile_interval, wilson_interval
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.results import StudyResults, Value

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """Mistakes among images: their share with Wilson's interval, or the mean of several categories' shares.

    Attributes:
        count: mistakes.
        total: images that could have been mistaken.
        low: lower end of the share's interval.
        high: upper end.
        mean: of the categories' shares, each weighing the same; None where the images of all are one.
        categories: how many.
    """

    count: int
    total: int
    low: float
    high: float
    mean: float | None = None
    categories: int = 1

    @property
    def value(self) -> float:
        """Mistakes per image."""
        return self.count / self.total if self.mean is None else self.mean

    @property
    def plain(self) -> str:
        """`9.5 to 24, mean of 3 categories; 14 of 90 test images`, of 100 images."""
        ends = f"{hundredths(self.low)} to {hundredths(self.high)}"
        mean = f", mean of {self.categories} categories" if self.categories > 1 else ""
        return f"{ends}{mean}; {self.count} of {self.total} test {'image' if self.total == 1 else 'images'}"


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
        misses: missed among the anomalous images, the mean over the categories that have some, as of image AUROC; None
            where that is undefined.
        false_alarms: flagged among the normal images, likewise.
        categories: number of cells.
        reason: why misses or false alarms are undefined; empty if they are not.
    """

    auroc: Value
    misses: Share | None
    false_alarms: Share | None
    categories: int
    reason: str


def summarise(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Summary:
    """What the cells of several categories come to, each category weighing the same."""
    confusions = [results.confusion(cell) for cell in cells]
    reasons = [results.value(cell, metric).undefined for cell in cells for metric in ("miss_rate", "false_alarm_rate")]
    reason = next(filter(None, reasons), "")
    misses = false_alarms = None
    counts = [confusion for confusion in confusions if confusion is not None]
    if len(counts) == len(cells):
        misses = _share([(int(c.fn), int(c.anomalous)) for c in counts], spec.confidence)
        false_alarms = _share([(int(c.fp), int(c.normal)) for c in counts], spec.confidence)
    return Summary(mean_auroc(results, cells, spec), misses, false_alarms, len(cells), reason)


def mean_auroc(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Value:
    """The mean image AUROC of cells, where it is defined; those of one category are drawn alike, others apart."""
    values = [results.value(cell, "image_auroc") for cell in cells]
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        return Value(None, undefined=next((value.undefined for value in values), "no image"))
    if len(defined) == 1:  # as the tables have it
        return next(value for value in values if value.value is not None)
    interval = percentile_interval(_resample_mean(results, cells, spec), spec.confidence)
    return Value(float(np.mean(defined)), *interval)


def mean_difference(
    results: StudyResults, cells: Sequence[Cell], others: Sequence[Cell], spec: EvaluationSpec
) -> Value:
    """How much higher the mean image AUROC of `cells` is than that of `others`, category by category.

    Both sides are of the same images: those that are relabelled on either side are left out of both. So are categories
    without an image AUROC on either side.

    Raises:
        ValueError: if two that are paired were scored on different images.
    """
    aurocs, resampled = [], []
    positions = category_positions(cells)
    for cell, other in zip(cells, others, strict=True):
        position = positions[cell.target.dataset, cell.target.category]
        kept = ~relabelled_on_either_side(results, cell, other)
        sides = [(images.labels[kept] == 1, images.scores[kept]) for images in map(results.images, (cell, other))]
        try:
            aurocs.append([image_auroc(*side) for side in sides])
        except Undefined:
            continue
        resampled.append([_resample_auroc(*side, spec, position) for side in sides])
    if not aurocs:
        return Value(None, undefined="an image AUROC is undefined")
    first, second = (float(np.mean(side)) for side in zip(*aurocs, strict=True))
    first_drawn, second_drawn = (np.mean(side, axis=0) for side in zip(*resampled, strict=True))
    return Value(first - second, *percentile_interval(first_drawn - second_drawn, spec.confidence))


def independent_difference(results: StudyResults, cell: Cell, other: Cell, spec: EvaluationSpec) -> Value:
    """How much higher the image AUROC of `cell` is than that of `other`, which was scored on other images.

    There is nothing to pair, so each side has resamples of its own.
    """
    sides = [(images.labels == 1, images.scores) for images in map(results.images, (cell, other))]
    try:
        first, second = (image_auroc(*side) for side in sides)
    except Undefined:
        return Value(None, undefined="an image AUROC is undefined")
    drawn = [_resample_auroc(*side, spec, position) for position, side in enumerate(sides)]
    return Value(first - second, *percentile_interval(drawn[0] - drawn[1], spec.confidence))


def category_positions(cells: Iterable[Cell]) -> dict[tuple[str, str], int]:
    """(dataset, category) -> the position of its draws, where means share categories: equal images, equal draws."""
    categories = dict.fromkeys((cell.target.dataset, cell.target.category) for cell in cells)
    return {category: position for position, category in enumerate(categories)}


def relabelled_on_either_side(results: StudyResults, cell: Cell, other: Cell) -> Bool:
    """[n] bool: the test images of two cells whose defect is not to be seen in one of their domains.

    Raises:
        ValueError: if the cells were scored on different images.
    """
    images, others = results.images(cell), results.images(other)
    if images.names != others.names:
        raise ValueError(f"{cell.scores} and {other.scores} hold different test images: they cannot be paired")
    return images.relabelled | others.relabelled


def count_left_out(results: StudyResults, pairs: Mapping[Cell, Cell]) -> dict[str, int]:
    """Domain of the first of each pair -> images that a comparison leaves out, each once; only domains with some."""
    by_place = {
        (cell.domain, cell.target): relabelled_on_either_side(results, cell, other) for cell, other in pairs.items()
    }
    counts: Counter[str] = Counter()
    for (domain, _), relabelled in by_place.items():
        counts[domain] += int(relabelled.sum())
    return {domain: count for domain, count in counts.items() if count}


def _resample_mean(results: StudyResults, cells: Sequence[Cell], spec: EvaluationSpec) -> Float64:
    """[R] mean image AUROC of each resample."""
    sampled = []
    positions = category_positions(cells)
    for cell in cells:
        position = positions[cell.target.dataset, cell.target.category]
        if results.value(cell, "image_auroc").value is not None:
            images = results.images(cell)
            sampled.append(_resample_auroc(images.labels == 1, images.scores, spec, position))
    mean: Float64 = np.mean(sampled, axis=0)
    return mean


def _resample_auroc(anomalous: Bool, scores: Float64, spec: EvaluationSpec, position: int) -> Float64:
    """[R] image AUROC of each resample; the draws depend on the category's position and its labels only."""
    seed = spec.bootstrap_seed + position  # categories are drawn independently of each other
    return bootstrap_image_auroc(anomalous, scores, resamples=spec.bootstrap_resamples, seed=seed)


def _share(counts: Sequence[tuple[int, int]], confidence: float) -> Share | None:
    """Of (mistakes, images) of each category, as far as there are images."""
    there = [(count, total) for count, total in counts if total]
    if not there:
        return None
    whole = (sum(count for count, _ in there), sum(total for _, total in there))
    if len(there) == 1:
        return Share(*whole, *wilson_interval(*whole, confidence))
    mean, low, high = estimate_rates(there, confidence).combine([1 / len(there)] * len(there))
    return Share(*whole, low, high, mean, len(there))
