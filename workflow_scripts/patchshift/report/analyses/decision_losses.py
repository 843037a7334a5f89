"""What a shift costs decisions and what comes back of it, with intervals that are never a single point.

Differences of rates on the same images are Newcombe's; means over categories, shares and F1 follow from the same
intervals (`evaluation.rates`). Tested in tests/report/test_decision_losses.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import DECISION_METRICS, count_decisions
from patchshift.evaluation.rates import Estimates, correlate_pairs, decision_interval, join_estimates
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.estimates import REFERENCE_IS_ZERO
from patchshift.report.analyses.losses import REFERENCE, UNADAPTED, VALUE, sample_metric
from patchshift.report.results import StudyResults, Value

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_CLASSES = {"recall": 1, "miss_rate": 1, "specificity": 0, "false_alarm_rate": 0}
"""The label of the images that a rate is of."""


def compare_decisions(
    results: StudyResults,
    cells: Sequence[Cell],
    metric: str,
    spec: EvaluationSpec,
    *,
    kept: Bool | None = None,
    paired: bool = True,
    position: int = 0,
) -> Estimates:
    """A metric of decisions of several cells of one category, and how these go together.

    Two rates on the same images are correlated as in Newcombe's method 10; two F1s as their resamples are.

    Args:
        results: the study's results.
        cells: the first is the reference; the others show the same images as each other.
        metric: one of `DECISION_METRICS`.
        spec: the evaluation protocol.
        kept: [n] bool, images that count; default: all.
        paired: whether the reference shows the images of the others, too.
        position: of the category, for resamples.

    Raises:
        Undefined: with the reason.
    """
    values, ends, decisions = [], [], []
    for cell in cells:
        images = results.images(cell)
        chosen = np.ones(len(images.labels), np.bool_) if kept is None else kept
        if images.decisions is None:
            raise Undefined(results.value(cell, metric).undefined or "no decision")
        anomalous, called = images.labels[chosen] == 1, images.decisions[chosen] == 1
        confusion, ratio = count_decisions(anomalous, called), DECISION_METRICS[metric]
        value = float(ratio(confusion))
        if np.isnan(value):
            raise Undefined(ratio.reason)
        values.append(value)
        ends.append(decision_interval(ratio, confusion, spec.confidence))
        decisions.append(called[anomalous == _CLASSES[metric]] if metric in _CLASSES else called)
    if metric in _CLASSES:
        correlation = correlate_pairs(decisions) if paired else _correlate_apart(decisions)
    else:
        drawn = [sample_metric(results, cell, metric, spec, position=position, kept=kept).drawn for cell in cells]
        correlation = _correlate_resamples(drawn)
    if not paired:
        correlation[0, 1:] = correlation[1:, 0] = 0
    low, high = (np.array(side, np.float64) for side in zip(*ends, strict=True))
    return Estimates(np.array(values), low, high, correlation)


def _correlate_apart(decisions: Sequence[Bool]) -> Float64:
    """Of the others alone: the reference shows other images, maybe another number of them."""
    correlation = np.eye(len(decisions))
    correlation[1:, 1:] = correlate_pairs(decisions[1:])
    return correlation


def _correlate_resamples(drawn: Sequence[Float64]) -> Float64:
    """[K, K] correlations of [R] resamples each; 0 where one is undefined or never varies."""
    correlation = np.eye(len(drawn))
    for row, first in enumerate(drawn):
        for column, second in enumerate(drawn[:row]):
            there = ~np.isnan(first + second)
            if there.any() and np.ptp(first[there]) > 0 and np.ptp(second[there]) > 0:
                both = float(np.corrcoef(first[there], second[there])[0, 1])
                correlation[row, column] = correlation[column, row] = both
    return correlation


@dataclass(frozen=True)
class DecisionLosses:
    """What the mean over categories of a metric of decisions loses and gets back: `losses.AurocLosses` of decisions.

    Attributes:
        categories: of each the metric on the same sides, `losses.REFERENCE` and so on; their test images are
            independent.
    """

    categories: Sequence[Estimates]

    def lost(self, reference: int, side: int) -> Value:
        """Reference minus side."""
        return Value(*join_estimates(self.categories).combine(self._weigh({reference: 1.0, side: -1.0})))

    def lost_relative(self) -> Value:
        """What the value has lost, as a share of the reference; only where that is not 0."""
        joined, whole = join_estimates(self.categories), self._weigh({REFERENCE: 1.0})
        if joined.combine(whole)[0] == 0:
            return Value(None, undefined=REFERENCE_IS_ZERO)
        share, interval = joined.divide(self._weigh({REFERENCE: 1.0, VALUE: -1.0}), whole)
        return Value(share, *(interval or ()))

    def lost_above_chance(self) -> Value:
        """Nothing: rates have no chance to be above."""
        return Value(None)

    def recovered_share(self) -> Value:
        """The share of what was lost without adaptation that is back, where the interval of that lies above 0."""
        joined, lost = join_estimates(self.categories), self._weigh({REFERENCE: 1.0, UNADAPTED: -1.0})
        share, interval = joined.divide(self._weigh({VALUE: 1.0, UNADAPTED: -1.0}), lost)
        return Value(share, *(interval or ()))

    def _weigh(self, weights: Mapping[int, float]) -> Float64:
        """Weights of sides as those of all numbers of all categories, each category weighing the same."""
        sides = [weights.get(side, 0.0) for side in range(len(self.categories[0].values))]
        return np.tile(sides, len(self.categories)) / len(self.categories)
