"""How well the distance to normal training patches separates each type of defect, layer by layer.

A layer's patches are standardised and averaged over 3 x 3 (`features.representations`). A patch's distance is
Euclidean, to the nearest of a random subset of the training patches, which stands for a bank: no coreset, so that
layers are compared and not samplers. An image scores its largest patch distance. Training images are only ever the
reference, test images are only ever measured.
Tested in tests/evaluation/test_separability.py.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.streams import draw_stream
from patchshift.data.tables import write_table
from patchshift.evaluation.patch_samples import ImageContents, PatchLabels, gather_patches
from patchshift.evaluation.ranking import auroc, counts_by_score
from patchshift.evaluation.statistics import bootstrap_image_auroc, percentile_interval
from patchshift.features.representations import CHUNK_MB, Representation, fit_representation
from patchshift.features.store import FeatureRows
from patchshift.plan.representation_specs import RepresentationSpec

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

ALL_LAYERS = "all layers"
REFERENCE = 2000  # training patches that distances are measured to


@dataclass(frozen=True)
class Separation:
    """How one type of defect stands out in one layer; values are NaN where they are undefined.

    Attributes:
        layer: a layer, or all of them together (`ALL_LAYERS`).
        defect: the type.
        images: test images of that type.
        patches: their defective patches, on this layer's grid.
        image_auroc: of the images of that type against the good test images; NaN without good ones.
        low: lower end of its bootstrap interval.
        high: upper end.
        patch_auroc: of the defective patches against all patches of good test images; NaN without masks.
    """

    layer: str
    defect: str
    images: int
    patches: int
    image_auroc: float
    low: float
    high: float
    patch_auroc: float


def single_layer_specs(layers: Iterable[str]) -> dict[str, RepresentationSpec]:
    """Each layer by itself, and all of them concatenated where there are several; standardised, averaged over 3 x 3."""
    names = list(layers)
    specs = {layer: RepresentationSpec(layers=[layer], fusion="single", normalise="standardise") for layer in names}
    return specs | ({ALL_LAYERS: RepresentationSpec(normalise="standardise")} if len(names) > 1 else {})


def measure_separability(
    training: FeatureRows, test: FeatureRows, shown: ImageContents, *, resamples: int, confidence: float, seed: int
) -> list[Separation]:
    """Separate every type of defect in every layer, and in all layers together.

    Args:
        training: the good training images: the reference.
        test: the test images.
        shown: what the test images show, in the same order.
        resamples: bootstrap resamples of the intervals.
        confidence: coverage of the intervals.
        seed: of the reference's choice and of the resamples.

    Raises:
        UserError: if there is no training image.
    """
    separations = []
    for layer, spec in single_layer_specs(training.layer_shapes).items():
        representation = fit_representation(spec, training)
        reference = draw_reference(representation, training, layer, seed=seed)
        labels = shown.patches(representation.grid)
        distances = measure_patch_distances(representation, test, reference)
        scores = score_largest(distances, labels.ignored)
        for defect in shown.types:
            separations.append(
                _separate(
                    layer, defect, distances, scores, shown.defects, labels,
                    resamples=resamples, confidence=confidence, seed=seed,
                )
            )  # fmt: skip
    return separations


def draw_reference(representation: Representation, training: FeatureRows, layer: str, *, seed: int) -> Float32:
    """A random subset of the training patches' embeddings: [at most REFERENCE, D]."""
    rows, columns = representation.grid
    count = len(training) * rows * columns
    random = draw_stream("reference", seed, layer)
    return gather_patches(representation, training, random.choice(count, min(REFERENCE, count), replace=False))


def measure_patch_distances(representation: Representation, features: FeatureRows, reference: Float32) -> Float32:
    """Each patch's distance to the nearest reference.

    Args:
        representation: fitted on training images.
        features: n images.
        reference: [R, D] embeddings.

    Returns:
        [n, rows, columns].
    """
    distances = np.empty((len(features), *representation.grid), np.float32)
    first = 0
    for maps in features.chunks(representation.layers, representation.images_within(CHUNK_MB)):
        for embeddings in representation.transform(maps):
            distances[first] = nearest_distances(embeddings, reference)
            first += 1
    return distances


def nearest_distances(points: Float32, reference: Float32) -> Float32:
    """Euclidean distances [...] of points [..., D] to the nearest of [R, D]."""
    # |x - y|^2 is expanded to find the nearest: around their centre little is lost to rounding
    centre = reference.mean(axis=0, dtype=np.float64).astype(np.float32)
    vectors, right = points.reshape(-1, points.shape[-1]), reference - centre
    products = (vectors - centre) @ right.T
    products *= -2
    products += np.einsum("rd,rd->r", right, right)
    # The expansion also loses small distances to rounding; the difference does not. `detectors.neighbours` does the
    # same with faiss, which only jobs with banks load.
    difference = vectors - reference[products.argmin(axis=1)]
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", difference, difference)).reshape(points.shape[:-1]))


def score_largest(distances: Float32, ignored: Bool) -> Float32:
    """[n] the largest distance of each image's patches [n, rows, columns] that are not ignored."""
    return np.asarray(np.where(ignored, -np.inf, distances).max(axis=(1, 2)), np.float32)


def _separate(
    layer: str,
    defect: str,
    distances: Float32,
    scores: Float32,
    defects: list[str],
    labels: PatchLabels,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Separation:
    kinds = np.array(defects)
    of_type, good = kinds == defect, kinds == ""
    defective = labels.defective[of_type]
    values = {"image_auroc": np.nan, "low": np.nan, "high": np.nan, "patch_auroc": np.nan}
    if good.any():
        chosen = of_type | good
        anomalous = of_type[chosen]
        values["image_auroc"] = _auroc(scores[good], scores[of_type])
        drawn = bootstrap_image_auroc(anomalous, scores[chosen], resamples=resamples, seed=seed)
        values["low"], values["high"] = percentile_interval(drawn, confidence)
        if defective.any():
            normal = distances[good][~labels.ignored[good]]
            values["patch_auroc"] = _auroc(normal, distances[of_type][defective])
    return Separation(layer, defect, int(of_type.sum()), int(defective.sum()), **values)


def _auroc(negatives: Float32, positives: Float32) -> float:
    scores = np.concatenate([negatives, positives])
    positive = np.arange(len(scores)) >= len(negatives)
    return float(auroc(counts_by_score(scores, ~positive), counts_by_score(scores, positive)))


def as_columns(separations: Iterable[Separation]) -> dict[str, list[object]]:
    """Field name -> one value per separation."""
    rows = [astuple(each) for each in separations]
    return {field.name: [row[column] for row in rows] for column, field in enumerate(fields(Separation))}


def write_separations(separations: Iterable[Separation], path: Path) -> None:
    """Write one row per separation (CSV); what is undefined is empty."""
    rows = [
        ["" if isinstance(value, float) and np.isnan(value) else value for value in astuple(each)]
        for each in separations
    ]
    write_table(path, [field.name for field in fields(Separation)], rows)
