"""The principal subspace of normal patches; a patch's distance from it is its reconstruction error.

Tested in tests/detectors/test_subspace.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays, Measured
from patchshift.errors import UserError
from patchshift.features.reduction import principal_components
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import SubspaceSpec

Float32 = npt.NDArray[np.float32]

EXPLAINED = 0.95
"""Share of the variance that is kept where the spec names no size."""


@dataclass(frozen=True)
class NormalSubspace:
    """Scores a patch by its Euclidean distance from an affine subspace.

    Attributes:
        mean: [D] float32 mean of the training patches.
        components: [D, k] float32 orthonormal directions of largest variance.
    """

    mean: Float32
    components: Float32
    held = 4  # the patches, what is left of them, its coefficients, and what the subspace holds
    facts: ClassVar[Mapping[str, float]] = {}

    @property
    def size(self) -> int:
        """Number of components."""
        return int(self.components.shape[1])

    def measure(self, patches: Float32) -> Measured:
        """See `NormalModel`."""
        return Measured(self.distances(patches))

    def distances(self, patches: Float32) -> Float32:
        """[n, P, D] -> [n, P]: |x - m - V V^T (x - m)|, V the components, m the mean."""
        rest = patches - self.mean
        rest -= (rest @ self.components) @ self.components.T
        return np.asarray(np.sqrt(np.einsum("npd,npd->np", rest, rest)))

    def fits(self, positions: int, dimension: int) -> bool:
        """See `NormalModel`."""
        return dimension == len(self.mean) == len(self.components)

    def arrays(self) -> Arrays:
        """See `NormalModel`."""
        return {"mean": self.mean, "components": self.components}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`."""
        return cls(arrays["mean"], arrays["components"])


def fit_subspace(spec: SubspaceSpec, representation: Representation, features: FeatureRows) -> NormalSubspace:
    """The leading principal components of all training patches.

    Args:
        spec: how many components.
        representation: the fitted one.
        features: the normal training images.

    Raises:
        UserError: if the patches are all equal, or so many components are kept that nothing is left to differ in.
    """
    wanted = spec.explained_variance if spec.explained_variance or spec.dimension else EXPLAINED
    images = (image for chunk in representation.embed(features, chunk_mb=spec.chunk_mb) for image in chunk)
    mean, components, _ = principal_components(
        images, dimension=spec.dimension, explained_variance=wanted, key="detector: pca"
    )
    if components.shape[1] == len(mean):
        raise UserError(
            f"detector 'pca': {len(mean)} components of embeddings of {len(mean)} numbers leave nothing that a patch "
            "could differ in: lower dimension or explained_variance"
        )
    return NormalSubspace(mean, components)
