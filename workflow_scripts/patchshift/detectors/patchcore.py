"""PatchCore (Roth et al. 2022): a coreset of normal patch embeddings, scored by nearest neighbour.

Tested in tests/detectors/test_patchcore.py.
"""

import logging

import numpy as np
import numpy.typing as npt

from patchshift.detectors.bank import Bank
from patchshift.detectors.coreset import covering_radius, random_subset, trace_greedy
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation, fit_representation
from patchshift.features.store import FeatureRows
from patchshift.plan.specs import FitSpec, SamplerSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


def fit_patchcore(spec: FitSpec, features: FeatureRows, *, seed: int) -> Bank:
    """Fit the representation, embed all training patches and keep a coreset of them.

    Args:
        spec: representation and sampler.
        features: the normal training images.
        seed: of a random reduction, the first pick, the projection and the random subset.

    Raises:
        UserError: if there is no training image, if the representation does not fit the features, or if the sampler
            asks for more patches than there are.
    """
    representation = fit_representation(spec.representation, features, seed=seed, chunk_mb=spec.chunk_mb)
    patches = embed(representation, features, chunk_mb=spec.chunk_mb)
    log.info("%d training images, %d patches of dimension %d", len(features), *patches.shape)
    rows, radius = choose(spec.sampler, patches, seed=seed)
    log.info("kept %d patches, covering radius %.4g", len(rows), radius)
    return Bank(spec, patches[rows], representation, features.input_size, radius, features.made)


def embed(representation: Representation, features: FeatureRows, *, chunk_mb: int = CHUNK_MB) -> Float32:
    """All patch embeddings of some images: [N, D] float32, image by image, row by row.

    Args:
        representation: a fitted one.
        features: the images.
        chunk_mb: memory beside the result for the images embedded at a time, in MB.
    """
    rows, columns = representation.grid
    per_image = rows * columns
    patches = np.empty((len(features) * per_image, representation.dimension), np.float32)
    first = 0
    for maps in features.chunks(representation.layers, representation.images_within(chunk_mb)):
        embeddings = representation.transform(maps).reshape(-1, representation.dimension)
        patches[first : first + len(embeddings)] = embeddings
        first += len(embeddings)
        del maps, embeddings  # before the next are read: memory holds one chunk
    return patches


def choose(spec: SamplerSpec, patches: Float32, *, seed: int) -> tuple[Int64, float]:
    """Rows of the patches to keep, and their covering radius in the space where they were chosen.

    Args:
        spec: which sampler, how many.
        patches: [N, D] float32 embeddings.
        seed: of all random choices.

    Raises:
        UserError: if more patches are asked for than there are.
    """
    if spec.method == "none":
        return np.arange(len(patches)), 0.0
    size = spec.count if spec.count is not None else max(1, int((spec.share or 0) * len(patches)))
    if size > len(patches):
        raise UserError(
            f"sampler.count: {size} patches are asked for, but the training images have {len(patches)}: "
            "lower it, or give a share"
        )
    if spec.method == "random":
        rows = random_subset(patches, size, seed=seed)
        return rows, covering_radius(patches, rows)
    random = np.random.default_rng(seed)
    start = int(random.integers(len(patches)))
    if spec.projection is not None:  # Gaussian, so that distances are kept on average (Johnson-Lindenstrauss)
        directions = random.standard_normal((patches.shape[1], spec.projection), np.float32)
        patches = patches @ (directions / np.float32(np.sqrt(spec.projection)))
    # One pick more than is kept: its distance is the covering radius of those kept.
    rows, reach = trace_greedy(patches, min(size + 1, len(patches)), start=start)
    return rows[:size], float(reach[size]) if size < len(patches) else 0.0
