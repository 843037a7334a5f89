"""Patch distances to the nearest vectors of a memory bank (Roth et al. 2022, Eq. 6).

Tested in tests/detectors/test_neighbours.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt

from patchshift.detectors.indexes import build_index, from_bytes, measure_recall, to_bytes
from patchshift.detectors.normality import Arrays
from patchshift.plan.detector_specs import IndexSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class NearestNeighbours:
    """Scores a patch by its Euclidean distance to the nearest of the vectors it keeps.

    Attributes:
        vectors: [M, D] float32 patch embeddings; None where an index keeps codes alone.
        covering_radius: largest distance of a training patch to the nearest kept one, in the space where the sampler
            chose (the projected one, if it projects).
        count: the score is the mean distance to so many nearest vectors.
        centre: [D] float32, about the mean of the vectors; indexes hold vectors minus it, because faiss expands
            |x - y|^2: far from the origin rounding would choose the neighbour.
        index: bytes of a faiss index that is not exact; None: search is exact.
        recall: share of training patches whose nearest vector the index finds.
    """

    vectors: Float32 | None
    covering_radius: float
    count: int
    centre: Float32
    index: UInt8 | None = None
    recall: float = 1.0

    @cached_property
    def _searcher(self) -> Any:
        if self.index is not None:
            return from_bytes(self.index)
        assert self.vectors is not None  # what has no index has vectors
        return build_index(IndexSpec(), self.vectors - self.centre, seed=0)

    @property
    def held(self) -> int:
        """The patches, nearest vectors and the difference; and squared distances and rows of the neighbours."""
        return 3 + -(-3 * self.count // len(self.centre))

    def fits(self, positions: int, dimension: int) -> bool:
        """See `NormalModel`."""
        return dimension == len(self.centre)

    @property
    def size(self) -> int:
        """Number of vectors."""
        return int(self._searcher.ntotal)

    def distances(self, patches: Float32) -> Float32:
        """[n, P, D] -> [n, P]: the mean Euclidean distance to the `count` nearest vectors that the index finds."""
        flat = patches.reshape(-1, patches.shape[-1])
        squares, rows = self._search(flat, self.count)
        if self.vectors is None:
            return np.asarray(np.sqrt(np.maximum(squares, 0)).mean(axis=1)).reshape(patches.shape[:2])
        total = np.zeros(len(flat), np.float32)
        for nearest in rows.T:
            # The expansion also loses small distances to rounding; the difference does not.
            difference = flat - self.vectors[nearest]
            total += np.sqrt(np.einsum("nd,nd->n", difference, difference))
        return np.asarray(total / np.float32(self.count)).reshape(patches.shape[:2])

    def rows(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors` [n, D], nearest first: [n, count] int64."""
        return self._search(vectors, count)[1]

    def _search(self, vectors: Float32, count: int) -> tuple[Float32, Int64]:
        centred = vectors - self.centre
        squares, rows = self._searcher.search(centred, count)
        empty = np.flatnonzero(rows[:, 0] < 0)
        if len(empty):  # none of the lists that are searched holds a vector
            everywhere = faiss.SearchParametersIVF()
            everywhere.nprobe = self._searcher.nlist
            squares[empty], rows[empty] = self._searcher.search(centred[empty], count, params=everywhere)
        # They may hold fewer vectors than are asked for: the last one found stands for the others.
        for column in range(1, count):
            lacking = rows[:, column] < 0
            squares[lacking, column], rows[lacking, column] = squares[lacking, column - 1], rows[lacking, column - 1]
        return squares, rows

    def arrays(self) -> Arrays:
        """See `NormalModel`."""
        arrays = {
            "covering_radius": np.array(self.covering_radius),
            "count": np.array(self.count, np.int64),
            "centre": self.centre,
            "recall": np.array(self.recall),
        }
        optional = {"vectors": self.vectors, "index": self.index}
        return arrays | {name: array for name, array in optional.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`; the search is made ready, too."""
        model = cls(
            arrays.get("vectors"),
            float(arrays["covering_radius"]),
            int(arrays["count"]),
            arrays["centre"],
            arrays.get("index"),
            float(arrays["recall"]),
        )
        if model.count < 1 or model.centre.ndim != 1 or (model.vectors is None and model.index is None):
            raise ValueError("it holds no vectors")
        held = model._searcher.ntotal, model._searcher.d
        if held[1] != len(model.centre) or (model.vectors is not None and model.vectors.shape != held):
            raise ValueError("its index is of other vectors")
        return model


def make_neighbours(
    vectors: Float32,
    covering_radius: float,
    *,
    count: int = 1,
    index: IndexSpec | None = None,
    queries: Float32 | None = None,
    seed: int = 0,
) -> NearestNeighbours:
    """The nearest neighbours among some vectors.

    Args:
        vectors: [M, D] float32.
        covering_radius: see `NearestNeighbours`.
        count: see `NearestNeighbours`.
        index: how they are searched; default: exactly.
        queries: [n, D] float32 patches that tell the recall of an index that is not exact.
        seed: of its k-means.

    Raises:
        UserError: if the vectors do not fit the index.
    """
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    if index is None or index.method == "flat":
        return NearestNeighbours(vectors, covering_radius, count, centre)
    centred = vectors - centre
    built = build_index(index, centred, seed=seed)
    recall = 1.0 if queries is None else measure_recall(built, centred, queries - centre)
    kept = None if index.method == "ivf_pq" else vectors
    return NearestNeighbours(kept, covering_radius, count, centre, to_bytes(built), recall)
