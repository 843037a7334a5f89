"""Make embeddings shorter: an affine map that is fitted on the training patches, x -> x R - o.

Fitted arrays, by their name in a bank: `reduction/mean` [D], `reduction/matrix` [D, n] and `reduction/explained` [n]
(the share of the training variance along each component) of `pca`; `reduction/matrix` of `random_projection`;
`reduction/channels` [n] int64 of `channel_subset`. `channel_pooling` needs none.
Tested in tests/features/test_reduction.py.
"""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.features.moments import covariance
from patchshift.plan.representation_specs import ReductionSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]

log = logging.getLogger(__name__)


def check_reduction(spec: ReductionSpec, dimension: int) -> None:
    """Refuse to make embeddings longer.

    Raises:
        UserError: if more numbers are asked for than the `dimension` of the embeddings.
    """
    if spec.dimension is not None and spec.dimension > dimension:
        raise UserError(
            f"representation.reduction.dimension: {spec.dimension} is more than the {dimension} numbers of an "
            "embedding: lower it"
        )


def fit_reduction(spec: ReductionSpec, dimension: int, images: Iterable[Float32], *, seed: int) -> State:
    """Fit what a reduction needs.

    Args:
        spec: which one, and to how many numbers.
        dimension: D, length of the embeddings.
        images: [n, D] embeddings of each training image; read by `pca` only.
        seed: the detector seed. The streams drawn here are apart from those of the coreset.

    Raises:
        UserError: if the training patches do not vary in as many directions as `pca` is to keep.
    """
    if spec.method == "pca":
        return _fit_pca(spec, images)
    if spec.method == "channel_pooling":
        return {}
    count = spec.dimension
    assert count is not None  # the spec requires it
    random = draw_stream("reduction", spec.method, seed)
    if spec.method == "channel_subset":
        return {"reduction/channels": np.sort(random.choice(dimension, count, replace=False)).astype(np.int64)}
    draw = _sparse_matrix if spec.distribution == "sparse" else _gaussian_matrix
    return {"reduction/matrix": draw(random, dimension, count)}


def _gaussian_matrix(random: np.random.Generator, dimension: int, count: int) -> Float32:
    """[D, n] with E|x R|^2 = |x|^2 (Johnson and Lindenstrauss 1984)."""
    return random.standard_normal((dimension, count), np.float32) / np.float32(np.sqrt(count))


def _sparse_matrix(random: np.random.Generator, dimension: int, count: int) -> Float32:
    """[D, n] with E|x R|^2 = |x|^2, a share of 1/sqrt(D) of the entries not zero (Li et al. 2006, very sparse)."""
    chosen = random.random((dimension, count)) < 1 / np.sqrt(dimension)
    signs = np.where(random.random((dimension, count)) < 0.5, -1, 1)
    return np.asarray(chosen * signs * np.sqrt(np.sqrt(dimension) / count), np.float32)


def _fit_pca(spec: ReductionSpec, images: Iterable[Float32]) -> State:
    mean, components, explained = principal_components(
        images, dimension=spec.dimension, explained_variance=spec.explained_variance, key="representation.reduction"
    )
    return {"reduction/mean": mean, "reduction/matrix": components, "reduction/explained": explained}


def principal_components(
    images: Iterable[Float32], *, dimension: int | None, explained_variance: float | None, key: str
) -> tuple[Float32, Float32, Float32]:
    """The leading principal components of all vectors.

    Args:
        images: [n, D] of each image.
        dimension: how many components; None: as many as `explained_variance` needs.
        explained_variance: share of the variance that they have to hold.
        key: where the config asks for it, for messages.

    Returns:
        Mean [D], orthonormal components [D, k] and the share of the variance of each [k], falling; all float32.

    Raises:
        UserError: if the vectors are all equal, or vary in fewer directions than are asked for.
    """
    mean, spread = covariance(images)
    variances, vectors = np.linalg.eigh(spread)
    variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1]
    rank = _rank(variances, mean)
    if not rank:
        raise UserError(
            f"{key}: the training patches are all equal, so 'pca' has no variance to keep: check the training images "
            "and the backbone, or choose another method"
        )
    kept = np.cumsum(variances[:rank]) / variances[:rank].sum()
    count = dimension
    if count is None:
        count = min(int(np.searchsorted(kept, explained_variance or 1.0)) + 1, rank)
    if count > rank:
        raise UserError(
            f"{key}.dimension: {count} principal components are asked for, but the training patches "
            f"vary in {rank} directions only: lower it, or fit on more images"
        )
    log.info("pca: %d of %d dimensions keep %.2f %% of the variance", count, len(mean), 100 * kept[count - 1])
    vectors = vectors[:, :count]
    # Of a component and its negative, the one whose largest entry is positive: else the library would choose.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(count)] < 0, -1, 1)
    explained = variances[:count] / variances[:rank].sum()
    return mean.astype(np.float32), vectors.astype(np.float32), explained.astype(np.float32)


def _rank(variances: Float64, mean: Float64) -> int:
    """Number of variances, falling, that are more than the rounding of the float32 embeddings they come from."""
    rounding = np.finfo(np.float32).eps ** 2 * (variances.sum() + (mean**2).sum())
    return int((variances > rounding).sum())
