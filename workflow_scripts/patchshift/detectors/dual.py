"""A dual bank (ExDD, arXiv 2507.15335): distances to normal patches and to defective ones.

Tested in tests/detectors/test_dual.py; stated exactly in docs/protocol.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from patchshift.detectors.neighbours import NearestNeighbours
from patchshift.detectors.normality import Arrays, Measured

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DualBank:
    """Two memory banks.

    Attributes:
        negative: of normal patches.
        positive: of defective patches; None where there are none, and then it is the single bank `negative`.
    """

    negative: NearestNeighbours
    positive: NearestNeighbours | None

    @property
    def held(self) -> int:
        """See `NormalModel`; the banks are searched one after the other."""
        return self.negative.held if self.positive is None else max(self.negative.held, self.positive.held)

    @property
    def size(self) -> int:
        """Number of vectors of both."""
        return self.negative.size + (self.positive.size if self.positive else 0)

    @property
    def facts(self) -> Mapping[str, float]:
        """See `NormalModel`: those of the negative bank, and of the positive one under names of its own."""
        if self.positive is None:
            return {**self.negative.facts, "positive_vectors": 0}
        own = {f"positive_{name}": value for name, value in self.positive.facts.items()}
        return {**self.negative.facts, "positive_vectors": self.positive.size, **own}

    def measure(self, patches: Float32) -> Measured:
        """See `NormalModel`: distances to normal patches; both distances as parts, where there is a positive bank."""
        measured = self.negative.measure(patches)
        if self.positive is None:
            return measured
        both = {"negative": measured.distances, "positive": self.positive.distances(patches)}
        return Measured(measured.distances, {**measured.parts, **both})

    def fits(self, positions: int, dimension: int) -> bool:
        """See `NormalModel`."""
        return all(bank.fits(positions, dimension) for bank in (self.negative, self.positive) if bank)

    def arrays(self) -> Arrays:
        """See `NormalModel`: the arrays of each bank below its name."""
        banks = {"negative": self.negative, "positive": self.positive}
        return {
            f"{side}/{name}": array for side, bank in banks.items() if bank for name, array in bank.arrays().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`."""
        negative, positive = (
            {name.removeprefix(f"{side}/"): array for name, array in arrays.items() if name.startswith(f"{side}/")}
            for side in ("negative", "positive")
        )
        return cls(
            NearestNeighbours.from_arrays(negative), NearestNeighbours.from_arrays(positive) if positive else None
        )
