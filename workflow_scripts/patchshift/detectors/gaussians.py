"""Gaussians of normal patches, one for each position or one for all (Defard et al. 2021, PaDiM).

Tested in tests/detectors/test_gaussians.py.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays
from patchshift.errors import UserError
from patchshift.features.parallel import map_in_threads
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PadimSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Chunks = Callable[[], Iterator[Float32]]
"""Gives all training patches anew: [n, P, D] of a few images at a time."""

REGULARISATION = 0.01  # added to each variance, as in the paper
FEWEST = {"regularised": 2, "ledoit_wolf": 3}  # of two, the shrinkage would be estimated as none
POSITIONS = 16  # that a thread works on at a time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NormalGaussians:
    """Scores a patch by its Mahalanobis distance from the Gaussian of its position.

    Attributes:
        mean: [P, D] float32; P is 1 where one Gaussian stands for all positions.
        whitening: [P, D, D] float32, lower triangular: the inverse of the Cholesky factor of each covariance, so that
            |W (x - m)| is the Mahalanobis distance.
    """

    mean: Float32
    whitening: Float32
    held = 4  # the patches, centred, position by position, and whitened

    def distances(self, patches: Float32) -> Float32:
        """[n, P, D] -> [n, P]: sqrt((x - m)^T S^-1 (x - m))."""
        count, positions, dimension = patches.shape
        patches = patches.reshape(1, -1, dimension) if len(self.mean) == 1 else patches.transpose(1, 0, 2)
        squares = np.empty(patches.shape[:2], np.float32)

        def measure(first: int) -> None:
            some = slice(first * POSITIONS, (first + 1) * POSITIONS)
            centred = patches[some] - self.mean[some, None]
            whitened = centred @ self.whitening[some].transpose(0, 2, 1)
            np.einsum("pnd,pnd->pn", whitened, whitened, out=squares[some])

        map_in_threads(measure, -(-len(self.mean) // POSITIONS))
        distances = np.sqrt(squares)
        return distances.reshape(count, positions) if len(self.mean) == 1 else np.ascontiguousarray(distances.T)

    def fits(self, positions: int, dimension: int) -> bool:
        """See `NormalModel`."""
        count = len(self.mean)
        shapes = self.mean.shape, self.whitening.shape
        return count in (1, positions) and shapes == ((count, dimension), (count, dimension, dimension))

    def arrays(self) -> Arrays:
        """See `NormalModel`."""
        return {"mean": self.mean, "whitening": self.whitening}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `NormalModel`."""
        return cls(arrays["mean"], arrays["whitening"])


def fit_gaussians(spec: PadimSpec, representation: Representation, features: FeatureRows) -> NormalGaussians:
    """Mean and covariance of the training patches at each position, or of all.

    Two passes over the features, with a chunk of images in memory beside the sums: never all patches.

    Args:
        spec: one Gaussian or one for each position, and how its covariance is estimated.
        representation: the fitted one.
        features: the normal training images.

    Raises:
        UserError: if they are too few.
    """
    rows, columns = representation.grid
    positions = rows * columns if spec.positions == "each" else 1
    patches, needed = len(features) * rows * columns // positions, FEWEST[spec.covariance]
    if patches < needed:
        raise UserError(
            f"detector 'padim': covariance '{spec.covariance}' needs at least {needed} training patches for each "
            f"Gaussian, but there are {patches}: give more images, or choose positions: all"
        )
    size = 4 * positions * representation.dimension * (representation.dimension + 1)
    log.info("a bank of %.1f MB: %d Gaussians of %d numbers", size / 1e6, positions, representation.dimension)
    log.info("fitting takes three times that, beside chunk_mb")

    def chunks() -> Iterator[Float32]:
        for chunk in representation.embed(features, chunk_mb=spec.chunk_mb, held=NormalGaussians.held):
            yield chunk if positions > 1 else chunk.reshape(-1, 1, chunk.shape[-1])

    mean, covariance = estimate(chunks, ledoit_wolf=spec.covariance == "ledoit_wolf")
    if spec.covariance == "regularised":
        added = REGULARISATION if spec.regularisation is None else spec.regularisation
        add_to_diagonals(covariance, added)
    return NormalGaussians(mean.astype(np.float32), invert(covariance))


def estimate(chunks: Chunks, *, ledoit_wolf: bool) -> tuple[Float64, Float64]:
    """Means [P, D] and covariances [P, D, D] of the vectors at each of P positions.

    Args:
        chunks: all vectors, [n, P, D] float32 at a time; called twice.
        ledoit_wolf: shrink each covariance towards a multiple of the identity, by the amount that Ledoit and Wolf
            (2004, Lemma 3.3 and Section 3.3) estimate from the same vectors; otherwise the sample covariance with the
            divisor n - 1.
    """
    count, total = 0, np.zeros(1)
    for chunk in chunks():
        count += len(chunk)
        total = total + chunk.sum(axis=0, dtype=np.float64)
    mean = np.asarray(total / count)
    positions, dimension = mean.shape
    products, fourth = np.zeros((positions, dimension, dimension)), np.zeros(positions)
    for chunk in chunks():

        def add(first: int, chunk: Float32 = chunk) -> None:
            some = slice(first * POSITIONS, (first + 1) * POSITIONS)
            centred = chunk[:, some].transpose(1, 2, 0) - mean[some, :, None]
            products[some] += centred @ centred.transpose(0, 2, 1)
            if ledoit_wolf:
                fourth[some] += (np.einsum("pdn,pdn->pn", centred, centred) ** 2).sum(axis=1)

        map_in_threads(add, -(-positions // POSITIONS))
    if not ledoit_wolf:
        products /= count - 1
        return mean, products
    products /= count
    return mean, _shrink(products, fourth / count, count)


def _shrink(covariance: Float64, fourth: Float64, count: int) -> Float64:
    """(1 - s) S + s m I, with m = tr(S) / D and s = min(b^2, d^2) / d^2, in place.

    Norms are squared Frobenius norms divided by D: d^2 = |S - m I|^2, b^2 = (E|x x^T|^2 - |S|^2) / n.
    """
    dimension = covariance.shape[1]
    trace = np.einsum("pdd->p", covariance) / dimension
    square = np.einsum("pde,pde->p", covariance, covariance) / dimension
    spread = square - trace**2
    noise = np.minimum((fourth / dimension - square) / count, spread)
    share = np.divide(noise, spread, out=np.ones_like(spread), where=spread > 0)
    covariance *= (1 - share)[:, None, None]
    add_to_diagonals(covariance, (share * trace)[:, None])
    return covariance


def add_to_diagonals(matrices: Float64, values: Float64 | float) -> None:
    """Add to the diagonals of [P, D, D], in place."""
    np.einsum("pdd->pd", matrices)[...] += values  # a view


def invert(covariance: Float64) -> Float32:
    """The inverse of the Cholesky factor of each of [P, D, D]: float32, lower triangular.

    Raises:
        UserError: if one is singular, as where patches do not vary.
    """
    whitening = np.empty(covariance.shape, np.float32)

    def work(first: int) -> None:
        some = slice(first * POSITIONS, (first + 1) * POSITIONS)
        whitening[some] = np.tril(np.linalg.inv(np.linalg.cholesky(covariance[some])))

    try:
        map_in_threads(work, -(-len(covariance) // POSITIONS))
    except np.linalg.LinAlgError as error:
        raise UserError(
            "detector 'padim': the training patches of a position do not vary, so their covariance has no inverse: "
            "choose covariance: regularised, or raise its regularisation"
        ) from error
    return whitening
