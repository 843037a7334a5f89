"""Turn the patch scores of an image into one. Without the search library: thresholds and decisions use it, too.

Tested in tests/detectors/test_image_scores.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import NormalModel
from patchshift.detectors.reweighting import VectorBank, reweighting
from patchshift.plan.score_specs import ImageScoreSpec

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


def score_images(
    spec: ImageScoreSpec, scores: Float32, patches: Float32, model: NormalModel, ignore: Bool | None = None
) -> Float32:
    """One score per image, from its patches that are not ignored.

    Args:
        spec: the rule.
        scores: [n, P] float32 score of each patch, of any sign.
        patches: [n, P, D] float32 embeddings.
        model: what measured the distances; Eq. 7 asks it for neighbours.
        ignore: [n, P] patches not to look at, not all of an image; None: look at all.

    Returns:
        [n] float32.
    """
    pooled = pool_patches(spec, scores, ignore)
    if not spec.reweight_neighbours:
        return pooled
    assert isinstance(model, VectorBank)  # the detector's spec has it so
    farthest = patches[np.arange(len(patches)), find_farthest(scores, ignore)]
    return pooled * reweighting(pooled, farthest, spec.reweight_neighbours, model)


def pool_patches(spec: ImageScoreSpec, scores: Float32, ignore: Bool | None = None) -> Float32:
    """One score per image, from its patches that are not ignored, without the reweighting of Eq. 7.

    Args:
        spec: the rule.
        scores: [n, P] float32 score of each patch, of any sign.
        ignore: [n, P] patches not to look at, not all of an image; None: look at all.

    Returns:
        [n] float32.
    """
    if spec.share is not None:  # exactly where the method is `top_share`
        return mean_of_top_share(scores, spec.share, ignore)
    return np.asarray(scores[np.arange(len(scores)), find_farthest(scores, ignore)])


def find_farthest(scores: Float32, ignore: Bool | None = None) -> Int64:
    """The patch of each image with the highest score among those that are not ignored: [n] of [n, P]."""
    looked_at = scores if ignore is None else np.where(ignore, np.float32(-np.inf), scores)
    return np.asarray(looked_at.argmax(axis=1), np.int64)


def mean_of_top_share(scores: Float32, share: float, ignore: Bool | None = None) -> Float32:
    """Mean of the largest `share` of each row of [n, P], rounded to whole patches, at least one: [n] float32.

    Where patches are ignored (`ignore`, [n, P]), it is the share of the others.
    """
    if ignore is not None:
        rows = zip(scores, ignore, strict=True)
        means = [mean_of_top_share(row[~left_out][None], share) for row, left_out in rows]
        return np.concatenate([np.empty(0, np.float32), *means])
    count = max(1, round(share * scores.shape[1]))
    top = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(top.mean(axis=1, dtype=np.float64), np.float32)
