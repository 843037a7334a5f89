"""How much an image score counts, by how lonely the nearest bank vector is (Roth et al. 2022, Eq. 7).

Tested in tests/detectors/test_reweighting.py.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@runtime_checkable
class VectorBank(Protocol):
    """What Eq. 7 asks of a memory bank; `detectors.neighbours` is one. Named here, for that module loads faiss."""

    @property
    def vectors(self) -> Float32 | None:
        """[M, D] float32 patch embeddings; None where codes alone are kept."""

    @property
    def size(self) -> int:
        """Number of vectors."""

    def rows(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors` [n, D], nearest first: [n, count] int64."""


def reweighting(score: Float32, patch: Float32, count: int, bank: VectorBank) -> Float32:
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
