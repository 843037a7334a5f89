"""PatchCore (Roth et al. 2022): a memory bank of normal patch embeddings.

Tested in tests/detectors/test_patchcore.py.
"""

import logging

import numpy as np

from patchshift.detectors.indexes import query_rows
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.detectors.prepared import Prepared
from patchshift.detectors.samplers import sample
from patchshift.detectors.sharding import Sharding
from patchshift.detectors.shards import read_rows
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.plan.detector_specs import PatchCoreDualSpec, PatchCoreSpec

log = logging.getLogger(__name__)


def fit_patchcore(
    spec: PatchCoreSpec | PatchCoreDualSpec,
    prepared: Prepared,
    training: TrainingSet,
    *,
    seed: int,
    sharding: Sharding | None = None,
) -> NearestNeighbours:
    """Embed the training patches and keep some of them, or their centroids.

    Args:
        spec: sampler, distance, number of neighbours, index.
        prepared: the fitted representation, and where the object is.
        training: the normal training images, and which category of a pool each comes from.
        seed: of the first pick, the projection, the random subset and the first centroids.
        sharding: what other jobs have chosen; None: all is chosen here.

    Raises:
        UserError: if the sampler asks for more patches than there are or than memory allows, or keeps fewer than
            `neighbours`.
    """
    features, members = training.features, training.members
    source = prepared.open_patches(spec, features)
    if sharding is None and spec.shards > 1:
        sharding = Sharding(spec.shards)
    log.info("%d training images, %d patches of dimension %d", len(features), source.counts.sum(), source.dimension)
    kept = sample(
        spec.sampler,
        source,
        memory_mb=spec.memory_mb,
        seed=seed,
        members=members,
        member_of=training.member_of,
        sharding=sharding,
    )
    log.info("kept %d vectors, covering radius %.4g", len(kept.vectors), kept.radius)
    if spec.neighbours > len(kept.vectors):
        raise UserError(
            f"neighbours: {spec.neighbours} are asked for, but the bank has {len(kept.vectors)} vectors: lower it, or "
            "let the sampler keep more"
        )
    queries = None
    if spec.index.method != "flat":
        queries = read_rows(source, np.arange(len(features)), query_rows(int(source.counts.sum())))
    model = make_neighbours(
        kept.vectors,
        kept.radius,
        count=spec.neighbours,
        index=spec.index,
        queries=queries,
        seed=seed,
        members=training.member_of[kept.images] if len(members) > 1 else None,
        distance=spec.distance,
        foreground=prepared.foreground,
    )
    size = sum(array.nbytes for array in model.arrays().values())
    log.info("index '%s': %.1f MB in all, recall %.4f", spec.index.method, size / 1e6, model.recall)
    return model
