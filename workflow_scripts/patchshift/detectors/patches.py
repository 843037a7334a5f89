"""Patch embeddings of images, read when they are needed.

Tested in tests/detectors/test_shards.py and tests/detectors/test_patchcore.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PatchSource:
    """Patches that are read when they are needed.

    Attributes:
        present: [n, P] which positions of each of n images give a patch.
        dimension: D, the length of a patch embedding.
        read: rows of images, ascending -> [N, D] float32, their patches in order. Not to be written to.
        unit: whether they are divided by their length, as vectors that are made of them then have to be.
    """

    present: Bool
    dimension: int
    read: Callable[[Int64], Float32]
    unit: bool = False

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


def unit_vectors(vectors: Float32) -> Float32:
    """Vectors divided by their length, those of length 0 as they are: [N, D] -> [N, D] float32, a copy."""
    # Their largest number first, or squares of large or small ones would not be finite or not be there.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    units: Float32 = vectors / _without_zeros(largest)
    units /= _without_zeros(np.sqrt(np.einsum("nd,nd->n", units, units))[:, None])
    return units


def _without_zeros(lengths: Float32) -> Float32:
    return np.where(lengths > 0, lengths, np.float32(1))
