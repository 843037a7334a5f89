"""Gaussians of normal patches, one for each position or one for all (Defard et al. 2021, PaDiM).

Tested in tests/detectors/test_gaussians.py.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays, Measured
from patchshift.errors import UserError
from patchshift.features.parallel import map_in_threads
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PadimSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

REGULARISATION = 0.01  # added to each variance, as in the paper
FEWEST = {"regularised": 2, "ledoit_wolf": 3}  # of two, the shrinkage would be estimated as none
POSITIONS = 16  # that a thread works on at a time
BLOCK_BYTES, BLOCK_VECTORS = 2**25, 1024  # of vectors whose products are summed at a time, and at most at a position
LEAF = 16  # numbers up to which LAPACK inverts a factor
SPREAD = 1e3  # of a variance and the smallest pivot: beyond it float32 would lose more than a thousandth

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
    facts: ClassVar[Mapping[str, float]] = {}

    @property
    def size(self) -> int:
        """Number of Gaussians."""
        return len(self.mean)

    def measure(self, patches: Float32) -> Measured:
        """See `NormalModel`."""
        return Measured(self.distances(patches))

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

    One pass over the features, with a chunk of images in memory beside the sums: never all patches.

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
    dimension = representation.dimension
    size = 4 * positions * dimension * (dimension + 1)
    log.info("a bank of %.1f MB: %d Gaussians of %d numbers", size / 1e6, positions, dimension)
    log.info("fitting takes three times that, beside chunk_mb")

    def chunks() -> Iterator[Float32]:
        for chunk in representation.embed(features, chunk_mb=spec.chunk_mb, held=NormalGaussians.held):
            yield chunk if positions > 1 else chunk.reshape(-1, 1, chunk.shape[-1])

    mean, covariance = estimate(chunks(), ledoit_wolf=spec.covariance == "ledoit_wolf")
    if spec.covariance == "regularised":
        added = REGULARISATION if spec.regularisation is None else spec.regularisation
        add_to_diagonals(covariance, added)
    return NormalGaussians(mean.astype(np.float32), invert(covariance))


def estimate(chunks: Iterable[Float32], *, ledoit_wolf: bool) -> tuple[Float64, Float64]:
    """Means [P, D] and covariances [P, D, D] of the vectors at each of P positions, in one pass: float64.

    Args:
        chunks: all vectors, [n, P, D] float32 at a time; how they are cut changes nothing.
        ledoit_wolf: shrink each covariance towards a multiple of the identity, by the amount that Ledoit and Wolf
            (2004, Lemma 3.3 and Section 3.3) estimate from the same vectors; otherwise the sample covariance with the
            divisor n - 1.
    """
    sums = None
    for block in _in_blocks(chunks):
        if sums is None:
            sums = _Sums(block, fourth=ledoit_wolf)
        sums.add(block)
    assert sums is not None  # there are vectors
    if ledoit_wolf:
        fourth = sums.mean_fourth()
        return sums.mean(), _shrink(sums.covariance(sums.count), fourth, sums.count)
    return sums.mean(), sums.covariance(sums.count - 1)


def _in_blocks(chunks: Iterable[Float32]) -> Iterator[Float32]:
    """The same vectors, as many at a time however the chunks are cut."""
    waiting: list[Float32] = []
    for chunk in chunks:
        size = max(1, min(BLOCK_VECTORS, BLOCK_BYTES // chunk[0].nbytes))
        first = 0
        if waiting:
            first = size - sum(map(len, waiting))
            waiting.append(chunk[:first].copy())
            if first > len(chunk):
                continue
            yield np.concatenate(waiting)
        for start in range(first, len(chunk) - size + 1, size):
            yield chunk[start : start + size]
        rest = (len(chunk) - first) % size
        waiting = [chunk[len(chunk) - rest :].copy()] if rest else []  # a view would keep the chunk in memory
    if waiting:
        yield np.concatenate(waiting)


class _Sums:
    """What means and covariances are made of: sums over y = x - origin at each position.

    With an origin near the mean nothing cancels, however far the vectors lie from 0; what it is off is corrected in the
    end. All is float64: in a direction in which the vectors do not vary, as there are some wherever they are fewer than
    their numbers, float32 would leave 1e-7 of the largest variance in place of 0, and a regularisation is lost in it.
    """

    def __init__(self, block: Float32, *, fourth: bool) -> None:
        _, positions, dimension = block.shape
        self.count = 0
        self._origin = block.mean(axis=0, dtype=np.float64)
        self._total = np.zeros((positions, dimension))
        self._products = np.zeros((positions, dimension, dimension))
        self._fourth = np.zeros(positions) if fourth else None  # of |y|^4
        self._cubes = np.zeros((positions, dimension))  # of |y|^2 y

    def add(self, block: Float32) -> None:
        """Add vectors [n, P, D]."""

        def work(some: slice) -> None:
            centred = block[:, some].transpose(1, 0, 2) - self._origin[some, None]
            self._total[some] += centred.sum(axis=1)
            self._products[some] += centred.transpose(0, 2, 1) @ centred
            if self._fourth is not None:
                squares = np.einsum("pnd,pnd->pn", centred, centred)
                self._fourth[some] += np.einsum("pn,pn->p", squares, squares)
                self._cubes[some] += (squares[:, None] @ centred)[:, 0]

        self.count += len(block)
        _share_out(work, len(self._origin))

    def mean(self) -> Float64:
        """[P, D]."""
        return np.asarray(self._origin + self._total / self.count)

    def mean_fourth(self) -> Float64:
        """[P] the mean of |x - m|^4; from the products, so before `covariance`."""
        assert self._fourth is not None
        shift = self._total / self.count
        length = np.einsum("pd,pd->p", shift, shift)
        # |y - d|^4, multiplied out and summed, with the sum n d of y
        along = np.einsum("pd,pd->p", shift, (self._products @ shift[..., None])[..., 0])
        trace = np.einsum("pdd->p", self._products)
        total = self._fourth - 4 * np.einsum("pd,pd->p", shift, self._cubes) + 4 * along + 2 * length * trace
        return np.asarray(total / self.count - 3 * length**2)

    def covariance(self, divisor: int) -> Float64:
        """[P, D, D] the sum of (x - m) (x - m)^T divided by something; takes the place of the products."""
        shift = self._total / np.sqrt(self.count)

        def work(some: slice) -> None:
            self._products[some] -= shift[some, :, None] * shift[some, None]
            self._products[some] /= divisor

        _share_out(work, len(shift))
        return self._products


def _share_out(work: Callable[[slice], None], positions: int) -> None:
    """Let threads work on a few positions at a time."""
    groups = [slice(first, first + POSITIONS) for first in range(0, positions, POSITIONS)]
    map_in_threads(lambda group: work(groups[group]), len(groups))


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

    In float32 where that is enough; in float64 where a pivot is less than a thousandth of the largest variance.

    Raises:
        UserError: if one is singular in float64: patches do not vary, or not beside how much they do elsewhere.
    """
    whitening = np.empty(covariance.shape, np.float32)

    def work(some: slice) -> None:
        try:
            inverse = _invert_factor(covariance[some].astype(np.float32))
            variance = np.einsum("pdd->pd", covariance[some]).max(axis=1)
            precise = bool((np.einsum("pdd->pd", inverse).max(axis=1) ** 2 * variance <= SPREAD).all())
        except np.linalg.LinAlgError:
            precise = False
        whitening[some] = inverse if precise else _invert_factor(covariance[some])

    try:
        _share_out(work, len(covariance))
    except np.linalg.LinAlgError as error:
        raise UserError(
            "detector 'padim': the covariance of the training patches of a position has no inverse, because in some "
            "direction they do not vary, or too little for double precision beside others: choose covariance: "
            "regularised, or raise its regularisation"
        ) from error
    return whitening


def _invert_factor(matrices: Floats) -> Floats:
    """Inverses of the Cholesky factors of [n, D, D], of the same type: by halves, so that most of it is products.

    Of A = [[B, C^T], [C, E]] it is [[V, 0], [-W C V^T V, W]], with V that of B and W that of E - C V^T V C^T.
    """
    size = matrices.shape[1]
    if size <= LEAF:
        return np.asarray(np.tril(np.linalg.inv(np.linalg.cholesky(matrices))))
    half = size // 2
    inverse = np.zeros_like(matrices)
    upper = inverse[:, :half, :half] = _invert_factor(matrices[:, :half, :half])
    factor = matrices[:, half:, :half] @ upper.transpose(0, 2, 1)
    rest = matrices[:, half:, half:] - factor @ factor.transpose(0, 2, 1)
    lower = inverse[:, half:, half:] = _invert_factor(rest)
    inverse[:, half:, :half] = -lower @ (factor @ upper)
    return inverse
