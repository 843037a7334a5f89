"""Patch distances to the nearest vectors of a memory bank (Roth et al. 2022, Eq. 6).

Tested in tests/detectors/test_neighbours.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearestNeighbours:
    """Scores a patch by its Euclidean distance to the nearest of the vectors it keeps.

    Attributes:
        vectors: [M, D] float32 patch embeddings.
        covering_radius: largest distance of a training patch to the nearest kept one, in the space where the sampler
            chose (the projected one, if it projects).
        count: the score is the mean distance to so many nearest vectors.
    """

    vectors: Float32
    covering_radius: float
    count: int = 1
    held = 3  # the patches, nearest vectors and the difference

    @cached_property
    def _centre(self) -> Float32:
        # faiss expands |x - y|^2: far from the origin rounding would choose the neighbour.
        centre: Float32 = self.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return centre

    @cached_property
    def _index(self) -> Any:
        index = faiss.IndexFlatL2(self.vectors.shape[1])
        index.add(self.vectors - self._centre)
        return index

    def distances(self, patches: Float32) -> Float32:
        """[n, P, D] -> [n, P]: the mean Euclidean distance to the `count` nearest vectors."""
        flat = patches.reshape(-1, patches.shape[-1])
        rows = self.rows(flat, self.count)
        total = np.zeros(len(flat), np.float32)
        for nearest in rows.T:
            # The expansion also loses small distances to rounding; the difference does not.
            difference = flat - self.vectors[nearest]
            total += np.sqrt(np.einsum("nd,nd->n", difference, difference))
        return (total / np.float32(self.count)).reshape(patches.shape[:2])

    def rows(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors` [n, D], nearest first: [n, count] int64."""
        return np.asarray(self._index.search(vectors - self._centre, count)[1])

    def arrays(self) -> Arrays:
        """See `NormalModel`."""
        return {
            "vectors": self.vectors,
            "covering_radius": np.array(self.covering_radius),
            "count": np.array(self.count, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`."""
        return cls(arrays["vectors"], float(arrays["covering_radius"]), int(arrays["count"]))
