"""By how much the threshold policy that is recommended makes fewer mistakes than the others, and whether images tell.

Tested in tests/report/test_policy_choice.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from patchshift.evaluation.rates import correlate_pairs, estimate_rates, join_estimates
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.pairing import Summary
from patchshift.report.results import StudyResults, Value


@dataclass(frozen=True)
class PolicyRival:
    """Another threshold policy that decides the same images.

    Attributes:
        threshold: its id.
        wrong: images that it decides wrongly.
        chosen_wrong: images that the chosen one decides wrongly.
        advantage: its mean of miss rate and false-alarm rate minus that of the chosen one, with an interval.
    """

    threshold: str
    wrong: int
    chosen_wrong: int
    advantage: Value

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval of the difference lies above zero."""
        return self.advantage.low is not None and self.advantage.low > 0


def compare_policies(
    results: StudyResults, chosen: Sequence[Cell], others: Mapping[str, Sequence[Cell]], spec: EvaluationSpec
) -> list[PolicyRival]:
    """The other policies that decide every image, as the chosen one does, that with the smallest difference first.

    Rates are paired image by image (Newcombe's method 10) and averaged over categories (`evaluation.rates`).

    Args:
        results: the study's results.
        chosen: cells of the chosen policy, one for each category.
        others: threshold id -> its cells of the same targets, in the same order.
        spec: the evaluation protocol.
    """
    rivals = [
        _compare(results, chosen, cells, threshold, spec)
        for threshold, cells in others.items()
        if all(results.images(cell).decisions is not None for cell in (*chosen, *cells))
    ]
    return sorted(rivals, key=lambda rival: rival.advantage.value or 0.0)  # stable


def _compare(
    results: StudyResults, chosen: Sequence[Cell], others: Sequence[Cell], threshold: str, spec: EvaluationSpec
) -> PolicyRival:
    estimates, weights, wrong = [], [], np.zeros(2, np.int64)
    for label in (1, 0):
        sides = []
        for pair in zip(chosen, others, strict=True):
            decided = [(images.labels, images.decisions) for images in map(results.images, pair)]
            if (decided[0][0] == label).any():
                sides.append([(calls != label)[labels == label] for labels, calls in decided if calls is not None])
        for pair_wrong in sides:
            counts = [(int(side.sum()), len(side)) for side in pair_wrong]
            estimates.append(estimate_rates(counts, spec.confidence, correlate_pairs(pair_wrong)))
            weights += [-0.5 / len(sides), 0.5 / len(sides)]
            wrong += [count for count, _ in counts]
    advantage = Value(*join_estimates(estimates).combine(weights))
    return PolicyRival(threshold, int(wrong[1]), int(wrong[0]), advantage)


def describe_policies(rivals: Sequence[PolicyRival]) -> list[str]:
    """That a policy was chosen among others, and from which of them these images do not tell it; empty without any."""
    if not rivals:
        return []
    said = (
        f"Of {len(rivals) + 1} threshold policies it makes the fewest mistakes on these images (mean of miss rate and "
        "false-alarm rate)"
    )
    level = [rival for rival in rivals if not rival.is_told_apart]
    if not level:
        return [f"{said}, and these images tell it from the {'other' if len(rivals) == 1 else 'others'}."]
    if all(rival.advantage.value == 0 for rival in level):
        same = "the config's first of those that make as few"
        return [f"{said}; it is {same}, beside {_list(level)}."]
    wrong = level[0].chosen_wrong
    return [f"{said}. But these images do not tell it ({wrong} wrong) from {_list(level)}."]


def excuse_threshold(summary: Summary, threshold: str, tried: int) -> str:
    """After "no threshold can be recommended": which one the figures of decisions are of, or why there are none.

    Args:
        summary: what the setup's decisions are worth.
        threshold: the policy that makes them.
        tried: number of policies that decide.
    """
    if summary.misses is None and summary.false_alarms is None:
        return f": {threshold} is undefined ({summary.reason})" if summary.reason else ""
    return f"; figures of decisions are of {threshold}, {f'the best of {tried}' if tried > 1 else 'the only one'} tried"


def _list(rivals: Sequence[PolicyRival]) -> str:
    named = [f"{rival.threshold} ({rival.wrong} wrong)" for rival in rivals]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
