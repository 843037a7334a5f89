"""Which vectors a memory bank keeps of the training patches.

Tested in tests/detectors/test_samplers.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.detectors.coreset import covering_radius, random_subset, trace_greedy
from patchshift.detectors.kmeans import centroids
from patchshift.detectors.neighbours import make_neighbours
from patchshift.errors import UserError
from patchshift.plan.detector_specs import SamplerSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

LEAST_WEIGHT = 1e-3
"""Of a position, relative to the mean: patches that never vary are still covered in the end."""

BLOCK = 65536  # patches whose distances are computed at a time


def choose(spec: SamplerSpec, patches: Float32, *, images: int, seed: int) -> tuple[Float32, float]:
    """The vectors of a bank, and their covering radius in the space where they were chosen.

    Args:
        spec: which sampler, how many.
        patches: [N, D] float32 embeddings, image by image, each with the same positions.
        images: how many images they come from.
        seed: of all random choices.

    Returns:
        [M, D] float32, and the largest Euclidean distance of a patch to the nearest of them.

    Raises:
        UserError: if more patches are asked for than there are.
    """
    if spec.method == "none":
        return patches, 0.0
    size = spec.count if spec.count is not None else max(1, int((spec.share or 0) * len(patches)))
    for key, wanted in (("count", size), ("starts", spec.starts)):
        if wanted > len(patches):
            raise UserError(
                f"sampler.{key}: {wanted} patches are asked for, but the training images have {len(patches)}: lower it"
                + (", or give a share" if key == "count" else "")
            )
    if spec.method == "kmeans":
        vectors = centroids(patches, size, seed=seed)
        model = make_neighbours(vectors, 0.0)
        return vectors, max(float(model.distances(image[None]).max()) for image in np.split(patches, images))
    if spec.method == "random":
        rows = random_subset(patches, size, seed=seed)
        return patches[rows], covering_radius(patches, rows)
    rows, radius = _choose_greedily(spec, patches, size, images, seed)
    return patches[rows], radius


def _choose_greedily(spec: SamplerSpec, patches: Float32, size: int, images: int, seed: int) -> tuple[Int64, float]:
    random = np.random.default_rng(seed)
    start = int(random.integers(len(patches)))
    weights = position_weights(patches, images) if spec.method == "variance_weighted" else None
    if spec.projection is not None:  # Gaussian, so that distances are kept on average (Johnson-Lindenstrauss)
        directions = random.standard_normal((patches.shape[1], spec.projection), np.float32)
        patches = patches @ (directions / np.float32(np.sqrt(spec.projection)))
    initial = None
    if spec.starts > 1:
        initial = mean_distances(patches, random.choice(len(patches), spec.starts, replace=False))
        start = int((initial if weights is None else initial * weights).argmax())
    # One pick more than is kept: its distance is the covering radius of those kept.
    rows, reach = trace_greedy(patches, min(size + 1, len(patches)), start=start, initial=initial, weights=weights)
    if initial is not None or weights is not None:
        return rows[:size], covering_radius(patches, rows[:size])
    return rows[:size], float(reach[size]) if size < len(patches) else 0.0


def position_weights(patches: Float32, images: int) -> Float64:
    """How much patches vary at their position, relative to all: [N], one value for each position of each image.

    The square root of the trace of the covariance at the position divided by the mean of these traces; at least
    `LEAST_WEIGHT`. All 1 where nothing varies.

    Args:
        patches: [N, D] float32, image by image.
        images: how many images.
    """
    positions = patches.reshape(images, -1, patches.shape[1])
    total, squares = np.zeros(positions.shape[1:]), np.zeros(positions.shape[1:])
    origin = positions[0].astype(np.float64)  # far from it, the difference of squares would lose the variance
    for image in positions:
        centred = image - origin
        total += centred
        squares += centred**2
    spread = np.maximum(squares / images - (total / images) ** 2, 0).sum(axis=1)
    if not spread.any():
        return np.ones(len(patches))
    return np.tile(np.maximum(np.sqrt(spread / spread.mean()), LEAST_WEIGHT), images)


def mean_distances(points: Float32, starts: Int64) -> Float64:
    """Mean Euclidean distance of each point [N, D] from those of some rows: [N]."""
    total = np.zeros(len(points))
    for first in range(0, len(points), BLOCK):
        block = points[first : first + BLOCK].astype(np.float64)
        for start in starts:
            total[first : first + BLOCK] += np.linalg.norm(block - points[start], axis=1)
    return total / len(starts)
