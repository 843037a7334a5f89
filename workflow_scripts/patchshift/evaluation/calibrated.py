"""The calibrated combination of a dual bank: log-odds of a patch being defective, from its two distances.

A logistic regression on the patches of validation images weighs the logarithms of the distances to normal and to
defective patches. Test images only ever get the weights.
Tested in tests/evaluation/test_calibrated.py; stated exactly in docs/protocol.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.data.regions import read_defective_patches, read_ignored_patches
from patchshift.detectors.combination import log_distances
from patchshift.detectors.image_scores import pool_patches
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS, evaluate_target
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import Calibration, calibrate
from patchshift.evaluation.undefined import Estimate, Undefined, undefined
from patchshift.plan.specs import EvaluationSpec, ThresholdSpec
from patchshift.runtime.files import read_json

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LogOdds:
    """intercept + negative * log(n + 10^-6) + positive * log(p + 10^-6), of distances n and p."""

    intercept: float
    negative: float
    positive: float

    def weigh(self, parts: Mapping[str, npt.NDArray[Any]]) -> Float32:
        """The log-odds of patches, from their distances `negative` and `positive`, arrays of one shape."""
        negative, positive = log_distances(*_distances(parts))
        return (self.intercept + self.negative * negative + self.positive * positive).astype(np.float32)


def is_calibrated(images: ScoredImages) -> bool:
    """Whether patches are scored by log-odds; a dual bank without a positive bank has nothing to weigh."""
    return images.scoring.combination == "calibrated" and "positive" in images.parts


def calibrate_combined(
    policy: ThresholdSpec, validation: Sequence[tuple[ScoredImages, Path]]
) -> tuple[Calibration, LogOdds | None]:
    """A threshold on validation images, and the weights of the two distances where a detector asks for them.

    Args:
        policy: the threshold spec.
        validation: images, scored by one bank, and the pack of their masks.

    Returns:
        The calibration: of the combined image scores where there are weights, else of the scores as they are. Where
        the weights are undefined, so is the threshold.
    """
    weights, reason = None, ""
    if is_calibrated(validation[0][0]):
        try:
            weights = fit_log_odds(validation)
            validation = [(combine_images(images, weights, pack), pack) for images, pack in validation]
        except Undefined as error:
            reason = str(error)
    joined = reduce(lambda first, second: first.join(second), (images for images, _ in validation))
    calibration = calibrate(policy, joined.scores, joined.labels)
    if reason:
        calibration = replace(calibration, threshold=None, undefined=reason, criterion=None, guarantee=None)
    return calibration, weights


def read_calibration(path: Path) -> tuple[Calibration, LogOdds | None]:
    """A threshold file: the calibration, and the weights of the two distances where there are any."""
    kept = {name: value for name, value in read_json(path).items() if name != "provenance"}
    weights = kept.pop("combination")
    return Calibration(**kept), LogOdds(**weights) if weights else None


def fit_log_odds(validation: Sequence[tuple[ScoredImages, Path]]) -> LogOdds:
    """Weigh the two distances by how well they tell defective patches of validation images from the others.

    Ignored patches are left out, and so are defective images whose mask marks nothing: nobody knows which of their
    patches are defective. Inputs are standardised, the penalty on the weights is scikit-learn's (C = 1).

    Args:
        validation: images, and the pack of their masks.

    Raises:
        Undefined: if no patch is known to be defective or normal, or a distance is not a number.
    """
    inputs: list[Float64] = [np.empty((0, 2))]
    labels: list[Bool] = [np.empty(0, np.bool_)]
    for images, pack in validation:
        defective = read_defective_patches(pack, images.images, _grid(images))
        ignored = read_ignored_patches(pack, images.images, _grid(images))
        known = np.broadcast_to(((images.labels == 0) | defective.any(axis=(1, 2)))[:, None, None], defective.shape)
        known = known if ignored is None else known & ~ignored
        inputs.append(np.stack(log_distances(*_distances(images.parts)), axis=-1, dtype=np.float64)[known])
        labels.append(defective[known])
    points, anomalous = np.concatenate(inputs), np.concatenate(labels)
    if not anomalous.any():
        raise Undefined("no validation image has a mask that marks a defect, and the calibrated combination needs one")
    if anomalous.all():
        raise Undefined("no patch of a validation image is normal, and the calibrated combination needs one")
    if not np.isfinite(points).all():
        raise Undefined("a patch distance of a validation image is not a finite number")
    return _fit(points, anomalous)


def combine_images(images: ScoredImages, weights: LogOdds, pack: Path) -> ScoredImages:
    """The same images with log-odds as maps, and image scores by the detector's own rule; ignored patches looked past.

    Args:
        images: with both distances.
        weights: from validation images.
        pack: of their domain.
    """
    maps = weights.weigh(images.parts)
    ignored = read_ignored_patches(pack, images.images, _grid(images))
    flat = maps.reshape(len(maps), -1)
    looked_past = None if ignored is None else ignored.reshape(flat.shape)
    return replace(images, maps=maps, scores=pool_patches(images.scoring.image_score, flat, looked_past))


def rank_calibrated(
    images: ScoredImages, weights: LogOdds | None, reason: str, pack: Path, spec: EvaluationSpec
) -> tuple[ScoredImages, dict[str, Estimate]]:
    """Test images by their log-odds, and the ranking metrics of these.

    Args:
        images: with both distances.
        weights: from validation images; None: there are none, and neither are there scores nor metrics.
        reason: why there are none.
        pack: of the images' domain.
        spec: the evaluation protocol.
    """
    if weights is None:
        nothing = np.full_like(images.scores, np.nan)
        return replace(images, scores=nothing), dict.fromkeys((*IMAGE_METRICS, *PIXEL_METRICS), undefined(reason))
    combined = combine_images(images, weights, pack)
    with Pack(pack) as packed:
        rows = packed.rows(combined.images)
        result = evaluate_target(
            combined.labels,
            combined.scores,
            combined.maps,
            map(packed.mask, rows),
            input_size=combined.input_size,
            spec=spec,
            has_masks=packed.has_masks,
            ignore=map(packed.ignore, rows) if packed.has_ignore else None,
            anomaly_map=combined.scoring.anomaly_map,
        )
    metrics: dict[str, Estimate] = result["metrics"]
    return combined, metrics


def _fit(points: Float64, anomalous: Bool) -> LogOdds:
    from sklearn.linear_model import LogisticRegression  # takes a second to load, and few detectors need it

    mean, deviation = points.mean(axis=0), points.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    model = LogisticRegression(max_iter=1000, tol=1e-8).fit((points - mean) / deviation, anomalous)
    negative, positive = model.coef_[0] / deviation
    intercept = model.intercept_[0] - negative * mean[0] - positive * mean[1]
    return LogOdds(float(intercept), float(negative), float(positive))


def _distances(parts: Mapping[str, npt.NDArray[Any]]) -> tuple[Float64, Float64]:
    """Distances to normal and to defective patches."""
    return parts["negative"].astype(np.float64), parts["positive"].astype(np.float64)


def _grid(images: ScoredImages) -> tuple[int, int]:
    return images.maps.shape[1], images.maps.shape[2]
