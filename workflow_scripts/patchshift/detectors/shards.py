"""Choose patch embeddings that do not all fit into memory at a time.

They are read in shards of whole images. Greedy k-centre chooses from each shard, and then from all that was chosen
there; docs/design/011-sharded-fitting.md says what that may cost. A random choice reads the drawn patches alone.
Tested in tests/detectors/test_shards.py; measured in benchmarks/fitting.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from patchshift.detectors.coreset import covering_radius, random_subset, trace_greedy

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

PIECE_MB = 32  # of patches, in a pass over all of them
VECTORS_PER_PIECE = 4  # at least so many patches for each vector in such a pass, whose vectors are prepared for each


@dataclass(frozen=True)
class PatchSource:
    """Patches that are read when they are needed.

    Attributes:
        present: [n, P] which positions of each of n images give a patch.
        dimension: D, the length of a patch embedding.
        read: rows of images, ascending -> [N, D] float32, their patches in order. Not to be written to.
    """

    present: Bool
    dimension: int
    read: Callable[[Int64], Float32]

    @cached_property
    def counts(self) -> Int64:
        """[n] patches of each image."""
        return np.asarray(np.count_nonzero(self.present, axis=1))

    def positions(self, images: Int64) -> Int64:
        """The position of each patch of some images."""
        return np.nonzero(self.present[images])[1]

    def images_of(self, images: Int64, rows: Int64) -> Int64:
        """The image of each of some rows among the patches of `images`."""
        return np.asarray(images[np.searchsorted(np.cumsum(self.counts[images]), rows, side="right")])


def count_shards(source: PatchSource, images: Int64, size: int, *, patch_bytes: int, memory: float) -> tuple[int, int]:
    """In how many shards to read some images.

    A shard shares the memory with what is chosen from all shards, which then takes its place.

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
    total = source.counts[images].sum()
    largest = np.minimum(-(-len(images) // shards) * source.counts[images].max(initial=0), total)
    chosen = np.minimum(shards * size, total)
    first = largest * patch_bytes + chosen * 4 * source.dimension
    needed = np.maximum(first, np.where(shards > 1, chosen * patch_bytes, 0))
    fitting = shards[needed <= memory]
    return int(fitting[0]) if len(fitting) else 0, int(needed.min())


def choose_from_shards(
    source: PatchSource, shards: Sequence[Int64], size: int, *, seed: int, directions: Float32 | None = None
) -> tuple[Float32, Int64]:
    """Greedy k-centre in two rounds (composable coresets; Malkomes et al. 2015).

    From each shard are chosen as many vectors as in the end, or all it has; then from these. No patch is farther from
    the result than four times the best covering radius that so many patches can have, where a single round over all
    patches promises twice. With one shard it is that single round.

    Args:
        source: the patches.
        shards: rows of the images of each, not empty.
        size: how many vectors, at most as many as there are patches.
        seed: of the first pick of each shard.
        directions: [D, d] what patches are projected with before distances are taken; None: nothing.

    Returns:
        `(vectors, images)`: [size, D] float32 in the order picked, and the image that each comes from.
    """
    counts = [int(source.counts[images].sum()) for images in shards]
    stops = np.cumsum([min(size, count) for count in counts])
    union = np.empty((stops[-1], source.dimension), np.float32)
    union_images = np.empty(stops[-1], np.int64)
    for images, count, stop in zip(shards, counts, stops, strict=True):
        if not count:
            continue
        patches = source.read(images)
        start = int(np.random.default_rng(seed).integers(count))
        picks, _ = trace_greedy(project(patches, directions), min(size, count), start=start)
        union[stop - len(picks) : stop] = patches[picks]
        union_images[stop - len(picks) : stop] = source.images_of(images, picks)
        del patches  # before the next are read: memory holds one shard
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
    for piece, patches in _read_pieces(source, images[needed]):
        some = needed[piece]
        wanted = np.flatnonzero((places >= some[0]) & (places <= some[-1]))
        counts = source.counts[images[some]]
        starts = np.cumsum(counts) - counts  # of each image among the patches just read
        vectors[wanted] = patches[starts[np.searchsorted(some, places[wanted])] + inside[wanted]]
    return vectors


def measure_radius(source: PatchSource, vectors: Float32, *, directions: Float32 | None = None) -> float:
    """The largest Euclidean distance of any patch to the nearest of some vectors, in a pass over all patches.

    Args:
        source: the patches.
        vectors: [M, D] float32.
        directions: see `choose_from_shards`; distances are those of what is projected.
    """
    projected, radius = project(vectors, directions), 0.0
    rows = np.unique(projected, axis=0, return_index=True)[1]  # equal ones would tie at every patch
    chosen = projected[np.sort(rows)]
    for _, patches in _read_pieces(source, np.arange(len(source.present)), VECTORS_PER_PIECE * len(chosen)):
        points = np.empty((len(chosen) + len(patches), chosen.shape[1]), np.float32)
        points[: len(chosen)] = chosen
        points[len(chosen) :] = project(patches, directions)
        radius = max(radius, covering_radius(points, np.arange(len(chosen))))
        del patches, points  # before the next are read: memory holds one piece
    return radius


def project(patches: Float32, directions: Float32 | None) -> Float32:
    """Patches [N, D] as distances between them are taken: [N, d], or as they are."""
    return patches if directions is None else patches @ directions


def _read_pieces(source: PatchSource, images: Int64, least: int = 1) -> Iterator[tuple[slice, Float32]]:
    """A few images at a time: which of `images`, and their patches; about `PIECE_MB`, or `least` patches if more."""
    most = max(least, PIECE_MB * 2**20 // (4 * source.dimension))
    size = max(1, most // source.present.shape[1])
    for first in range(0, len(images), size):
        piece = slice(first, min(first + size, len(images)))
        yield piece, source.read(images[piece])
