"""What is measured of two feature stores: how far a target's normal test images are from normal training images.

Layer maps are upsampled to the finest layer's grid and concatenated, as banks do it, neither averaged nor normalised.
Each layer is divided by the RMS norm of its vectors in all training images and by the root of the number of layers, so
that layers of different scale compare and training vectors have the RMS norm 1. Means are over all positions; single
vectors are those of a random choice of positions, another one in each image.
Tested in tests/evaluation/test_feature_samples.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.splits import Split
from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.evaluation.distance_intervals import DISTANCES, estimate_distance
from patchshift.evaluation.domain_distances import takes_linear_time
from patchshift.features.representations import CHUNK_MB, Representation, fit_representation
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.inspections import DistanceSpec
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

POSITIONS = 32  # per image, or all where the grid has fewer
COMPONENTS = 64  # of the pooled vectors, in which Gaussians are fitted


@dataclass(frozen=True)
class FeatureSample:
    """What is kept of n images' features, in random order.

    Attributes:
        vectors: [n, P, D] float32, at P positions of each image.
        means: [n, D] float64, over all positions.
        powers: [L] mean squared norm of each layer's vectors, over all positions.
    """

    vectors: Float32
    means: Float64
    powers: Float64

    def scaled(self, factors: Float64) -> "FeatureSample":
        """The same with each channel multiplied by its factor [D]."""
        return FeatureSample(self.vectors * factors.astype(np.float32), self.means * factors, self.powers)


def normal_test_images(split: Split) -> list[str]:
    """The keys of the good test images, in index order."""
    return [key for key in split.of("test") if split.role(key) == "normal"]


def sample_features(representation: Representation, features: FeatureRows, *, seed: int) -> FeatureSample:
    """Draw positions from images, and sum up all of them.

    Args:
        representation: how layer maps become vectors.
        features: n images.
        seed: of the positions and of the images' order; an image's positions depend on its name alone.
    """
    rows, columns = representation.grid
    count, dimension = rows * columns, representation.dimension
    vectors = np.empty((len(features), min(POSITIONS, count), dimension), np.float32)
    means = np.empty((len(features), dimension))
    powers = np.zeros(dimension)
    names, first = features.images, 0
    for maps in features.chunks(representation.layers, representation.images_within(CHUNK_MB)):
        embeddings = representation.transform(maps).reshape(-1, count, dimension)
        for image in embeddings:
            places = draw_stream("positions", seed, names[first]).choice(count, vectors.shape[1], replace=False)
            vectors[first] = image[places]
            means[first] = image.mean(axis=0, dtype=np.float64)
            powers += np.square(image, dtype=np.float64).mean(axis=0)
            first += 1
    starts = np.cumsum([0, *(shape[2] for shape in representation.layer_shapes.values())])[:-1]
    order = draw_stream("order", seed, *names).permutation(len(names))  # the linear-time MMD pairs neighbours
    return FeatureSample(vectors[order], means[order], np.add.reduceat(powers, starts) / max(1, len(names)))


def measure_domains(training: FeatureRows, target: FeatureRows, spec: DistanceSpec) -> dict[str, Any]:
    """All distances from normal training images to a target's normal test images.

    Args:
        training: the normal training images.
        target: the target's normal test images.
        spec: resamples, confidence and seed.

    Returns:
        `distances`: name -> value with interval, or the reason why it is undefined; `counts`: `training_images`,
        `target_images`, `positions` per image, `dimension`, `components`; `kept_variance`: the share of the pooled
        variance in these components; `estimator` of the MMD: `linear` time, or `quadratic`
        (of all images, or of a choice where one side alone has very many).

    Raises:
        UserError: if there is no training image, or if the two have other layers.
    """
    if training.layer_shapes != target.layer_shapes:
        raise UserError(
            f"{training.parts[0][0].path} and {target.parts[0][0].path} have different layers or sizes: distances need "
            "features of one backbone at one size"
        )
    warn_of_differences([training.parts[0][0], *(store for store, _ in target.parts)])
    representation = fit_representation(RepresentationSpec(neighbourhood="none"), training)
    sides = [sample_features(representation, features, seed=spec.seed) for features in (training, target)]
    x, y = (side.scaled(equalise(representation, sides[0].powers)) for side in sides)
    (reduced_x, reduced_y), kept = project(x.vectors, y.vectors)
    views = dict.fromkeys(DISTANCES, (x.vectors, y.vectors)) | {
        "frechet_distance": (reduced_x, reduced_y),
        **{name: (x.means, y.means) for name, distance in DISTANCES.items() if distance.of_means},
    }
    options: Mapping[str, Any] = {"resamples": spec.resamples, "confidence": spec.confidence, "seed": spec.seed}
    return {
        "distances": {name: estimate_distance(DISTANCES[name], *views[name], **options) for name in DISTANCES},
        "counts": {
            "training_images": len(training),
            "target_images": len(target),
            "positions": x.vectors.shape[1],
            "dimension": representation.dimension,
            "components": reduced_x.shape[-1],
        },
        "kept_variance": kept,
        "estimator": "linear" if takes_linear_time(len(training), len(target)) else "quadratic",
    }


def equalise(representation: Representation, powers: Float64) -> Float64:
    """[D] factors by which vectors of mean squared norm `powers` [L] get 1 / L in each layer; 1 in a layer of zeros."""
    norms = np.sqrt(np.where(powers > 0, powers, 1) * len(powers))
    return np.repeat(1 / norms, [shape[2] for shape in representation.layer_shapes.values()])


def project(x: Float32, y: Float32) -> tuple[tuple[Float64, Float64], float]:
    """The vectors of both sets in the leading principal components of all of them, and the share of variance kept.

    A Gaussian in D dimensions has D (D + 3) / 2 parameters: fitted to fewer vectors than that, the distance between two
    samples of one distribution is most of what would be measured.

    Args:
        x: [n, P, D].
        y: [m, P, D].

    Returns:
        [n, P, C] and [m, P, C], C at most `COMPONENTS`; the share in [0, 1], 1 where nothing varies.
    """
    pooled = np.concatenate([x, y]).reshape(-1, x.shape[-1])
    mean = pooled.mean(axis=0, dtype=np.float64)
    products = np.zeros((pooled.shape[1],) * 2)
    for block in np.array_split(pooled, -(-len(pooled) // 8192) or 1):
        centred = block - mean
        products += centred.T @ centred
    values, axes = np.linalg.eigh(products)
    leading, total = axes[:, ::-1][:, :COMPONENTS], np.trace(products)
    kept = min(1.0, float(values[::-1][:COMPONENTS].sum() / total)) if total > 0 else 1.0
    return ((x - mean) @ leading, (y - mean) @ leading), kept
