"""Turn the patch distances of an image into one score.

Tested in tests/detectors/test_image_scores.py.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from patchshift.plan.specs import ImageScoreSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


class Neighbourhood(Protocol):
    """The part of a bank that Eq. 7 looks at."""

    @property
    def vectors(self) -> Float32:
        """[M, D] bank vectors."""

    def neighbours(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors`."""


def score_images(
    spec: ImageScoreSpec,
    distances: Float32,
    nearest: Int64,
    patches: Float32,
    bank: Neighbourhood,
    ignore: Bool | None = None,
) -> Float32:
    """One score per image, from its patches that are not ignored.

    Args:
        spec: the rule.
        distances: [n, P] float32 distance of each patch to the nearest bank vector.
        nearest: [n, P] int64 row of that vector.
        patches: [n, P, D] float32 embeddings.
        bank: asked by Eq. 7 only.
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
        score *= reweighting(score, patches[image, patch], nearest[image, patch], spec.reweight_neighbours, bank)
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


def reweighting(score: Float32, patch: Float32, nearest: Int64, count: int, bank: Neighbourhood) -> Float32:
    """The factor of Roth et al. 2022, Eq. 7; distances enter as they are, not divided by sqrt(D).

    It is 1 - exp(s) / sum of exp(distance of the patch to m) over the `count` bank vectors m nearest to the patch's
    nearest vector, that one included. Where only that one exists, or `count` is 1, the factor is 1.

    Args:
        score: [n] float32 distance s of the farthest patch of each image.
        patch: [n, D] float32 embedding of that patch.
        nearest: [n] int64 row of its nearest bank vector.
        count: b of the paper.
        bank: where the neighbours are.

    Returns:
        [n] float32 in [0, 1].
    """
    count = min(count, len(bank.vectors))
    if count == 1:
        return np.ones_like(score)
    support = bank.vectors[bank.neighbours(bank.vectors[nearest], count)]
    to_support = np.linalg.norm(support - patch[:, None], axis=2)
    largest = to_support.max(axis=1)  # subtracted from all exponents, or they overflow
    total = np.exp(to_support - largest[:, None]).sum(axis=1)
    return np.asarray(1 - np.exp(score - largest) / total, np.float32)
