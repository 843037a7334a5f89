"""Distances between two sets of feature vectors.

A set is an array [n, D], or [n, P, D]: n independent units (images) of P vectors each, which are not independent of
one another. All vectors weigh the same. Each distance exists in two forms: of the two sets as they are, and of
resamples of their units (`Draws`), from which `evaluation.distance_intervals` makes intervals.
Tested in tests/evaluation/test_domain_distances.py; stated exactly in docs/protocol.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from patchshift.evaluation.undefined import Undefined

Vectors = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]

LINEAR_ABOVE = 1000  # units in both sets, beyond which not all pairs of them enter the MMD
LINEAR_FROM = 200  # units on each side, for enough terms of the linear-time statistic
DIRECTIONS = 128
MEDIAN_OF = 1000  # vectors, at most, whose distances give the bandwidth
BLOCK_BYTES = 64 << 20  # of kernel values at a time


@dataclass(frozen=True)
class Draws:
    """How often each unit is drawn in each of R resamples.

    Attributes:
        x: [R, n] counts, n in each row.
        y: [R, m] counts, m in each row.
    """

    x: Float64
    y: Float64


def each_once(x: Vectors, y: Vectors) -> Draws:
    """The one "resample" that is the two sets themselves."""
    return Draws(np.ones((1, len(x))), np.ones((1, len(y))))


def maximum_mean_discrepancy(
    x: Vectors, y: Vectors, *, bandwidth: float | None = None, linear_above: int = LINEAR_ABOVE
) -> float:
    """Squared maximum mean discrepancy under the kernel exp(-|a - b|^2 / (2 bandwidth^2)), without bias.

    Up to `linear_above` units in both sets together it is the U-statistic (Gretton et al. 2012, Eq. 3), beyond it the
    linear-time statistic (ibid., Section 6); with fewer than 200 units on a side, too few for its terms, still the
    U-statistic, of these and a random choice of the others. The kernel of two units, which take the place of single
    vectors, is the mean over their vectors' pairs; pairs within a unit are left out, as they are not independent.
    Its mean is 0 for equal distributions, so it may be negative; where a root is wanted, it is sqrt(max(0, value)).

    Args:
        x: [n, D] or [n, P, D] float, n >= 2.
        y: [m, D] or [m, Q, D] float, m >= 2.
        bandwidth: of the kernel; default: `median_bandwidth`.
        linear_above: n + m beyond which not all pairs are taken; neighbours must be independent where n + m is more.

    Raises:
        Undefined: if a set has fewer than two units.
    """
    return float(mmd_squares(x, y, each_once(x, y), bandwidth=bandwidth, linear_above=linear_above)[0])


def mmd_squares(
    x: Vectors, y: Vectors, draws: Draws, *, bandwidth: float | None = None, linear_above: int = LINEAR_ABOVE
) -> Float64:
    """[R] squared MMD of each resample; the bandwidth is that of the sets themselves.

    A unit drawn twice is not paired with itself, as its own vectors are not; NaN without two different units on a side.
    """
    x, y = _as_units(x), _as_units(y)
    if min(len(x), len(y)) < 2:
        raise Undefined("fewer than two images on one side")
    width = median_bandwidth(x, y) if bandwidth is None else bandwidth
    if takes_linear_time(len(x), len(y), linear_above):
        terms = linear_terms(x, y, width)
        drawn = draws.x[:, : 2 * len(terms) : 2]  # terms are independent: each is drawn with the first of its units
        return _divide(drawn @ terms, drawn.sum(axis=1))
    most = max(min(len(x), len(y)), linear_above - min(len(x), len(y)))
    (x, drawn_x), (y, drawn_y) = _choose(x, draws.x, most), _choose(y, draws.y, most)
    within_x, within_y, across = pair_kernels(x, x, width), pair_kernels(y, y, width), pair_kernels(x, y, width)
    crossed = np.einsum("rn,nm,rm->r", drawn_x, across, drawn_y, optimize=True)
    crossed /= drawn_x.sum(axis=1) * drawn_y.sum(axis=1)
    return np.asarray(_mean_of_pairs(within_x, drawn_x) + _mean_of_pairs(within_y, drawn_y) - 2 * crossed)


def takes_linear_time(n: int, m: int, linear_above: int = LINEAR_ABOVE) -> bool:
    """Whether the MMD of n and m units is the linear-time statistic: they are many, and on both sides."""
    return n + m > linear_above and min(n, m) >= LINEAR_FROM


def _choose(units: Vectors, drawn: Float64, most: int) -> tuple[Vectors, Float64]:
    """At most so many units, from random places, always the same (a study's seed orders units), and their draws."""
    kept = np.sort(np.random.default_rng(0).permutation(len(units))[:most])
    return units[kept], drawn[:, kept]


def _mean_of_pairs(kernels: Float64, drawn: Float64) -> Float64:
    """[R] mean kernel of all drawn pairs of two different units."""
    own = drawn**2
    pairs = np.einsum("rn,nm,rm->r", drawn, kernels, drawn, optimize=True) - own @ np.diag(kernels)
    return _divide(pairs, drawn.sum(axis=1) ** 2 - own.sum(axis=1))


def _divide(totals: Float64, counts: Float64) -> Float64:
    return np.asarray(np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0))


def linear_terms(x: Vectors, y: Vectors, bandwidth: float) -> Float64:
    """[min(n, m) // 2] terms h((x_1, y_1), (x_2, y_2)), ... whose mean is the linear-time squared MMD.

    h is k(x_1, x_2) + k(y_1, y_2) - k(x_1, y_2) - k(x_2, y_1) (Gretton et al. 2012, Section 6).
    """
    x, y = _as_units(x), _as_units(y)
    terms = []
    for first in range(0, 2 * (min(len(x), len(y)) // 2), 2):
        (x_1, x_2), (y_1, y_2) = x[first : first + 2, None], y[first : first + 2, None]
        signed = ((x_1, x_2, 1), (y_1, y_2, 1), (x_1, y_2, -1), (x_2, y_1, -1))
        terms.append(sum(sign * pair_kernels(a, b, bandwidth)[0, 0] for a, b, sign in signed))
    return np.array(terms, np.float64)


def pair_kernels(x: Vectors, y: Vectors, bandwidth: float) -> Float64:
    """[n, m] mean of exp(-|a - b|^2 / (2 bandwidth^2)) over the vectors a of one unit of x and b of one of y."""
    x, y = _as_units(x), _as_units(y)
    means = np.empty((len(x), len(y)))
    step = max(1, BLOCK_BYTES // (8 * x.shape[1] * y.shape[0] * y.shape[1]))
    for first in range(0, len(x), step):
        block = x[first : first + step]
        kernels = _squared_distances(_flat(block), _flat(y))
        kernels *= -0.5 / bandwidth**2
        np.exp(kernels, out=kernels)
        means[first : first + step] = kernels.reshape(*block.shape[:2], *y.shape[:2]).mean(axis=(1, 3))
    return means


def median_bandwidth(x: Vectors, y: Vectors) -> float:
    """The median distance between two vectors of both sets together (Gretton et al. 2012, Section 8).

    Of more than 1000 vectors, 1000 evenly spaced ones stand for all. Where more than half of the pairs coincide it is
    the mean distance instead, and 1 where all do.
    """
    x, y = (side.reshape(-1, side.shape[-1]) for side in (x, y))
    spaced = np.linspace(0, len(x) + len(y) - 1, min(len(x) + len(y), MEDIAN_OF)).astype(np.int64)
    distances = pdist(np.concatenate([x[spaced[spaced < len(x)]], y[spaced[spaced >= len(x)] - len(x)]]))
    return float(np.median(distances)) or float(distances.mean()) or 1.0


def _squared_distances(x: Float64, y: Float64) -> Float64:
    """[N, M] squared distances by one matrix product, about a common centre so that little cancels."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squares = x @ y.T
    squares *= -2
    squares += np.einsum("nd,nd->n", x, x)[:, None]
    squares += np.einsum("md,md->m", y, y)
    return np.maximum(squares, 0, out=squares)


def sliced_wasserstein(x: Vectors, y: Vectors, *, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance: the root of the mean of W2^2 over random directions (Bonneel et al. 2015).

    Along a direction, W2^2 is the mean squared difference of the two quantile functions, exact for unequal sizes.
    For two sets of which one is the other moved by t it tends to |t| / sqrt(D) as the directions become more.

    Args:
        x: [n, D] or [n, P, D] float.
        y: [m, D] or [m, Q, D] float.
        directions, seed: number of directions, uniform on the sphere, and their seed.
    """
    squares = sliced_wasserstein_squares(x, y, each_once(x, y), directions=directions, seed=seed)
    return float(np.sqrt(squares[0]))


def sliced_wasserstein_squares(
    x: Vectors, y: Vectors, draws: Draws, *, directions: int = DIRECTIONS, seed: int = 0
) -> Float64:
    """[R] squared sliced 2-Wasserstein distance of each resample, along the same directions."""
    lines = np.random.default_rng(seed).standard_normal((x.shape[-1], directions))
    lines /= np.linalg.norm(lines, axis=0)
    n, m = (units.size // units.shape[-1] for units in (x, y))
    # the quantile functions are constant between the levels i / n and j / m; in units of 1 / (n m) these are whole
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    of_x, of_y, lengths = (ends - 1) // m, (ends - 1) // n, np.diff(ends, prepend=0) / (n * m)
    resamples = zip(_sorted_projections(x, lines, draws.x), _sorted_projections(y, lines, draws.y), strict=True)
    return np.array([np.square(a[:, of_x] - b[:, of_y]).mean(axis=0) @ lengths for a, b in resamples])


def _sorted_projections(x: Vectors, lines: Float64, drawn: Float64) -> Iterator[Float64]:
    """[L, N] projections in ascending order of each resample: sorted once, then repeated as often as they are drawn."""
    units = _as_units(x)
    projections = np.concatenate([unit @ lines for unit in units]).T  # one by one: no second copy of all in float64
    order = np.argsort(projections, axis=1, kind="stable")
    projections, owners = np.take_along_axis(projections, order, axis=1), order // units.shape[1]
    for counts in drawn.astype(np.int64):
        yield np.repeat(projections.ravel(), counts[owners].ravel()).reshape(len(projections), -1)


def frechet_distance(x: Vectors, y: Vectors) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the sets' means and covariances (Dowson and Landau 1982).

    |mean_x - mean_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), S with the divisor N - 1 (the convention of the FID).
    With S_x = A A^T and S_y = B B^T the last trace is the sum of the singular values of A^T B. A and B are factors of
    the centred vectors themselves, so no root of a small eigenvalue is taken: singular covariances lose no precision,
    and where there are fewer vectors than dimensions all happens in their span.

    Args:
        x: [n, D] or [n, P, D] float, at least two vectors.
        y: [m, D] or [m, Q, D] float, at least two vectors.

    Raises:
        Undefined: if a set has fewer than two vectors.
    """
    return float(frechet_distances(x, y, each_once(x, y))[0])


def frechet_distances(x: Vectors, y: Vectors, draws: Draws) -> Float64:
    """[R] Fréchet distance of each resample."""
    values = []
    for drawn_x, drawn_y in zip(draws.x, draws.y, strict=True):
        (mean_x, factor_x), (mean_y, factor_y) = _gaussian(x, drawn_x), _gaussian(y, drawn_y)
        common = np.linalg.svd(factor_x @ factor_y.T, compute_uv=False).sum()
        spread = np.square(factor_x).sum() + np.square(factor_y).sum() - 2 * common
        values.append(np.square(mean_x - mean_y).sum() + max(0.0, spread))
    return np.array(values)


def _gaussian(x: Vectors, drawn: Float64) -> tuple[Float64, Float64]:
    """Mean [D] and a factor F [at most D, D] of the covariance F^T F."""
    units = _as_units(x)
    weights = np.repeat(drawn, units.shape[1])
    vectors, weights = _flat(units)[weights > 0], weights[weights > 0]
    total = weights.sum()
    if total < 2:
        raise Undefined("fewer than two vectors on one side")
    mean = weights @ vectors / total
    centred = (vectors - mean) * np.sqrt(weights / (total - 1))[:, None]
    factor = centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred, mode="r")
    return np.asarray(mean), np.asarray(factor)


def cosine_distance(x: Vectors, y: Vectors) -> float:
    """1 - cosine of the angle between the two mean vectors: 0 for one direction, 2 for opposite ones.

    Raises:
        Undefined: if a mean is zero.
    """
    return float(cosine_distances(x, y, each_once(x, y))[0])


def cosine_distances(x: Vectors, y: Vectors, draws: Draws) -> Float64:
    """[R] cosine distance of each resample."""
    units = []
    for means in (mean_vectors(x, draws.x), mean_vectors(y, draws.y)):
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        if not norms.all():
            raise Undefined("a mean vector is zero")
        units.append(means / norms)
    # the same as 1 - cosine, but exact where the angle is small
    return np.asarray(np.square(units[0] - units[1]).sum(axis=1) / 2)


def feature_drift(x: Vectors, y: Vectors) -> float:
    """|mean(y) - mean(x)| / |mean(x)|: the relative change of the mean vector from x to y; not symmetric.

    Raises:
        Undefined: if the mean of x is zero.
    """
    return float(np.sqrt(drift_squares(x, y, each_once(x, y))[0]))


def drift_squares(x: Vectors, y: Vectors, draws: Draws) -> Float64:
    """[R] squared drift of each resample."""
    start, end = mean_vectors(x, draws.x), mean_vectors(y, draws.y)
    lengths = np.square(start).sum(axis=1)
    if not lengths.all():
        raise Undefined("a mean vector is zero")
    return np.asarray(np.square(end - start).sum(axis=1) / lengths)


def mean_vectors(x: Vectors, drawn: Float64) -> Float64:
    """[R, D] mean vector of each resample."""
    means = _as_units(x).mean(axis=1, dtype=np.float64) if x.ndim == 3 else x
    return np.asarray(drawn @ means / drawn.sum(axis=1, keepdims=True))


def _as_units(x: Vectors) -> Vectors:
    """[n, P, D]."""
    return x[:, None] if x.ndim == 2 else x


def _flat(x: Vectors) -> Float64:
    """All vectors, [N, D] float64."""
    return x.reshape(-1, x.shape[-1]).astype(np.float64)
