"""Choose which patch embeddings a memory bank keeps.

Greedy k-centre (Gonzalez 1985; Roth et al. 2022, Algorithm 1) takes, again and again, the point farthest from all
points taken so far. The textbook loop streams all points through memory for every pick. Here many picks are made
inside a small set of candidates, the farthest points known, and all points are visited once for many picks, in a
blocked matrix product. docs/design/002-lazy-greedy-coreset.md tells why the picks are still the textbook loop's.

Tested in tests/detectors/test_coreset.py; measured in benchmarks/coreset.py.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.features.parallel import one_blas_thread

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

CANDIDATE_VALUES = 2**18  # 1 MiB of float32: the candidates stay in cache while picks are made among them
FEWEST_CANDIDATES = 1024
BLOCK_ROWS = 1024  # of points, against up to MOST_PENDING new picks: so that a block of distances stays in cache
MOST_PENDING = 1024


def random_subset(points: Float32, size: int, *, seed: int) -> Int64:
    """Choose `size` different rows, all subsets being equally likely.

    Args:
        points: [N, D] patch embeddings.
        size: number of rows to keep, 1 <= size <= N.
        seed: equal seeds choose equal rows, on every machine.

    Returns:
        [size] rows, in the order drawn.

    Raises:
        ValueError: if `size` is out of range.
    """
    _check_size(points, size)
    return np.random.default_rng(seed).permutation(len(points))[:size]


def greedy_coreset(points: Float32, size: int, *, start: int) -> Int64:
    """Pick rows by exact greedy k-centre: each is the point farthest from all earlier picks, of equals the lowest row.

    Args:
        points: [N, D] patch embeddings; contiguous float32 is not copied.
        size: number of rows to pick, 1 <= size <= N. Once every point coincides with a picked one, all are equally
            far, and row 0 is picked again and again.
        start: row of the first pick.

    Returns:
        [size] rows, in the order picked: those of the textbook loop in float64. Float32 only prunes, and comparisons
        that its rounding could turn are decided in float64, so the picks do not hang on threads or on the BLAS;
        docs/design/002-lazy-greedy-coreset.md states the assumption behind.

    Raises:
        ValueError: if `size` or `start` is out of range, or if a point is not finite.
    """
    return trace_greedy(points, size, start=start)[0]


def trace_greedy(
    points: Float32,
    size: int,
    *,
    start: int,
    initial: Float64 | None = None,
    weights: Float64 | None = None,
    candidates: int | None = None,
) -> tuple[Int64, Float64]:
    """`greedy_coreset` and how well it covers the points as it grows.

    Args:
        points: [N, D] patch embeddings.
        size: number of rows to pick, 1 <= size <= N.
        start: row of the first pick.
        initial: [N] what a point's distance is at most, from before the first pick; None: no bound.
        weights: [N] positive; a pick is the point whose distance times its weight is largest (weighted k-centre, Dyer
            and Frieze 1985). None: all 1.
        candidates: points among which picks are made between two passes over all points; it changes the time, not the
            result. Default: as many as fit in cache.

    Returns:
        `(picks, reach)`: [size] rows as `greedy_coreset` returns them; [size] Euclidean distance of each pick when it
        was picked, infinite for the first. Without `initial` and `weights`, `reach[k]` is the covering radius of the
        first k picks.

    Raises:
        ValueError: as `greedy_coreset`.
    """
    _check_size(points, size)
    if not 0 <= start < len(points):
        raise ValueError(f"start must be a row in [0, {len(points) - 1}], got {start}")
    points = np.ascontiguousarray(points, np.float32)
    count = min(len(points), candidates or max(FEWEST_CANDIDATES, CANDIDATE_VALUES // points.shape[1]))
    with one_blas_thread() as threads:
        cover = _Cover(points, threads, initial, weights)
        picks, nearest_picks = _pick(cover, size, start, count)
    reach = np.zeros(size)
    reach[: len(picks)] = np.sqrt(cover.exact(np.array(picks), np.array(nearest_picks)))
    reach[0] = np.inf
    return np.array(picks + [0] * (size - len(picks)), np.int64), reach


def _pick(cover: "_Cover", size: int, start: int, candidates: int) -> tuple[list[int], list[int]]:
    """At most `size` picks and the nearest earlier pick of each; fewer where no point is left at a distance."""
    picks, nearest_picks = [start], [start]
    pending = 1  # of the latest picks, those that `cover` has not seen
    while len(picks) < size:
        cover.add(np.array(picks[-pending:]))
        rows, bound = cover.farthest(candidates)
        inside, squares = cover.centred(rows), cover.point_squares[rows]
        squared, nearest = cover.squared[rows], cover.nearest[rows]
        factors = None if cover.factors is None else cover.factors[rows]
        pending = 0
        while len(picks) < size and pending < MOST_PENDING:
            urgency = squared if factors is None else squared * factors
            best = urgency.max()
            if best <= bound + cover.urgency_margin:  # a point outside may be as far
                break
            close = np.flatnonzero(urgency >= best - cover.urgency_margin)
            pick = int(close[cover.most_urgent(rows[close], nearest[close])[0]] if len(close) > 1 else close[0])
            picks.append(int(rows[pick]))
            nearest_picks.append(int(nearest[pick]))
            pending += 1
            to_pick = inside @ inside[pick]
            to_pick *= -2
            to_pick += squares
            to_pick += squares[pick]
            closer = to_pick < squared
            doubtful = np.flatnonzero(np.abs(to_pick - squared) <= cover.margin)
            if len(doubtful):
                unsure = rows[doubtful]
                closer[doubtful] = cover.exact(unsure, rows[[pick]]) < cover.exact(unsure, nearest[doubtful])
            np.copyto(squared, to_pick, where=closer)
            np.copyto(nearest, rows[pick], where=closer)
        if not pending:  # more points tie, as far as float32 can tell, than there are candidates
            close = np.flatnonzero(cover.urgency() >= best - cover.urgency_margin)
            pick, exact = cover.most_urgent(close, cover.nearest[close])
            if exact == 0:
                break
            picks.append(int(close[pick]))
            nearest_picks.append(int(cover.nearest[close[pick]]))
            pending = 1
    return picks, nearest_picks


def covering_radius(points: Float32, rows: Int64) -> float:
    """The largest Euclidean distance of any point from its nearest chosen one, in the units of `points`.

    Args:
        points: [N, D] patch embeddings.
        rows: [M] chosen rows.

    Raises:
        ValueError: if a point is not finite.
    """
    rows = rows[np.unique(points[rows], axis=0, return_index=True)[1]]  # equal ones would tie at every point
    with one_blas_thread() as threads:
        cover = _Cover(points, threads)
        for first in range(0, len(rows), MOST_PENDING):
            cover.add(rows[first : first + MOST_PENDING])
    farthest = np.flatnonzero(cover.squared >= cover.squared.max() - cover.margin)
    return float(np.sqrt(cover.most_urgent(farthest, cover.nearest[farthest])[1]))


class _Cover:
    """How far every point is from the picks added so far.

    Products are of points minus `centre`, taken block by block: far from the origin, rounding would drown distances.

    Attributes:
        centre: [D] float32, about the mean of the points.
        squared: [N] float32 squared distance to the nearest pick, with rounding error.
        nearest: [N] row of that pick, as float64 has it; -1 while `initial` is smaller.
        initial: [N] float64 squared distance from what there is before the first pick; None: nothing.
        factors: [N] squared weights; urgency is the squared distance times the factor. None: all 1.
        point_squares: [N] float32 squared distance from the centre.
        margin: two squared distances that differ by less may be in the other order without rounding.
        urgency_margin: the same of urgencies.
    """

    def __init__(
        self, points: Float32, threads: int, initial: Float64 | None = None, weights: Float64 | None = None
    ) -> None:
        self.points = points
        self.initial = None if initial is None else initial**2
        self.factors = None if weights is None else weights**2
        self.threads = threads
        self.point_squares = np.empty(len(points), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            self.centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
            for first in range(0, len(points), BLOCK_ROWS):
                block = slice(first, first + BLOCK_ROWS)
                centred = self.centred(block)
                np.einsum("nd,nd->n", centred, centred, out=self.point_squares[block])
        if not np.isfinite(self.point_squares).all():
            raise ValueError("points must be finite, with squared distances from their mean within float32")
        self.squared = np.full(len(points), np.inf if self.initial is None else self.initial, np.float32)
        self.nearest = np.full(len(points), -1, np.int64)
        # Rounding errors of a float32 scalar product of D terms behave like a random walk of sqrt(D) steps (Higham and
        # Mary 2019): the factor 8 leaves several standard deviations on both sides of a comparison.
        unit = np.finfo(np.float32).eps / 2
        self.margin = np.float32(8 * unit * np.sqrt(points.shape[1] + 8) * self.point_squares.max())
        self.urgency_margin = self.margin * np.float32(1 if self.factors is None else self.factors.max())

    def centred(self, rows: Int64 | slice) -> Float32:
        """The points of some rows minus the centre."""
        return np.asarray(self.points[rows] - self.centre)

    def add(self, picks: Int64) -> None:
        """Shorten the distances to those from `picks`, at most MOST_PENDING of them."""
        centres = np.ascontiguousarray(self.centred(picks).T)
        centres *= -2  # a power of two: no rounding
        # Each thread multiplies blocks of its own: so the sums and minima between the products are shared out, too.
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda first: self._add_to_blocks(picks, centres, first), range(self.threads)))

    def _add_to_blocks(self, picks: Int64, centres: Float32, first_block: int) -> None:
        centre_squares = self.point_squares[picks]
        buffer = np.empty((BLOCK_ROWS, len(picks)), np.float32)
        for first in range(first_block * BLOCK_ROWS, len(self.points), self.threads * BLOCK_ROWS):
            block = slice(first, min(first + BLOCK_ROWS, len(self.points)))
            partial = buffer[: block.stop - first]  # squared distances but for the squares of the points
            np.matmul(self.centred(block), centres, out=partial)
            partial += centre_squares
            every, choice = np.arange(len(partial)), partial.argmin(axis=1)
            least = partial[every, choice]
            partial[every, choice] = np.inf
            second = partial.min(axis=1) + self.point_squares[block]
            partial[every, choice] = least
            least += self.point_squares[block]
            before = self.squared[block]
            limit = np.minimum(least, before) + self.margin  # a pick beyond cannot be the nearest
            contested = np.flatnonzero((least <= limit) & ((second <= limit) | (before <= limit)))
            pairs = self._contenders(first + contested, partial[contested], limit[contested], picks)
            closer = least < before
            np.copyto(before, least, where=closer)  # a view
            np.copyto(self.nearest[block], picks[choice], where=closer)
            self._settle(*pairs)

    def _contenders(self, rows: Int64, partial: Float32, limit: Float32, picks: Int64) -> tuple[Int64, Int64]:
        """Pairs of a row and a pick, new or the nearest so far, at a squared distance of at most the row's limit."""
        row, pick = np.nonzero(partial <= (limit - self.point_squares[rows])[:, None])
        staying = rows[self.squared[rows] <= limit]
        return np.concatenate([rows[row], staying]), np.concatenate([picks[pick], self.nearest[staying]])

    def _settle(self, rows: Int64, picks: Int64) -> None:
        """Let float64 decide which of its `picks` is nearest to each of `rows`."""
        farthest_first = np.argsort(-self.exact(rows, picks))
        self.nearest[rows[farthest_first]] = picks[farthest_first]  # of a row's picks, the last written remains

    def urgency(self) -> npt.NDArray[np.floating[Any]]:
        """[N] squared distance of each point times its factor."""
        return self.squared if self.factors is None else self.squared * self.factors

    def farthest(self, count: int) -> tuple[Int64, float]:
        """The `count` most urgent rows in ascending order, and a bound on the urgency of all others."""
        if count == len(self.points):
            return np.arange(count), 0.0
        urgency = self.urgency()
        rows = np.sort(np.argpartition(urgency, len(self.points) - count)[-count:])
        return rows, float(urgency[rows].min())

    def most_urgent(self, rows: Int64, nearest: Int64) -> tuple[int, float]:
        """Index into `rows` of the most urgent one in float64, the first of equals; its squared distance."""
        squared = self.exact(rows, nearest)
        best = int((squared if self.factors is None else squared * self.factors[rows]).argmax())
        return best, float(squared[best])

    def exact(self, rows: Int64, picks: Int64) -> Float64:
        """Squared distances of rows from picks (or from one) in float64; from `initial` where the pick is -1."""
        squared = _squared_distances(self.points, rows, picks)
        if self.initial is not None:
            before = np.broadcast_to(picks, rows.shape) < 0
            squared[before] = self.initial[rows[before]]
        return squared


def _squared_distances(points: Float32, left: Int64, right: Int64) -> Float64:
    """Squared distances of rows from rows (or from one) in float64; equal vectors give equal bits everywhere."""
    right = np.broadcast_to(right, left.shape)
    squared = np.empty(len(left))
    for first in range(0, len(left), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        difference = points[left[block]].astype(np.float64)
        difference -= points[right[block]]
        difference *= difference
        difference.sum(axis=1, out=squared[block])
    return squared


def _check_size(points: Float32, size: int) -> None:
    if not 1 <= size <= len(points):
        raise ValueError(f"coreset size must be in [1, {len(points)}], got {size}")
