"""Ranking metrics from counts: how many negatives and positives share each score.

All functions take counts per group of equal scores, groups in descending order of score along the last axis, and work
on any leading axes at once. So one formula serves images (groups are the distinct scores), pixels (likewise) and
bootstrap resamples (counts weighted by how often each image was drawn).
Tested in tests/evaluation/test_ranking.py.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float64] | npt.NDArray[np.int64]


def auroc(negatives: Counts, positives: Counts) -> Float64:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties counting half.

    Args:
        negatives: [..., K] negatives per group.
        positives: [..., K] positives per group.

    Returns:
        [...] areas in [0, 1]; NaN where there are no negatives or no positives.
    """
    passed = np.cumsum(negatives, axis=-1, dtype=np.float64)
    total = passed[..., -1]
    # negatives ranked below each group, and half of those inside it
    outscored = total[..., None] - passed
    outscored += 0.5 * negatives
    return _ratio((positives * outscored).sum(axis=-1), total * positives.sum(axis=-1))


def average_precision(negatives: Counts, positives: Counts) -> Float64:
    """Average precision: precision at each group's score, averaged over the positives. No interpolation.

    Args:
        negatives: [..., K] negatives per group.
        positives: [..., K] positives per group.

    Returns:
        [...] values in (0, 1]; NaN where there are no positives.
    """
    found = np.cumsum(positives, axis=-1, dtype=np.float64)
    called = found + np.cumsum(negatives, axis=-1, dtype=np.float64)
    # groups above the first drawn image call nothing and hold no positives
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratio((positives * precision).sum(axis=-1), found[..., -1])


def area_to_limit(negatives: Counts, gains: Float64 | Counts, limit: float) -> Float64:
    """Area under the curve of the gained share against the false-positive rate, up to a rate, divided by that rate.

    The curve joins its points by straight lines; the last segment is cut at the limit. With positives as gains and
    limit 1 it is the AUROC.

    Args:
        negatives: [..., K] negatives per group.
        gains: [..., K] what accepting the group adds to the curve's height.
        limit: false-positive rate in (0, 1] where the area ends.

    Returns:
        [...] areas in [0, 1]; NaN where there are no negatives or no gains.
    """
    passed = np.cumsum(negatives, axis=-1, dtype=np.float64)
    total = passed[..., -1]
    end = limit * total
    # false positives that the group adds before the limit
    width = np.minimum(passed, end[..., None])
    width[..., 1:] -= np.minimum(passed[..., :-1], end[..., None])
    part = np.divide(width, negatives, out=np.zeros_like(width), where=np.asarray(negatives) > 0)
    # mean height over that width: what was gained before, and half of what is gained in it
    height = np.cumsum(gains, axis=-1, dtype=np.float64)
    height -= (1 - 0.5 * part) * gains
    return _ratio((width * height).sum(axis=-1), end * gains.sum(axis=-1))


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
