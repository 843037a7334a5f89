"""Turn the patch distances of an image into one score.

Tested in tests/detectors/test_image_scores.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.detectors.neighbours import NearestNeighbours
from patchshift.detectors.normality import NormalModel
from patchshift.plan.detector_specs import ImageScoreSpec

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


def score_images(
    spec: ImageScoreSpec, distances: Float32, patches: Float32, model: NormalModel, ignore: Bool | None = None
) -> Float32:
    """One score per image, from its patches that are not ignored.

    Args:
        spec: the rule.
        distances: [n, P] float32 distance of each patch from normal ones.
        patches: [n, P, D] float32 embeddings.
        model: what measured the distances; Eq. 7 asks it for neighbours.
        ignore: [n, P] patches not to look at, not all of an image; None: look at all.

    Returns:
        [n] float32.
    """
    if spec.share is not None:  # exactly where the method is `top_share`
        return mean_of_top_share(distances, spec.share, ignore)
    looked_at = distances if ignore is None else np.where(ignore, np.float32(-np.inf), distances)
    image, patch = np.arange(len(distances)), looked_at.argmax(axis=1)
    score = np.asarray(distances[image, patch])
    if spec.reweight_neighbours:
        assert isinstance(model, NearestNeighbours)  # the detector's spec has it so
        score *= reweighting(score, patches[image, patch], spec.reweight_neighbours, model)
    return score


def mean_of_top_share(distances: Float32, share: float, ignore: Bool | None = None) -> Float32:
    """Mean of the largest `share` of each row of [n, P], rounded to whole patches, at least one: [n] float32.

    Where patches are ignored (`ignore`, [n, P]), it is the share of the others.
    """
    if ignore is not None:
        rows = zip(distances, ignore, strict=True)
        means = [mean_of_top_share(row[~left_out][None], share) for row, left_out in rows]
        return np.concatenate([np.empty(0, np.float32), *means])
    count = max(1, round(share * distances.shape[1]))
    top = np.partition(distances, distances.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(top.mean(axis=1, dtype=np.float64), np.float32)


def reweighting(score: Float32, patch: Float32, count: int, bank: NearestNeighbours) -> Float32:
    """The factor of Roth et al. 2022, Eq. 7; distances enter as they are, not divided by sqrt(D).

    It is 1 - exp(s) / sum of exp(distance of the patch to m) over the `count` bank vectors m nearest to the patch's
    nearest vector, that one included. Where only that one exists, or `count` is 1, the factor is 1.

    Args:
        score: [n] float32 distance s of the farthest patch of each image.
        patch: [n, D] float32 embedding of that patch.
        count: b of the paper.
        bank: where the neighbours are.

    Returns:
        [n] float32 in [0, 1].
    """
    assert bank.vectors is not None  # the detector's spec has it so
    count = min(count, bank.size)
    if count == 1:
        return np.ones_like(score)
    nearest = bank.vectors[bank.rows(patch, 1)[:, 0]]
    support = bank.vectors[bank.rows(nearest, count)]
    to_support = np.linalg.norm(support - patch[:, None], axis=2)
    largest = to_support.max(axis=1)  # subtracted from all exponents, or they overflow
    total = np.exp(to_support - largest[:, None]).sum(axis=1)
    return np.asarray(1 - np.exp(score - largest) / total, np.float32)
