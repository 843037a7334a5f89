"""Ranking metrics from counts: how many negatives and positives share each score.

All functions take counts per group of equal scores, groups in descending order of score along the last axis, and work
on any leading axes at once. So one formula serves images (groups are the distinct scores), pixels (likewise) and
bootstrap resamples (counts weighted by how often each image was drawn).

Where all groups do not fit into memory they come in blocks of consecutive groups, the highest first, each with its
`Place`: areas of the blocks then add up to the area, and the best F1 is the largest of the blocks'.
Tested in tests/evaluation/test_ranking.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float64] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """Where a block of groups stands among all groups; single numbers.

    Attributes:
        negatives: negatives in the blocks above.
        positives: positives (or gains) in the blocks above.
        all_negatives: negatives in all blocks.
        all_positives: positives (or gains) in all blocks.
    """

    negatives: float | Float64
    positives: float | Float64
    all_negatives: float | Float64
    all_positives: float | Float64


def auroc(negatives: Counts, positives: Counts, place: Place | None = None) -> Float64:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties counting half.

    Args:
        negatives: [..., K] negatives per group.
        positives: [..., K] positives per group.
        place: of these groups among all; None: they are all.

    Returns:
        [...] areas in [0, 1]; NaN where there are no negatives or no positives.
    """
    passed, _, total, total_positives = _accumulate(negatives, positives, place)
    # negatives ranked below each group, and half of those inside it
    outscored = total[..., None] - passed
    outscored += 0.5 * negatives
    return _ratio((positives * outscored).sum(axis=-1), total * total_positives)


def average_precision(negatives: Counts, positives: Counts, place: Place | None = None) -> Float64:
    """Average precision: precision at each group's score, averaged over the positives. No interpolation.

    Args:
        negatives: [..., K] negatives per group.
        positives: [..., K] positives per group.
        place: of these groups among all; None: they are all.

    Returns:
        [...] values in (0, 1]; NaN where there are no positives.
    """
    passed, found, _, total_positives = _accumulate(negatives, positives, place)
    # groups above the first drawn image call nothing and hold no positives
    called = found + passed
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratio((positives * precision).sum(axis=-1), total_positives)


def best_f1(negatives: Counts, positives: Counts, place: Place | None = None) -> Float64:
    """The largest F1 of all thresholds, 2 TP / (2 TP + FP + FN): what an oracle that knows the labels reaches.

    Args:
        negatives: [..., K] negatives per group.
        positives: [..., K] positives per group.
        place: of these groups among all; None: they are all.

    Returns:
        [...] values in [0, 1]; NaN where there are no positives.
    """
    passed, found, _, total_positives = _accumulate(negatives, positives, place)
    # TP + FP are called, and TP + FN are all positives
    best = _ratio(2 * found, found + passed + total_positives[..., None]).max(axis=-1)
    return np.where(total_positives > 0, best, np.nan)


def fpr_at_recall(negatives: Counts, positives: Counts, percent: int = 95) -> Float64:
    """False-positive rate at the highest threshold whose recall is at least so many percent.

    The groups are the thresholds: equal scores are accepted together, and nothing is interpolated between two
    thresholds. So the rate is one that a threshold has, and never below that of an interpolated curve.

    Args:
        negatives: [..., K] negatives per group, whole numbers.
        positives: [..., K] positives per group, whole numbers.
        percent: recall to be reached, in (0, 100].

    Returns:
        [...] rates in [0, 1]; NaN where there are no negatives or no positives.
    """
    passed, found, total, total_positives = _accumulate(negatives, positives, None)
    # whole numbers on both sides: 19 of 20 are 95 percent, without rounding
    first = np.argmax(100 * found >= percent * total_positives[..., None], axis=-1)
    accepted = np.take_along_axis(passed, first[..., None], axis=-1)[..., 0]
    return np.where(total_positives > 0, _ratio(accepted, total), np.nan)


def area_to_limit(negatives: Counts, gains: Float64 | Counts, limit: float, place: Place | None = None) -> Float64:
    """Area under the curve of the gained share against the false-positive rate, up to a rate, divided by that rate.

    The curve joins its points by straight lines; the last segment is cut at the limit. With positives as gains and
    limit 1 it is the AUROC.

    Args:
        negatives: [..., K] negatives per group.
        gains: [..., K] what accepting the group adds to the curve's height.
        limit: false-positive rate in (0, 1] where the area ends.
        place: of these groups among all, with gains as positives; None: they are all.

    Returns:
        [...] areas in [0, 1]; NaN where there are no negatives or no gains.
    """
    passed, height, total, total_gains = _accumulate(negatives, gains, place)
    end = limit * total
    # false positives that the group adds before the limit
    width = np.minimum(passed, end[..., None])
    width -= np.minimum(passed - negatives, end[..., None])
    part = np.divide(width, negatives, out=np.zeros_like(width), where=np.asarray(negatives) > 0)
    # mean height over that width: what was gained before, and half of what is gained in it
    height -= (1 - 0.5 * part) * gains
    return _ratio((width * height).sum(axis=-1), end * total_gains)


IMAGE_RANKINGS: dict[str, Callable[[Counts, Counts], Float64]] = {
    "image_auroc": auroc,
    "image_ap": average_precision,
    "image_f1_oracle": best_f1,
    "fpr_at_95_tpr": fpr_at_recall,
}
"""Every ranking metric of images, of negatives and positives per score; a new one is one line."""


def _accumulate(negatives: Counts, positives: Counts, place: Place | None) -> tuple[Float64, Float64, Float64, Float64]:
    """[..., K] negatives and positives at or above each group, and [...] those of all groups."""
    passed = np.cumsum(negatives, axis=-1, dtype=np.float64)
    found = np.cumsum(positives, axis=-1, dtype=np.float64)
    if place is None:
        return passed, found, passed[..., -1].copy(), found[..., -1].copy()
    passed += place.negatives
    found += place.positives
    return passed, found, np.asarray(place.all_negatives), np.asarray(place.all_positives)


def counts_by_score(scores: npt.NDArray[np.floating[Any]], weights: npt.NDArray[Any]) -> Float64:
    """Group samples by their score: what the functions above take.

    Args:
        scores: [N] scores without NaN.
        weights: [..., N] how often each sample counts (a boolean array selects).

    Returns:
        [..., K] summed weights per distinct score, highest score first.
    """
    scores = np.asarray(scores)
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1]]))
    return np.add.reduceat(weights[..., order], starts, axis=-1, dtype=np.float64)


def _ratio(numerator: Float64, denominator: Float64) -> Float64:
    """A ratio that is at most 1 but for rounding; NaN where the denominator is 0."""
    ratio: Float64 = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) > 0)
    return np.minimum(ratio, 1.0, out=ratio)
