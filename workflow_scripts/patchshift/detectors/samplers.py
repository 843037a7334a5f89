"""Which vectors a memory bank keeps of the training patches.

Tested in tests/detectors/test_samplers.py.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.detectors.coreset import covering_radius, random_subset, trace_greedy
from patchshift.detectors.kmeans import centroids, nearest_rows
from patchshift.detectors.patches import PatchSource, unit_vectors
from patchshift.detectors.quotas import Quota, draw_directions, set_quotas
from patchshift.detectors.sharding import Sharding, choose_from_quota
from patchshift.detectors.shards import (
    bytes_of_patch,
    choose_from_shards,
    count_shards,
    draw_patches,
    farthest_distance,
    measure_radius,
    project,
)
from patchshift.errors import UserError
from patchshift.plan.sampling_specs import SamplerSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

LEAST_WEIGHT = 1e-3
"""Of a position, relative to the mean: patches that never vary are still covered in the end."""

BLOCK = 65536  # patches whose distances are computed at a time
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The vectors of a bank.

    Attributes:
        vectors: [M, D] float32.
        images: [M] the image that each comes from; a centroid: that of the patch nearest to it.
        radius: covering radius: the largest Euclidean distance of a patch to the nearest of them, projected as the
            sampler says; of a pool with a quota for each category, in the projection that suits all its patches.
    """

    vectors: Float32
    images: Int64
    radius: float


def choose(spec: SamplerSpec, patches: Float32, *, images: int, seed: int, unit: bool = False) -> tuple[Float32, float]:
    """`sample` of patches in memory: the vectors and their covering radius.

    Args:
        spec: which sampler, how many.
        patches: [N, D] float32 embeddings, image by image, each with the same positions.
        images: how many images they come from.
        seed: of all random choices.
        unit: whether they are divided by their length.

    Raises:
        UserError: as `sample`.
    """
    present = np.ones((images, len(patches) // images), np.bool_)
    source = PatchSource(present, patches.shape[1], lambda _: patches, unit)
    sampled = sample(spec, source, memory_mb=math.inf, seed=seed)
    return sampled.vectors, sampled.radius


def sample(
    spec: SamplerSpec,
    source: PatchSource,
    *,
    memory_mb: float,
    seed: int,
    members: Sequence[str] = (),
    member_of: npt.NDArray[np.int16] | None = None,
    sharding: Sharding | None = None,
) -> Sample:
    """Choose the vectors of a bank.

    Args:
        spec: which sampler, how many.
        source: the training patches.
        memory_mb: memory for patches and what choosing keeps beside them, in MB.
        seed: of all random choices.
        members: the categories of a pool, for `per_category`.
        member_of: [n] index into `members` of each image.
        sharding: the shards to choose from, greedily; None: in as few as memory allows, where it does not allow one.

    Raises:
        UserError: if more patches are asked for than there are, or the memory does not allow the choice.
    """
    quotas = set_quotas(spec, source, members, member_of)
    limits: dict[str, Any] = {"memory_mb": memory_mb, "seed": seed}
    parts = [
        _choose(spec, source, quota, **limits)
        if sharding is None
        else Sample(*choose_from_quota(spec, source, quota, place=place, sharding=sharding, **limits), math.nan)
        for place, quota in enumerate(quotas)
    ]
    whole = parts[0]
    if len(parts) > 1:
        vectors, of = np.concatenate([part.vectors for part in parts]), np.concatenate([part.images for part in parts])
        whole = Sample(vectors, of, math.nan)
        del parts  # memory holds the vectors once
    if not math.isnan(whole.radius):
        return whole
    directions = draw_directions(spec, source.dimension, int(source.counts.sum()), seed)
    radius = measure_radius(source, whole.vectors, directions=directions, memory=memory_mb * 1e6)
    return replace(whole, radius=radius)


def _choose(
    spec: SamplerSpec,
    source: PatchSource,
    quota: Quota,
    *,
    memory_mb: float,
    seed: int,
) -> Sample:
    """Choose what a quota says; the radius is NaN where not all patches were in memory at a time."""
    images, size = quota.images, quota.size
    count = int(source.counts[images].sum())
    directions = draw_directions(spec, source.dimension, count, seed)
    patch_bytes = bytes_of_patch(source.dimension, directions)
    if spec.method == "kmeans":  # it works on a copy about the mean
        patch_bytes += 4 * source.dimension
    shards, needed = count_shards(source, images, size, patch_bytes=patch_bytes, memory=memory_mb * 1e6)
    if shards == 1:
        patches, positions = source.read(images), source.positions(images)
        if spec.method == "kmeans":
            vectors, rows, radius = _take_centroids(patches, size, unit=source.unit, seed=seed)
        else:
            vectors, rows, radius = _choose_in_memory(spec, patches, positions, size, directions, seed)
        return Sample(vectors, source.images_of(images, rows), radius)
    if spec.method == "random":
        return Sample(*draw_patches(source, images, size, seed=seed), math.nan)
    one_shard = count * patch_bytes + size * 4 * source.dimension
    if spec.method != "greedy" or spec.starts > 1:
        name = f"sampler '{spec.method}'" + (f" with {spec.starts} starts" if spec.starts > 1 else "")
        raise UserError(
            f"memory_mb: {name} needs all {count:,} training patches in memory at a time: raise it to "
            f"{math.ceil(one_shard / 1e6)}, or choose sampler 'greedy' (one start) or 'random', which do not"
        )
    if not shards:
        raise UserError(
            f"memory_mb: {size:,} of {count:,} training patches cannot be chosen in {memory_mb:g} MB: raise it to "
            f"{math.ceil(needed / 1e6)}, or keep fewer"
        )
    log.info("%d patches would take %.0f MB: they are read in %d shards", count, one_shard / 1e6, shards)
    chosen = choose_from_shards(source, np.array_split(images, shards), size, seed=seed, directions=directions)
    return Sample(*chosen, math.nan)


def _choose_in_memory(
    spec: SamplerSpec, patches: Float32, positions: Int64, size: int, directions: Float32 | None, seed: int
) -> tuple[Float32, Int64, float]:
    """Vectors, the rows of patches that they are, and their covering radius."""
    if spec.method == "none":
        return patches, np.arange(len(patches)), 0.0
    if spec.method == "random":
        rows = random_subset(patches, size, seed=seed)
        return patches[rows], rows, covering_radius(patches, rows)
    rows, radius = _choose_greedily(spec, patches, positions, size, directions, seed)
    return patches[rows], rows, radius


def _take_centroids(patches: Float32, size: int, *, unit: bool, seed: int) -> tuple[Float32, Int64, float]:
    """Centroids, the rows of the patches nearest to them, and their covering radius."""
    vectors = centroids(patches, size, seed=seed)
    if unit:
        vectors = unit_vectors(vectors)
    return vectors, nearest_rows(vectors, patches), farthest_distance(patches, vectors)


def _choose_greedily(
    spec: SamplerSpec, patches: Float32, positions: Int64, size: int, directions: Float32 | None, seed: int
) -> tuple[Int64, float]:
    random = np.random.default_rng(seed)
    start = int(random.integers(len(patches)))
    weights = position_weights(patches, positions) if spec.method == "variance_weighted" else None
    patches = project(patches, directions)
    initial = None
    if spec.starts > 1:
        initial = mean_distances(patches, random.choice(len(patches), spec.starts, replace=False))
        start = int((initial if weights is None else initial * weights).argmax())
    # One pick more than is kept: its distance is the covering radius of those kept.
    rows, reach = trace_greedy(patches, min(size + 1, len(patches)), start=start, initial=initial, weights=weights)
    if initial is not None or weights is not None:
        return rows[:size], covering_radius(patches, rows[:size])
    return rows[:size], float(reach[size]) if size < len(patches) else 0.0


def position_weights(patches: Float32, positions: Int64) -> Float64:
    """How much patches vary at their position, relative to all: [N], one value for each patch.

    The square root of the trace of the covariance at the position divided by the mean of these traces; at least
    `LEAST_WEIGHT`. All 1 where nothing varies.

    Args:
        patches: [N, D] float32, image by image.
        positions: [N] of each patch, ascending within an image.
    """
    present, firsts, counts = np.unique(positions, return_index=True, return_counts=True)
    places = np.searchsorted(present, positions)
    origin = patches[firsts].astype(np.float64)  # far from it, the difference of squares would lose the variance
    total, squares = np.zeros(origin.shape), np.zeros(origin.shape)
    ends = np.flatnonzero(np.diff(positions, append=-1) <= 0) + 1  # of images
    for first, end in zip([0, *ends], ends, strict=False):
        at = places[first:end]  # each position once
        centred = patches[first:end] - origin[at]
        total[at] += centred
        squares[at] += centred**2
    spread = np.maximum(squares / counts[:, None] - (total / counts[:, None]) ** 2, 0).sum(axis=1)
    if not spread.any():
        return np.ones(len(patches))
    return np.asarray(np.maximum(np.sqrt(spread / spread.mean()), LEAST_WEIGHT)[places])


def mean_distances(points: Float32, starts: Int64) -> Float64:
    """Mean Euclidean distance of each point [N, D] from those of some rows: [N]."""
    total = np.zeros(len(points))
    for first in range(0, len(points), BLOCK):
        block = points[first : first + BLOCK].astype(np.float64)
        for start in starts:
            total[first : first + BLOCK] += np.linalg.norm(block - points[start], axis=1)
    return total / len(starts)
