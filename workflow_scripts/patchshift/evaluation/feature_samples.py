"""What is measured of two feature stores: how far a target's normal test images are from normal training images.

Layer maps are upsampled to the finest layer's grid and concatenated, as banks do it, neither averaged nor normalised.
Each layer is divided by the RMS norm of its vectors in all training images and by the root of the number of layers, so
that layers of different scale compare and training vectors have the RMS norm 1. Means are over all positions; single
vectors are those of a random choice of positions, another one in each image, and of a random choice of images where
there are very many: what they take is bounded, of every further image only its mean is held.
Tested in tests/evaluation/test_feature_samples.py.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.splits import Split
from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.evaluation.distance_intervals import DISTANCES, estimate_distance
from patchshift.evaluation.domain_distances import takes_linear_time
from patchshift.evaluation.fusion_drifts import measure_drifts
from patchshift.features.representations import CHUNK_MB, Representation, fit_representation
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.inspections import DistanceSpec
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

POSITIONS = 32  # per image, or all where the grid has fewer
KEPT_IMAGES = 1000  # of a side, at most, whose single vectors are kept
KEPT_BYTES = 192 << 20  # of a side's single vectors, at most
BLOCK_BYTES = 16 << 20  # of vectors in float64 at a time


@dataclass(frozen=True)
class FeatureSample:
    """What is kept of n images' features, in random order.

    Attributes:
        vectors: [k, P, D] float32, at P positions of each of the first k images.
        means: [n, D] float64, over all positions.
        powers: [L] mean squared norm of each layer's vectors, over all positions.
    """

    vectors: Float32
    means: Float64
    powers: Float64

    def scale(self, factors: Float64) -> None:
        """Multiply each channel by its factor [D], where it stands; `powers` stay as they were."""
        np.multiply(self.vectors, factors.astype(np.float32), out=self.vectors)
        np.multiply(self.means, factors, out=self.means)


def normal_test_images(split: Split) -> list[str]:
    """The keys of the good test images, in index order."""
    return [key for key in split.of("test") if split.role(key) == "normal"]


def sample_features(representation: Representation, features: FeatureRows, *, seed: int) -> FeatureSample:
    """Draw positions from images, and sum up all of them.

    Args:
        representation: how layer maps become vectors.
        features: n images.
        seed: of the positions and of the images' order; an image's positions depend on its name alone.

    Returns:
        The sample, with the vectors of all images, or of the first in that order where they are more than `KEPT_IMAGES`
        or their vectors more than `KEPT_BYTES`.
    """
    rows, columns = representation.grid
    count, dimension = rows * columns, representation.dimension
    positions, names = min(POSITIONS, count), features.images
    kept = min(len(names), KEPT_IMAGES, KEPT_BYTES // (positions * dimension * np.dtype(np.float32).itemsize))
    vectors, means = np.empty((kept, positions, dimension), np.float32), np.empty((len(names), dimension))
    order = draw_stream("order", seed, *names).permutation(len(names))  # the linear-time MMD pairs neighbours
    ranks, powers = iter(np.argsort(order)), np.zeros(dimension)
    for maps in features.chunks(representation.layers, representation.images_within(CHUNK_MB)):
        embeddings = representation.transform(maps).reshape(-1, count, dimension)
        for image, rank in zip(embeddings, ranks, strict=False):  # ranks go on with the next maps
            if rank < kept:
                stream = draw_stream("positions", seed, names[order[rank]])
                vectors[rank] = image[stream.choice(count, positions, replace=False)]
            means[rank] = image.mean(axis=0, dtype=np.float64)
            powers += np.square(image, dtype=np.float64).mean(axis=0)
    starts = np.cumsum([0, *(shape[2] for shape in representation.layer_shapes.values())])[:-1]
    return FeatureSample(vectors, means, np.add.reduceat(powers, starts) / max(1, len(names)))


def measure_domains(training: FeatureRows, target: FeatureRows, spec: DistanceSpec) -> dict[str, Any]:
    """All distances from normal training images to a target's normal test images.

    Args:
        training: the normal training images.
        target: the target's normal test images.
        spec: resamples, confidence and seed, and fusions beside the plain ones.

    Returns:
        `distances`: name -> value with interval, or the reason why it is undefined; `drifts`: the drift of single
        layers and of fusions (`evaluation.fusion_drifts`); `counts`: `training_images`,
        `target_images`, `sampled_training_images` and `sampled_target_images` whose single vectors were taken,
        `positions` per image, `dimension`, `components`; `kept_variance`: the share of the pooled variance in these
        components; `estimator` of the MMD: `linear` time, or `quadratic` (of all sampled images, or of a choice where
        one side alone has very many).

    Raises:
        UserError: if there is no training image, or if the two have other layers.
    """
    if training.layer_shapes != target.layer_shapes:
        raise UserError(
            f"{training.parts[0][0].path} and {target.parts[0][0].path} have different layers or sizes: distances need "
            "features of one backbone at one size"
        )
    warn_of_differences(str(training.parts[0][0].path), training.made, [store for store, _ in target.parts])
    representation = fit_representation(RepresentationSpec(neighbourhood="none"), training)
    x, y = (sample_features(representation, features, seed=spec.seed) for features in (training, target))
    factors = equalise(representation, x.powers)
    for side in (x, y):
        side.scale(factors)
    (reduced_x, reduced_y), kept = project(x.vectors, y.vectors)
    views = dict.fromkeys(DISTANCES, (x.vectors, y.vectors)) | {
        "frechet_distance": (reduced_x, reduced_y),
        **{name: (x.means, y.means) for name, distance in DISTANCES.items() if distance.of_means},
    }
    options: Mapping[str, Any] = {"resamples": spec.resamples, "confidence": spec.confidence, "seed": spec.seed}
    return {
        "distances": {name: estimate_distance(DISTANCES[name], *views[name], **options) for name in DISTANCES},
        "drifts": measure_drifts(x.means, y.means, factors, training, spec),
        "counts": {
            "training_images": len(training),
            "target_images": len(target),
            "sampled_training_images": len(x.vectors),
            "sampled_target_images": len(y.vectors),
            "positions": x.vectors.shape[1],
            "dimension": representation.dimension,
            "components": reduced_x.shape[-1],
        },
        "kept_variance": kept,
        "estimator": "linear" if takes_linear_time(len(x.vectors), len(y.vectors)) else "quadratic",
    }


def equalise(representation: Representation, powers: Float64) -> Float64:
    """[D] factors by which vectors of mean squared norm `powers` [L] get 1 / L in each layer; 1 in a layer of zeros."""
    norms = np.sqrt(np.where(powers > 0, powers, 1) * len(powers))
    return np.repeat(1 / norms, [shape[2] for shape in representation.layer_shapes.values()])


def count_components(n: int, m: int) -> int:
    """How many components Gaussians of n and m images are fitted in: the root of twice the fewer, at least one.

    The vectors of an image are alike, so images count and not vectors. In C components and m images the bias of the
    Fréchet distance is of the order C^2 / m, and so is what the bootstrap's correction leaves of it, in units of the
    distance's own spread: it must not grow with m.
    """
    return max(1, math.isqrt(2 * min(n, m)))


def project(x: Float32, y: Float32) -> tuple[tuple[Float64, Float64], float]:
    """The vectors of both sets in the leading principal components of all of them, and the share of variance kept.

    Args:
        x: [n, P, D].
        y: [m, P, D].

    Returns:
        [n, P, C] and [m, P, C], C = `count_components(n, m)` or D; the share in [0, 1], 1 where nothing varies.
    """
    dimension, count = x.shape[-1], count_components(len(x), len(y))
    sums = [side.sum(axis=(0, 1), dtype=np.float64) for side in (x, y)]
    mean = np.sum(sums, axis=0) / max(1, (x.size + y.size) // dimension)
    products = np.zeros((dimension,) * 2)
    for block in (*_blocks(x), *_blocks(y)):
        centred = block.reshape(-1, dimension) - mean
        products += centred.T @ centred
    values, axes = np.linalg.eigh(products)
    leading, total = axes[:, ::-1][:, :count], np.trace(products)
    kept = min(1.0, float(values[::-1][:count].sum() / total)) if total > 0 else 1.0
    reduced_x, reduced_y = (np.concatenate([(block - mean) @ leading for block in _blocks(side)]) for side in (x, y))
    return (reduced_x, reduced_y), kept


def _blocks(vectors: Float32) -> Iterator[Float32]:
    """Some images' vectors at a time, at least once."""
    step = max(1, BLOCK_BYTES // (8 * vectors.shape[1] * vectors.shape[2]))
    for first in range(0, len(vectors) or 1, step):
        yield vectors[first : first + step]
