"""What a fitted detector knows of normal patches: the contract that banks keep, whatever the method."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]
"""Name -> array: what a bank's file keeps of a model."""


class NormalModel(Protocol):
    """Tells how far patches are from normal ones."""

    @property
    def held(self) -> int:
        """How many arrays of the size of the patches `distances` holds at a time, the patches included."""

    def distances(self, patches: Float32) -> Float32:
        """How far each patch is from normal ones, in units of its own method.

        Args:
            patches: [n, P, D] float32 embeddings, position by position.

        Returns:
            [n, P] float32, at least 0.
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
