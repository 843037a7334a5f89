"""Fit a dual bank (ExDD, arXiv 2507.15335): one memory bank of normal patches, one of defective ones.

Apart from `detectors.dual`, so that scoring does not load the library of images that masks need.
Tested in tests/detectors/test_dual.py.
"""

import logging

import numpy as np
import numpy.typing as npt

from patchshift.detectors.dual import DualBank
from patchshift.detectors.indexes import choose_queries
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.detectors.patchcore import fit_patchcore
from patchshift.detectors.patches import unit_vectors
from patchshift.detectors.positives import embed_defective_patches
from patchshift.detectors.prepared import Prepared
from patchshift.detectors.samplers import choose
from patchshift.detectors.sharding import Sharding
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.plan.detector_specs import PatchCoreDualSpec

Float32 = npt.NDArray[np.float32]

log = logging.getLogger(__name__)


def fit_dual(
    spec: PatchCoreDualSpec,
    prepared: Prepared,
    training: TrainingSet,
    *,
    seed: int,
    sharding: Sharding | None = None,
) -> DualBank:
    """Fit the negative bank as method `patchcore` does, on all normal images, and a positive one.

    Args:
        spec: the samplers, and how banks are searched.
        prepared: the fitted representation.
        training: normal images, and defective ones with their masks; without any there is no positive bank.
        seed: of all that is drawn for either bank.
        sharding: what other jobs have chosen for the negative bank; None: all is chosen here.

    Raises:
        UserError: if a sampler asks for more patches than there are, or keeps fewer than `neighbours`.
    """
    # First, so that what they do not allow is told before the long fit of the negative bank.
    defective = embed_defective_patches(prepared.representation, training.positives, chunk_mb=spec.chunk_mb)
    if not len(defective):
        log.warning(
            "there is no defective patch to fill a positive bank with, so this is a single bank of normal patches: "
            "give the split training defects (protocol 'official', or train_anomalous_share), or name a domain in "
            "crops or add_augmented"
        )
    positive = _fit_positive(spec, defective, seed) if len(defective) else None
    del defective  # before normal patches are read
    return DualBank(fit_patchcore(spec, prepared, training, seed=seed, sharding=sharding), positive)


def _fit_positive(spec: PatchCoreDualSpec, defective: Float32, seed: int) -> NearestNeighbours:
    sampler = spec.positive_sampler
    for key, wanted in (("count", sampler.count or 0), ("starts", sampler.starts)):
        if wanted > len(defective):
            raise UserError(
                f"positive_sampler.{key}: {wanted} patches are asked for, but the training defects have "
                f"{len(defective)} defective ones: lower it" + (", or give a share" if key == "count" else "")
            )
    unit = spec.distance == "cosine"
    if unit:
        defective = unit_vectors(defective)
    vectors, radius = choose(sampler, defective, images=1, seed=seed, unit=unit)
    if spec.neighbours > len(vectors):
        raise UserError(
            f"neighbours: {spec.neighbours} are asked for, but the positive bank has {len(vectors)} vectors of "
            f"{len(defective)} defective patches: lower it, or let positive_sampler keep more"
        )
    log.info("kept %d vectors of %d defective patches, covering radius %.4g", len(vectors), len(defective), radius)
    return make_neighbours(
        vectors,
        radius,
        count=spec.neighbours,
        index=spec.index,
        queries=choose_queries(defective),
        seed=seed,
        distance=spec.distance,
        owner="the positive bank (positive_sampler)",
    )
