"""What a fitted detector knows of normal patches: the contract that banks keep, whatever the method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]
"""Name -> array: what a bank's file keeps of a model."""


@dataclass(frozen=True)
class Measured:
    """How far patches are from normal ones.

    Attributes:
        distances: [n, P] float32, at least 0, in units of the method.
        parts: name -> [n, P]: what else the model knows of each patch (`negative` and `positive`: the two distances of
            a dual bank; `member`: which category of a pool its nearest vector comes from).
    """

    distances: Float32
    parts: Arrays = field(default_factory=dict)


class NormalModel(Protocol):
    """Tells how far patches are from normal ones."""

    @property
    def facts(self) -> Mapping[str, float]:
        """Name -> number: what tables say of it beside its size (`covering_radius`, `search_recall`)."""

    @property
    def held(self) -> int:
        """How many arrays of the size of the patches `distances` holds at a time, the patches included."""

    @property
    def size(self) -> int:
        """How many vectors (or Gaussians, or components) it keeps."""

    def measure(self, patches: Float32) -> Measured:
        """How far each patch is from normal ones.

        Args:
            patches: [n, P, D] float32 embeddings, position by position.
        """

    def fits(self, positions: int, dimension: int) -> bool:
        """Whether it was made of embeddings of so many numbers, at so many positions."""

    def arrays(self) -> Arrays:
        """All that `from_arrays` needs to make the same model."""

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The model of these arrays.

        Raises:
            KeyError, ValueError: if one is missing, or they do not belong together.
        """
