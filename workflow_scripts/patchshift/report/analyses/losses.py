"""Metrics with their resamples, and what is made of several: means, losses, shares, all with intervals.

Two metrics of the same test images see the same resamples, so what makes an image hard for both is no noise.
Tested in tests/report/test_losses.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import DECISION_METRICS, Confusion, count_decisions, image_auroc
from patchshift.evaluation.statistics import bootstrap_image_auroc, draw_images, percentile_interval
from patchshift.evaluation.undefined import Estimate, Undefined
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.estimates import REFERENCE_IS_ZERO
from patchshift.report.pairing import relabelled_on_either_side
from patchshift.report.recommendation import CHANCE
from patchshift.report.results import StudyResults, Value

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

REFERENCE, VALUE, UNADAPTED = 0, 1, 2
"""Sides of a comparison: the reference domain, a condition in a shifted one, and no adaptation there."""
NOT_ABOVE_CHANCE = "the reference is not above chance"


@dataclass(frozen=True)
class Sample:
    """A number, and what it is in each resample.

    Attributes:
        value: of the images as they are; NaN where undefined.
        drawn: [R] of their resamples; NaN where one leaves it undefined.
    """

    value: float
    drawn: Float64

    def estimate(self, confidence: float, undefined: str = "") -> Value:
        """The number with its percentile interval; where it is undefined, neither, and the reason that is given."""
        if np.isnan(self.value):
            return Value(None, undefined=undefined)
        return Value(self.value, *percentile_interval(self.drawn, confidence))


def sample_metric(
    results: StudyResults, cell: Cell, metric: str, spec: EvaluationSpec, *, position: int = 0, kept: Bool | None = None
) -> Sample:
    """`image_auroc` or a metric of decisions of a cell, with its resamples.

    Args:
        results: the study's results.
        cell: whose test images.
        metric: `image_auroc`, or one of `DECISION_METRICS`.
        spec: the evaluation protocol.
        position: of the category: other positions are drawn independently (as in `report.pairing`).
        kept: [n] bool, images that count; default: all.

    Raises:
        Undefined: with the reason.
    """
    images = results.images(cell)
    chosen = np.ones(len(images.labels), np.bool_) if kept is None else kept
    anomalous = images.labels[chosen] == 1
    if metric == "image_auroc":
        scores = images.scores[chosen]
        value = image_auroc(anomalous, scores)
        seed = spec.bootstrap_seed + position
        return Sample(value, bootstrap_image_auroc(anomalous, scores, resamples=spec.bootstrap_resamples, seed=seed))
    if images.decisions is None:
        raise Undefined(results.value(cell, metric).undefined or "no decision")
    called = images.decisions[chosen] == 1
    ratio = DECISION_METRICS[metric]
    value = float(ratio(count_decisions(anomalous, called)))
    if np.isnan(value):
        raise Undefined(ratio.reason)
    draws = draw_images(anomalous, spec.bootstrap_resamples, seed=spec.bootstrap_seed + position)
    counted: list[Any] = [
        draws @ (label & decision)
        for label, decision in (
            (anomalous, called), (~anomalous, called), (~anomalous, ~called), (anomalous, ~called)
        )
    ]  # fmt: skip
    return Sample(value, ratio(Confusion(*counted)))


def combine(function: Callable[..., Any], *samples: Sample) -> Sample:
    """A function of numbers, of the numbers themselves and of each resample; NaN where it divides by nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(function(*(np.float64(sample.value) for sample in samples)))
        drawn = np.asarray(function(*(sample.drawn for sample in samples)), np.float64)
    return Sample(value if np.isfinite(value) else np.nan, np.where(np.isfinite(drawn), drawn, np.nan))


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """The mean of several, each weighing the same."""
    return Sample(
        float(np.mean([sample.value for sample in samples])), np.mean([sample.drawn for sample in samples], axis=0)
    )


def lost(reference: Sample, value: Sample) -> Sample:
    """Reference minus value."""
    return combine(lambda before, after: before - after, reference, value)


def relative_loss(reference: Sample, value: Sample) -> Sample:
    """What is lost, as a share of the reference; only where that is not 0."""
    return combine(lambda before, after: (before - after) / before, reference, value)


def loss_above_chance(reference: Sample, value: Sample) -> Sample:
    """What is lost of an AUROC, as a share of what the reference is above 0.5; only where it is above."""
    return combine(
        lambda before, after: np.where(before > CHANCE, (before - after) / (before - CHANCE), np.nan), reference, value
    )


def recovered_share(reference: Sample, unadapted: Sample, value: Sample) -> Sample:
    """The share of what was lost that is back; only where something was lost."""
    return combine(
        lambda before, between, after: np.where(before > between, (after - between) / (before - between), np.nan),
        reference,
        unadapted,
        value,
    )


@dataclass(frozen=True)
class AurocLosses:
    """What a mean image AUROC loses and gets back, from the resamples of its categories.

    Attributes:
        categories: of each the image AUROC on the same sides: `REFERENCE`, `VALUE` and, where there is one,
            `UNADAPTED`.
        confidence: coverage of the intervals.
    """

    categories: Sequence[Sequence[Sample]]
    confidence: float

    def lost(self, reference: int, side: int) -> Value:
        """Reference minus side."""
        return lost(self._mean(reference), self._mean(side)).estimate(self.confidence)

    def lost_relative(self) -> Value:
        """What the value has lost, as a share of the reference; only where that is not 0."""
        share = relative_loss(self._mean(REFERENCE), self._mean(VALUE))
        return share.estimate(self.confidence, REFERENCE_IS_ZERO)

    def lost_above_chance(self) -> Value:
        """What the value has lost, as a share of what the reference is above 0.5; only where it is above."""
        share = loss_above_chance(self._mean(REFERENCE), self._mean(VALUE))
        return share.estimate(self.confidence, NOT_ABOVE_CHANCE)

    def recovered_share(self) -> Value:
        """The share of what was lost without adaptation that is back; only where something was lost."""
        share = recovered_share(self._mean(REFERENCE), self._mean(UNADAPTED), self._mean(VALUE))
        return share.estimate(self.confidence)

    def _mean(self, side: int) -> Sample:
        return mean_sample([sides[side] for sides in self.categories])


def is_above_zero(value: Value) -> bool:
    """Whether the interval says that there is something."""
    return value.low is not None and value.low > 0


def are_paired(results: StudyResults, cell: Cell, other: Cell) -> bool:
    """Whether two cells show the same images; another camera's files may have the same names."""
    same = (cell.origin.dataset, cell.origin.category) == (other.origin.dataset, other.origin.category)
    seen = cell.target == other.target or (cell.natural is None and other.natural is None)
    return same and seen and results.images(cell).names == results.images(other).names


def kept_in_both(results: StudyResults, cell: Cell, other: Cell) -> Bool:
    """[n] bool: images of two paired cells whose defect is to be seen in both."""
    return ~relabelled_on_either_side(results, cell, other)


def sample_sides(
    results: StudyResults, cell: Cell, homes: Sequence[Cell], metric: str, spec: EvaluationSpec
) -> tuple[Sample, Sample]:
    """The metric of what a cell is measured against, as a mean where that is several cells, and of the cell itself.

    Of the same images both see the same resamples, and images whose defect is gone on either side count on neither;
    other images are resampled independently. A loss of these is minus `pairing.mean_difference` or
    `pairing.independent_difference` of the two.

    Raises:
        Undefined: with the reason.
    """
    kept = kept_in_both(results, cell, homes[0]) if len(homes) == 1 and are_paired(results, cell, homes[0]) else None
    first = 1 if kept is None else 0
    before = [
        sample_metric(results, home, metric, spec, position=first + number, kept=kept)
        for number, home in enumerate(homes)
    ]
    return mean_sample(before), sample_metric(results, cell, metric, spec, kept=kept)


def as_value(found: Estimate) -> Value:
    """What `evaluation.association` found."""
    if "undefined" in found:
        return Value(None, undefined=str(found["undefined"]))
    return Value(float(found["value"]), float(found["low"]), float(found["high"]))
