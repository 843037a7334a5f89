"""Centroids of k-means as the vectors of a bank; by faiss.

Tested in tests/detectors/test_kmeans.py.
"""

import faiss
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

ITERATIONS = 25
BLOCK = 65536  # patches that are searched at a time


def faiss_seed(seed: int) -> int:
    """The seed as faiss takes it: signed, of 32 bits."""
    return seed & 0x7FFFFFFF


def centroids(patches: Float32, count: int, *, seed: int) -> Float32:
    """Centroids of all patches (Lloyd 1982), from randomly chosen ones; an empty cluster takes half of a large one.

    Args:
        patches: [N, D] float32.
        count: how many, at most N.
        seed: of the choice.

    Returns:
        [count, D] float32.
    """
    # Far from the origin faiss's expansion of |x - y|^2 would choose the neighbour by rounding.
    centre = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = patches - centre
    clustering = faiss.Kmeans(
        patches.shape[1],
        count,
        niter=ITERATIONS,
        seed=faiss_seed(seed),
        min_points_per_centroid=1,  # of fewer it would warn only
        max_points_per_centroid=len(patches),  # all of them: else it takes a random part
    )
    clustering.train(centred)
    return np.asarray(clustering.centroids + centre, np.float32)


def nearest_rows(vectors: Float32, patches: Float32) -> Int64:
    """The row of the patch nearest to each of some vectors: [M] int64, of equals the lowest.

    Args:
        vectors: [M, D] float32.
        patches: [N, D] float32.
    """
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares, rows = np.full(len(vectors), np.inf, np.float32), np.zeros(len(vectors), np.int64)
    for first in range(0, len(patches), BLOCK):
        found, row = faiss.knn(vectors - centre, patches[first : first + BLOCK] - centre, 1)
        closer = found[:, 0] < squares
        squares[closer], rows[closer] = found[closer, 0], first + row[closer, 0]
    return rows
