"""Choose patch embeddings that do not all fit into memory at a time.

They are read in shards of whole images. Greedy k-centre chooses from each shard, and then from all that was chosen
there; docs/design/011-sharded-fitting.md says what that may cost. A random choice reads the drawn patches alone.
Tested in tests/detectors/test_shards.py; measured in benchmarks/fitting.py.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from patchshift.detectors.coreset import random_subset, trace_greedy
from patchshift.detectors.patches import PatchSource
from patchshift.features.parallel import map_in_threads

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

Picks = tuple[Float32, Int64]
"""Vectors [k, D] in the order picked, and the image that each comes from [k]."""

PIECE_MB = 32  # of patches, in a pass over all of them
BESIDE = 64  # bytes that choosing keeps beside each patch: distances, nearest picks, weights, an ordering
BLOCK = 1024  # patches whose distances from as many vectors a thread computes at a time


def bytes_of_patch(dimension: int, directions: Float32 | None) -> int:
    """What one patch takes while vectors are chosen or the radius is measured: itself, its projection, `BESIDE`."""
    return 4 * (dimension + (0 if directions is None else directions.shape[1])) + BESIDE


def count_shards(source: PatchSource, images: Int64, size: int, *, patch_bytes: int, memory: float) -> tuple[int, int]:
    """In how many shards to read some images.

    A shard shares the memory with what is chosen from all shards, which then takes its place, beside what is chosen of
    that. In the end these vectors share it with the patches of one image or more (`measure_radius`).

    Args:
        source: of their patches.
        images: rows of the images.
        size: patches that are chosen from each shard, and in the end.
        patch_bytes: bytes of a patch while it may be chosen, with all that choosing keeps beside it.
        memory: bytes that there are.

    Returns:
        `(shards, needed)`: the least number that fits, or 0 if none does; and the least bytes that would do.
    """
    shards = np.arange(1, len(images) + 1)
    needed = bytes_needed(source, images, size, shards=shards, patch_bytes=patch_bytes)
    fitting = shards[needed <= memory]
    return int(fitting[0]) if len(fitting) else 0, int(needed.min())


def bytes_needed(source: PatchSource, images: Int64, size: int, *, shards: Int64, patch_bytes: int) -> Int64:
    """The bytes that it takes to choose from so many shards, one number for each; see `count_shards`."""
    total = source.counts[images].sum()
    largest = np.minimum(-(-len(images) // shards) * source.counts[images].max(initial=0), total)
    chosen = np.minimum(shards * size, total)
    first = largest * patch_bytes + chosen * 4 * source.dimension
    second = chosen * patch_bytes + size * 4 * source.dimension
    measured = (size + source.counts[images].max(initial=0)) * patch_bytes
    return np.asarray(np.where(shards > 1, np.maximum(np.maximum(first, second), measured), first))


def choose_from_shard(
    source: PatchSource,
    images: Int64,
    size: int,
    *,
    seed: int,
    directions: Float32 | None = None,
    out: Float32 | None = None,
) -> Picks:
    """The first of the two rounds of `choose_from_shards`, for one shard.

    Args:
        source: the patches.
        images: rows of the images of the shard.
        size: how many vectors; all patches that the shard has, where these are fewer.
        seed: of the first pick.
        directions: see `choose_from_shards`.
        out: [k, D] where the vectors are to go; None: a new array.
    """
    count = int(source.counts[images].sum())
    vectors = np.empty((min(size, count), source.dimension), np.float32) if out is None else out
    if not count:
        return vectors, np.empty(0, np.int64)
    patches = source.read(images)
    start = int(np.random.default_rng(seed).integers(count))
    picks, _ = trace_greedy(project(patches, directions), len(vectors), start=start)
    np.take(patches, picks, axis=0, out=vectors, mode="clip")  # others make a copy first
    return vectors, source.images_of(images, picks)


def choose_from_shards(
    source: PatchSource,
    shards: Sequence[Int64],
    size: int,
    *,
    seed: int,
    directions: Float32 | None = None,
    read_picks: Callable[[int], Picks] | None = None,
) -> Picks:
    """Greedy k-centre in two rounds (composable coresets; Malkomes et al. 2015).

    From each shard are chosen as many vectors as in the end, or all it has; then from these. No patch is farther from
    the result than four times the best covering radius that so many patches can have, where a single round over all
    patches promises twice. With one shard it is that single round.

    Args:
        source: the patches.
        shards: rows of the images of each; some may be empty.
        size: how many vectors, at most as many as there are patches.
        seed: of the first pick of each shard.
        directions: [D, d] what patches are projected with before distances are taken; None: nothing.
        read_picks: what `choose_from_shard` has chosen from a shard, by its place in `shards`; None: it does so here.

    Returns:
        The vectors [size, D], and the image that each comes from.
    """
    counts = [int(source.counts[images].sum()) for images in shards]
    stops = np.cumsum([min(size, count) for count in counts])
    union = np.empty((stops[-1], source.dimension), np.float32)
    union_images = np.empty(stops[-1], np.int64)
    for number, (images, count, stop) in enumerate(zip(shards, counts, stops, strict=True)):
        own = slice(stop - min(size, count), stop)
        if read_picks is None:
            _, union_images[own] = choose_from_shard(
                source, images, size, seed=seed, directions=directions, out=union[own]
            )
        else:
            union[own], union_images[own] = read_picks(number)
    if len(union) == size:
        return union, union_images
    picks, _ = trace_greedy(project(union, directions), size, start=0)
    return union[picks], union_images[picks]


def draw_patches(source: PatchSource, images: Int64, size: int, *, seed: int) -> tuple[Float32, Int64]:
    """Different patches of some images, all subsets being equally likely: those that `random_subset` draws of all.

    Args:
        source: the patches.
        images: rows of the images.
        size: how many.
        seed: of the draw.

    Returns:
        `(vectors, images)`: [size, D] float32 in the order drawn, and the image that each comes from.
    """
    total = int(source.counts[images].sum())
    rows = random_subset(np.empty((total, 0), np.float32), size, seed=seed)  # of which it takes the length alone
    return read_rows(source, images, rows), source.images_of(images, rows)


def read_rows(source: PatchSource, images: Int64, rows: Int64) -> Float32:
    """Some rows among the patches of `images`, in any order: [len(rows), D] float32; other images are not read."""
    vectors = np.empty((len(rows), source.dimension), np.float32)
    ends = np.cumsum(source.counts[images])
    places = np.searchsorted(ends, rows, side="right")  # which of `images` each row is of
    inside = rows - (ends - source.counts[images])[places]
    needed = np.unique(places)
    for piece, patches in _read_pieces(source, images[needed], _piece_size(source)):
        some = needed[piece]
        wanted = np.flatnonzero((places >= some[0]) & (places <= some[-1]))
        counts = source.counts[images[some]]
        starts = np.cumsum(counts) - counts  # of each image among the patches just read
        vectors[wanted] = patches[starts[np.searchsorted(some, places[wanted])] + inside[wanted]]
    return vectors


def measure_radius(
    source: PatchSource, vectors: Float32, *, directions: Float32 | None = None, memory: float = math.inf
) -> float:
    """The largest Euclidean distance of any patch to the nearest of some vectors, in a pass over all patches.

    Exact: float32 finds what may be nearest or farthest, float64 decides.

    Args:
        source: the patches.
        vectors: [M, D] float32.
        directions: see `choose_from_shards`; distances are those of what is projected.
        memory: bytes for the vectors and the patches that are read at a time; one image is, whatever it says.

    Raises:
        ValueError: if a patch or a vector is not finite.
    """
    each = bytes_of_patch(source.dimension, directions)
    most = min(_piece_size(source), max(0.0, memory - len(vectors) * each) // each)
    cover = _Cover(project(vectors, directions))
    radius = 0.0
    for _, patches in _read_pieces(source, np.arange(len(source.present)), int(most)):
        radius = max(radius, cover.farthest(project(patches, directions)))
        del patches  # before the next are read: memory holds one piece
    return radius


def farthest_distance(patches: Float32, vectors: Float32) -> float:
    """`measure_radius` of patches [N, D] in memory."""
    return _Cover(vectors).farthest(patches)


class _Cover:
    """Vectors [M, d] whose distances from patches are taken about their mean, or rounding would drown them."""

    def __init__(self, vectors: Float32) -> None:
        self._vectors = vectors
        self._centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        # Equal ones would tie at every patch. Their bytes, with one zero, are compared by a digest of 128 bits.
        digests = [blake2b((vector + 0).tobytes(), digest_size=16).digest() for vector in vectors]
        self._rows = np.unique(np.array(digests, "V16"), return_index=True)[1]
        self._blocks = [slice(first, first + BLOCK) for first in range(0, len(self._rows), BLOCK)]
        self._squares = np.concatenate([_squares(self._centred(some)) for some in self._blocks])

    def farthest(self, patches: Float32) -> float:
        """The largest distance of any of some patches [N, d] from the nearest vector; 0 of none."""
        blocks = range(0, len(patches), BLOCK)
        return math.sqrt(
            max(map_in_threads(lambda block: self._farthest(patches[blocks[block] :][:BLOCK]), len(blocks)), default=0)
        )

    def _farthest(self, patches: Float32) -> float:
        centred = patches - self._centre
        squares = _squares(centred)
        largest = max(squares.max(), self._squares.max())
        if not np.isfinite(largest):
            raise ValueError("patches must be finite, with squared distances from their mean within float32")
        margin = np.float32(8 * np.finfo(np.float32).eps / 2 * np.sqrt(patches.shape[1] + 8) * largest)  # see `coreset`
        nearest = np.min([self._partial(centred, some).min(axis=1) for some in self._blocks], axis=0)
        reached = nearest + squares
        far = np.flatnonzero(reached >= reached.max() - margin)
        exact = np.full(len(far), np.inf)
        for some in self._blocks:
            row, column = np.nonzero(self._partial(centred[far], some) <= (nearest[far] + margin)[:, None])
            near = self._rows[some][column]
            for first in range(0, len(row), BLOCK):
                pairs = slice(first, first + BLOCK)
                difference = patches[far[row[pairs]]].astype(np.float64) - self._vectors[near[pairs]]
                np.minimum.at(exact, row[pairs], np.square(difference).sum(axis=1))
        return float(exact.max())

    def _centred(self, some: slice) -> Float32:
        vectors = self._vectors[self._rows[some]]
        vectors -= self._centre
        return vectors

    def _partial(self, centred: Float32, some: slice) -> Float32:
        """Squared distances from some vectors, but for the squares of the patches."""
        vectors = self._centred(some)
        vectors *= -2
        partial: Float32 = centred @ vectors.T
        partial += self._squares[some]
        return partial


def _squares(vectors: Float32) -> Float32:
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        return np.asarray(np.einsum("nd,nd->n", vectors, vectors))


def project(patches: Float32, directions: Float32 | None) -> Float32:
    """Patches [N, D] as distances between them are taken: [N, d], or as they are."""
    return patches if directions is None else patches @ directions


def _read_pieces(source: PatchSource, images: Int64, most: int) -> Iterator[tuple[slice, Float32]]:
    """A few images at a time: which of `images`, and their patches; at most so many, but one image at least."""
    size = max(1, most // source.present.shape[1])
    for first in range(0, len(images), size):
        piece = slice(first, min(first + size, len(images)))
        yield piece, source.read(images[piece])


def _piece_size(source: PatchSource) -> int:
    """Patches of `PIECE_MB`."""
    return PIECE_MB * 2**20 // (4 * source.dimension)
