"""PatchCore (Roth et al. 2022): a memory bank of normal patch embeddings.

Tested in tests/detectors/test_patchcore.py.
"""

import logging

import numpy as np
import numpy.typing as npt

from patchshift.detectors.foreground import fit_foreground
from patchshift.detectors.indexes import query_rows
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours, unit_vectors
from patchshift.detectors.samplers import sample
from patchshift.detectors.shards import PatchSource, read_rows
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PatchCoreDualSpec, PatchCoreSpec

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


def fit_patchcore(
    spec: PatchCoreSpec | PatchCoreDualSpec,
    representation: Representation,
    training: TrainingSet,
    *,
    seed: int,
) -> NearestNeighbours:
    """Embed the training patches and keep some of them, or their centroids.

    Args:
        spec: sampler, distance, number of neighbours, index.
        representation: the fitted one.
        training: the normal training images, and which category of a pool each comes from.
        seed: of the first pick, the projection, the random subset and the first centroids.

    Raises:
        UserError: if the sampler asks for more patches than there are or than memory allows, or keeps fewer than
            `neighbours`.
    """
    features, members = training.features, training.members
    foreground = present = None
    if isinstance(spec, PatchCoreSpec) and spec.foreground:
        foreground, present = fit_foreground(representation, features, spec.chunk_mb)
    source = open_patches(
        representation, features, chunk_mb=spec.chunk_mb, present=present, unit=spec.distance == "cosine"
    )
    log.info("%d training images, %d patches of dimension %d", len(features), source.counts.sum(), source.dimension)
    kept = sample(
        spec.sampler, source, memory_mb=spec.memory_mb, seed=seed, members=members, member_of=training.member_of
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
        foreground=foreground,
    )
    size = sum(array.nbytes for array in model.arrays().values())
    log.info("index '%s': %.1f MB in all, recall %.4f", spec.index.method, size / 1e6, model.recall)
    return model


def open_patches(
    representation: Representation,
    features: FeatureRows,
    *,
    chunk_mb: int = CHUNK_MB,
    present: Bool | None = None,
    unit: bool = False,
) -> PatchSource:
    """The patch embeddings of some images, to be read when they are needed.

    Args:
        representation: a fitted one.
        features: n images.
        chunk_mb: memory beside what is read for the images embedded at a time, in MB.
        present: [n, P] which positions of each image to take; None: all.
        unit: make embeddings unit vectors.
    """
    rows, columns = representation.grid
    taken = np.ones((len(features), rows * columns), np.bool_) if present is None else present

    def read(images: Int64) -> Float32:
        patches = np.empty((int(np.count_nonzero(taken[images])), representation.dimension), np.float32)
        image = patch = 0
        for chunk in representation.embed(_take(features, images), chunk_mb=chunk_mb, held=2):
            some = taken[images[image : image + len(chunk)]]
            embeddings = chunk.reshape(-1, chunk.shape[-1]) if some.all() else chunk[some]
            patches[patch : patch + len(embeddings)] = unit_vectors(embeddings) if unit else embeddings
            image += len(chunk)
            patch += len(embeddings)
        return patches

    return PatchSource(taken, representation.dimension, read, unit)


def _take(features: FeatureRows, images: Int64) -> FeatureRows:
    """Some of the images, by their row, ascending."""
    ends = np.cumsum([len(rows) for _, rows in features.parts])
    stops = np.searchsorted(images, ends)
    parts = []
    for (store, rows), end, inside in zip(features.parts, ends, np.split(images, stops[:-1]), strict=True):
        if len(inside):
            parts.append((store, rows[inside - (end - len(rows))]))
    return FeatureRows(parts)


def embed(representation: Representation, features: FeatureRows, *, chunk_mb: int = CHUNK_MB) -> Float32:
    """All patch embeddings of some images: [N, D] float32, image by image, row by row.

    Args:
        representation: a fitted one.
        features: the images.
        chunk_mb: memory beside the result for the images embedded at a time, in MB.
    """
    return open_patches(representation, features, chunk_mb=chunk_mb).read(np.arange(len(features)))
