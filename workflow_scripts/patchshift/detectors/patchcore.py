"""PatchCore (Roth et al. 2022): a memory bank of normal patch embeddings.

Tested in tests/detectors/test_patchcore.py.
"""

import logging

import numpy as np
import numpy.typing as npt

from patchshift.detectors.coreset import covering_radius, random_subset, trace_greedy
from patchshift.detectors.kmeans import centroids
from patchshift.detectors.neighbours import NearestNeighbours
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PatchCoreSpec, SamplerSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


def fit_patchcore(
    spec: PatchCoreSpec, representation: Representation, features: FeatureRows, *, seed: int
) -> NearestNeighbours:
    """Embed all training patches and keep some of them, or their centroids.

    Args:
        spec: sampler and number of neighbours.
        representation: the fitted one.
        features: the normal training images.
        seed: of the first pick, the projection, the random subset and the first centroids.

    Raises:
        UserError: if the sampler asks for more patches than there are, or keeps fewer than `neighbours`.
    """
    patches = embed(representation, features, chunk_mb=spec.chunk_mb)
    log.info("%d training images, %d patches of dimension %d", len(features), *patches.shape)
    vectors, radius = choose(spec.sampler, patches, seed=seed)
    log.info("kept %d vectors, covering radius %.4g", len(vectors), radius)
    if spec.neighbours > len(vectors):
        raise UserError(
            f"neighbours: {spec.neighbours} are asked for, but the bank has {len(vectors)} vectors: lower it, or let "
            "the sampler keep more"
        )
    return NearestNeighbours(vectors, radius, spec.neighbours)


def embed(representation: Representation, features: FeatureRows, *, chunk_mb: int = CHUNK_MB) -> Float32:
    """All patch embeddings of some images: [N, D] float32, image by image, row by row.

    Args:
        representation: a fitted one.
        features: the images.
        chunk_mb: memory beside the result for the images embedded at a time, in MB.
    """
    rows, columns = representation.grid
    patches = np.empty((len(features) * rows * columns, representation.dimension), np.float32)
    first = 0
    for chunk in representation.embed(features, chunk_mb=chunk_mb):
        embeddings = chunk.reshape(-1, representation.dimension)
        patches[first : first + len(embeddings)] = embeddings
        first += len(embeddings)
    return patches


def choose(spec: SamplerSpec, patches: Float32, *, seed: int) -> tuple[Float32, float]:
    """The vectors of a bank, and their covering radius in the space where they were chosen.

    Args:
        spec: which sampler, how many.
        patches: [N, D] float32 embeddings.
        seed: of all random choices.

    Returns:
        [M, D] float32 and the largest distance of a patch to the nearest of them.

    Raises:
        UserError: if more patches are asked for than there are.
    """
    if spec.method == "none":
        return patches, 0.0
    size = spec.count if spec.count is not None else max(1, int((spec.share or 0) * len(patches)))
    if size > len(patches):
        raise UserError(
            f"sampler.count: {size} patches are asked for, but the training images have {len(patches)}: "
            "lower it, or give a share"
        )
    if spec.method == "kmeans":
        return centroids(patches, size, seed=seed)
    if spec.method == "random":
        rows = random_subset(patches, size, seed=seed)
        return patches[rows], covering_radius(patches, rows)
    rows, radius = _choose_greedily(spec, patches, size, seed)
    return patches[rows], radius


def _choose_greedily(spec: SamplerSpec, patches: Float32, size: int, seed: int) -> tuple[Int64, float]:
    random = np.random.default_rng(seed)
    start = int(random.integers(len(patches)))
    if spec.projection is not None:  # Gaussian, so that distances are kept on average (Johnson-Lindenstrauss)
        directions = random.standard_normal((patches.shape[1], spec.projection), np.float32)
        patches = patches @ (directions / np.float32(np.sqrt(spec.projection)))
    # One pick more than is kept: its distance is the covering radius of those kept.
    rows, reach = trace_greedy(patches, min(size + 1, len(patches)), start=start)
    return rows[:size], float(reach[size]) if size < len(patches) else 0.0
