"""PatchCore (Roth et al. 2022): a memory bank of normal patch embeddings.

Tested in tests/detectors/test_patchcore.py.
"""

import logging

import numpy as np
import numpy.typing as npt

from patchshift.detectors.indexes import choose_queries
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.detectors.samplers import choose
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PatchCoreSpec

Float32 = npt.NDArray[np.float32]

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
    vectors, radius = choose(spec.sampler, patches, images=len(features), seed=seed)
    log.info("kept %d vectors, covering radius %.4g", len(vectors), radius)
    if spec.neighbours > len(vectors):
        raise UserError(
            f"neighbours: {spec.neighbours} are asked for, but the bank has {len(vectors)} vectors: lower it, or let "
            "the sampler keep more"
        )
    queries = choose_queries(patches)
    model = make_neighbours(vectors, radius, count=spec.neighbours, index=spec.index, queries=queries, seed=seed)
    size = sum(array.nbytes for array in model.arrays().values())
    log.info("index '%s': %.1f MB in all, recall %.4f", spec.index.method, size / 1e6, model.recall)
    return model


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
