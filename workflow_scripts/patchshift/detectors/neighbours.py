"""Patch distances to the nearest vectors of a memory bank (Roth et al. 2022, Eq. 6).

Tested in tests/detectors/test_neighbours.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt

from patchshift.detectors.foreground import Foreground
from patchshift.detectors.indexes import build_index, from_bytes, measure_recall, to_bytes
from patchshift.detectors.normality import Arrays, Measured
from patchshift.detectors.patches import unit_vectors
from patchshift.errors import UserError
from patchshift.plan.detector_specs import Distance
from patchshift.plan.sampling_specs import IndexSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Int16 = npt.NDArray[np.int16]
UInt8 = npt.NDArray[np.uint8]

DISTANCES: tuple[Distance, ...] = ("euclidean", "squared", "cosine")
"""In the order in which banks number them."""

FOREGROUND = "foreground/"
"""Before the names of its arrays."""


@dataclass(frozen=True)
class NearestNeighbours:
    """Scores a patch by its distance to the nearest of the vectors it keeps.

    Attributes:
        vectors: [M, D] float32 patch embeddings, divided by their length for `cosine`; None where an index keeps codes
            alone.
        covering_radius: largest distance of a training patch to the nearest kept one, in the space where the sampler
            chose (the projected one, if it projects).
        count: the score is the mean distance to so many nearest vectors.
        centre: [D] float32, about the mean of the vectors; indexes hold vectors minus it, because faiss expands
            |x - y|^2: far from the origin rounding would choose the neighbour.
        index: bytes of a faiss index that is not exact; None: search is exact.
        recall: share of training patches whose nearest vector the index finds.
        members: [M] int16, which category of a pool each vector comes from; None: there is one.
        distance: `euclidean`; `squared`, of the Euclidean one; or `cosine`, half the squared distance of unit vectors,
            which is 1 - the cosine of their angle. A vector of zeros stays one: it is at 0.5 from all others.
        foreground: tells the patches of the background, whose distance is 0; None: there is none.
    """

    vectors: Float32 | None
    covering_radius: float
    count: int
    centre: Float32
    index: UInt8 | None = None
    recall: float = 1.0
    members: Int16 | None = None
    distance: Distance = "euclidean"
    foreground: Foreground | None = None

    @cached_property
    def _searcher(self) -> Any:
        if self.index is not None:
            return from_bytes(self.index)
        assert self.vectors is not None  # what has no index has vectors
        return build_index(IndexSpec(), self.vectors - self.centre, seed=0)

    @property
    def held(self) -> int:
        """The patches (and their unit vectors), nearest vectors, difference; squares and rows of the neighbours."""
        return 3 + (self.distance == "cosine") + -(-3 * self.count // len(self.centre))

    def fits(self, positions: int, dimension: int) -> bool:
        """See `NormalModel`."""
        return dimension == len(self.centre)

    @property
    def size(self) -> int:
        """Number of vectors."""
        return int(self._searcher.ntotal)

    @property
    def facts(self) -> Mapping[str, float]:
        """See `NormalModel`."""
        facts = {"covering_radius": self.covering_radius}
        if not math.isnan(self.recall):  # as it is where vectors are all equal
            facts["search_recall"] = self.recall
        return facts if self.foreground is None else facts | {"foreground_share": self.foreground.share}

    def measure(self, patches: Float32) -> Measured:
        """See `NormalModel`; `member` where the vectors come from several categories."""
        distances, rows = self._nearest(patches)
        if self.foreground is not None:
            distances[self.foreground.background(patches)] = 0
        return Measured(distances, {} if self.members is None else {"member": self.members[rows]})

    def distances(self, patches: Float32) -> Float32:
        """[n, P, D] -> [n, P]: the mean distance to the `count` nearest vectors that the index finds, everywhere."""
        return self._nearest(patches)[0]

    def _nearest(self, patches: Float32) -> tuple[Float32, Int64]:
        """Distances [n, P], and the row of the nearest vector [n, P]."""
        flat = self._prepare(patches.reshape(-1, patches.shape[-1]))
        squares, rows = self._search(flat, self.count)
        if self.vectors is None:
            distances = self._from_squares(np.maximum(squares, 0)).mean(axis=1)
        else:
            distances = np.zeros(len(flat), np.float32)
            for nearest in rows.T:
                # The expansion also loses small distances to rounding; the difference does not.
                difference = flat - self.vectors[nearest]
                distances += self._from_squares(np.einsum("nd,nd->n", difference, difference))
            distances /= np.float32(self.count)
        return np.asarray(distances).reshape(patches.shape[:2]), rows[:, 0].reshape(patches.shape[:2])

    def _prepare(self, vectors: Float32) -> Float32:
        return unit_vectors(vectors) if self.distance == "cosine" else vectors

    def _from_squares(self, squares: Float32) -> Float32:
        """Distances from squared Euclidean ones."""
        if self.distance == "euclidean":
            return np.sqrt(squares)
        return squares if self.distance == "squared" else squares / np.float32(2)

    def rows(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors` [n, D], nearest first: [n, count] int64."""
        return self._search(self._prepare(vectors), count)[1]

    def _search(self, vectors: Float32, count: int) -> tuple[Float32, Int64]:
        centred = vectors - self.centre
        squares, rows = self._searcher.search(centred, count)
        empty = np.flatnonzero(rows[:, 0] < 0)
        if len(empty) and not np.isfinite(centred[empty]).all():  # nothing is near to them
            raise UserError(
                "there are features that are not finite numbers: extract them again, with precision: float32"
            )
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
            "distance": np.array(DISTANCES.index(self.distance), np.int64),
        }
        if self.foreground is not None:
            arrays |= {FOREGROUND + name: array for name, array in self.foreground.arrays().items()}
        optional = {"vectors": self.vectors, "index": self.index, "members": self.members}
        return arrays | {name: array for name, array in optional.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`; the search is made ready, too."""
        metric = int(arrays["distance"])
        if not 0 <= metric < len(DISTANCES):
            raise ValueError("it has a distance that is not known")
        inner = {name.removeprefix(FOREGROUND): each for name, each in arrays.items() if name.startswith(FOREGROUND)}
        model = cls(
            arrays.get("vectors"),
            float(arrays["covering_radius"]),
            int(arrays["count"]),
            arrays["centre"],
            arrays.get("index"),
            float(arrays["recall"]),
            arrays.get("members"),
            DISTANCES[metric],
            Foreground.from_arrays(inner) if inner else None,
        )
        if model.count < 1 or model.centre.ndim != 1 or (model.vectors is None and model.index is None):
            raise ValueError("it holds no vectors")
        held = model._searcher.ntotal, model._searcher.d
        if held[1] != len(model.centre) or (model.vectors is not None and model.vectors.shape != held):
            raise ValueError("its index is of other vectors")
        if model.members is not None and model.members.shape != (model.size,):
            raise ValueError("its vectors come from other categories")
        if model.foreground is not None and model.foreground.direction.shape != model.centre.shape:
            raise ValueError("its foreground is of other vectors")
        return model


def make_neighbours(
    vectors: Float32,
    covering_radius: float,
    *,
    count: int = 1,
    index: IndexSpec | None = None,
    queries: Float32 | None = None,
    seed: int = 0,
    members: Int16 | None = None,
    distance: Distance = "euclidean",
    foreground: Foreground | None = None,
    owner: str = "the bank",
) -> NearestNeighbours:
    """The nearest neighbours among some vectors.

    Args:
        vectors: [M, D] float32, of any length.
        covering_radius: see `NearestNeighbours`.
        count: see `NearestNeighbours`.
        index: how they are searched; default: exactly.
        queries: [n, D] float32 patches that tell the recall of an index that is not exact.
        seed: of its k-means.
        members: see `NearestNeighbours`.
        distance: see `NearestNeighbours`.
        foreground: see `NearestNeighbours`.
        owner: whose vectors they are, for errors.

    Raises:
        UserError: if the vectors do not fit the index.
    """
    if distance == "cosine":
        vectors = unit_vectors(vectors)
        queries = None if queries is None else unit_vectors(queries)
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    model = NearestNeighbours(
        vectors, covering_radius, count, centre, members=members, distance=distance, foreground=foreground
    )
    if index is None or index.method == "flat":
        return model
    centred = vectors - centre
    built = build_index(index, centred, seed=seed, owner=owner)
    recall = 1.0 if queries is None else measure_recall(built, centred, queries - centre)
    kept = None if index.method == "ivf_pq" else vectors
    return replace(model, vectors=kept, index=to_bytes(built), recall=recall)
